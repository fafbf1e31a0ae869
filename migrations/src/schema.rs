//! Tables described as data, and their creation on either database engine.
//!
//! The description is as short as the facts it holds, so that it can be compared with Quay's catalogue line by line.

use sea_orm_migration::prelude::{
    Alias, ColumnDef, ConditionalStatement, ConnectionTrait, DbErr, Expr, ExprTrait, ForeignKey,
    Index as IndexStatement, IntoIden, SchemaManager, Table as TableStatement,
};
use sea_orm_migration::sea_orm::DbBackend;

/// One table. Its primary key is `id`, which counts up and is never given out twice.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Whether `id` has 64 bits.
    pub(crate) wide_id: bool,
    pub(crate) columns: &'static [Column],
    pub(crate) indexes: &'static [Index],
    /// Column and the table whose `id` it holds.
    pub(crate) references: &'static [(&'static str, &'static str)],
}

pub(crate) struct Column {
    name: &'static str,
    kind: Kind,
    nullable: bool,
    default: Option<Default>,
}

enum Kind {
    Integer,
    BigInteger,
    Varchar(u32),
    Text,
    Boolean,
    Timestamp,
}

#[derive(Clone, Copy)]
enum Default {
    Integer(i64),
    Boolean(bool),
    EmptyText,
}

pub(crate) struct Index {
    /// Empty: the table's name and the columns' names, joined by `_`, as Quay names nearly all of its indexes.
    pub(crate) name: &'static str,
    pub(crate) unique: bool,
    pub(crate) columns: &'static [&'static str],
}

pub(crate) const fn integer(name: &'static str) -> Column {
    column(name, Kind::Integer)
}

pub(crate) const fn big_integer(name: &'static str) -> Column {
    column(name, Kind::BigInteger)
}

/// `varchar(255)`, which nearly all of Quay's short texts are.
pub(crate) const fn varchar(name: &'static str) -> Column {
    column(name, Kind::Varchar(255))
}

pub(crate) const fn varchar_of(name: &'static str, length: u32) -> Column {
    column(name, Kind::Varchar(length))
}

pub(crate) const fn text(name: &'static str) -> Column {
    column(name, Kind::Text)
}

pub(crate) const fn boolean(name: &'static str) -> Column {
    column(name, Kind::Boolean)
}

pub(crate) const fn timestamp(name: &'static str) -> Column {
    column(name, Kind::Timestamp)
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        nullable: false,
        default: None,
    }
}

impl Column {
    pub(crate) const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    pub(crate) const fn or_integer(mut self, value: i64) -> Self {
        self.default = Some(Default::Integer(value));
        self
    }

    pub(crate) const fn or_boolean(mut self, value: bool) -> Self {
        self.default = Some(Default::Boolean(value));
        self
    }

    pub(crate) const fn or_empty(mut self) -> Self {
        self.default = Some(Default::EmptyText);
        self
    }

    fn definition(&self) -> ColumnDef {
        let mut definition = ColumnDef::new(Alias::new(self.name));
        match self.kind {
            Kind::Integer => definition.integer(),
            Kind::BigInteger => definition.big_integer(),
            Kind::Varchar(length) => definition.string_len(length),
            Kind::Text => definition.text(),
            Kind::Boolean => definition.boolean(),
            Kind::Timestamp => definition.timestamp(),
        };
        if !self.nullable {
            definition.not_null();
        }
        match self.default {
            None => {}
            Some(Default::Integer(value)) => {
                definition.default(value);
            }
            Some(Default::Boolean(value)) => {
                definition.default(value);
            }
            Some(Default::EmptyText) => {
                definition.default("");
            }
        }
        definition
    }
}

pub(crate) const fn index(columns: &'static [&'static str]) -> Index {
    Index {
        name: "",
        unique: false,
        columns,
    }
}

pub(crate) const fn unique(columns: &'static [&'static str]) -> Index {
    Index {
        name: "",
        unique: true,
        columns,
    }
}

impl Table {
    /// Creates the table with its indexes and foreign keys.
    pub(crate) async fn create(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let mut id = ColumnDef::new(Alias::new("id"));
        if self.wide_id {
            id.big_integer();
        } else {
            id.integer();
        }
        id.not_null().auto_increment().primary_key();

        let mut table = TableStatement::create();
        table.table(Alias::new(self.name)).col(&mut id);
        for column in self.columns {
            table.col(column.definition());
        }
        for (column, target) in self.references {
            table.foreign_key(
                ForeignKey::create()
                    .name(format!("fk_{}_{column}_{target}", self.name))
                    .from(Alias::new(self.name), Alias::new(*column))
                    .to(Alias::new(*target), Alias::new("id")),
            );
        }
        manager.create_table(table).await?;

        for index in self.indexes {
            let name = if index.name.is_empty() {
                format!("{}_{}", self.name, index.columns.join("_"))
            } else {
                index.name.to_owned()
            };
            let mut statement = IndexStatement::create();
            statement.name(name).table(Alias::new(self.name));
            for column in index.columns {
                statement.col(Alias::new(*column));
            }
            if index.unique {
                statement.unique();
            }
            manager.create_index(statement).await?;
        }
        Ok(())
    }
}

/// Makes an index unique only over the rows in which `column` is false.
pub(crate) async fn unique_where_false(
    manager: &SchemaManager<'_>,
    name: &str,
    table: &'static str,
    indexed: &'static str,
    column: &'static str,
) -> Result<(), DbErr> {
    let mut statement = IndexStatement::create();
    statement
        .name(name)
        .table(Alias::new(table))
        .col(Alias::new(indexed))
        .unique()
        .cond_where(Expr::col(Alias::new(column).into_iden()).eq(false));
    manager.create_index(statement).await
}

/// Fills an enumeration with its rows: the first name gets id 1.
pub(crate) async fn enumerate(
    manager: &SchemaManager<'_>,
    table: &str,
    names: &[&str],
) -> Result<(), DbErr> {
    let rows: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(position, name)| format!("({}, '{name}')", position + 1))
        .collect();
    manager
        .get_connection()
        .execute_unprepared(&format!(
            "INSERT INTO {table} (id, name) VALUES {}",
            rows.join(", ")
        ))
        .await?;
    if manager.get_database_backend() == DbBackend::Postgres {
        // A sequence does not notice ids that were given.
        manager
            .get_connection()
            .execute_unprepared(&format!(
                "SELECT setval(pg_get_serial_sequence('{table}', 'id'), {})",
                names.len()
            ))
            .await?;
    }
    Ok(())
}
