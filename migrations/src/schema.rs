//! Tables described as data: how they are created on either database engine, and what a check compares a database with.
//!
//! The description is as short as the facts it holds, so that it can be compared with Quay's catalogue line by line.

use std::fmt;

use sea_orm_migration::prelude::{
    Alias, ColumnDef, ConditionalStatement, ConnectionTrait, DbErr, Expr, ExprTrait, ForeignKey,
    Index as IndexStatement, MigrationName, MigrationTrait, SchemaManager, SimpleExpr,
    Table as TableStatement, TableCreateStatement,
};
use sea_orm_migration::sea_orm::{DbBackend, StatementBuilder};

/// One table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// What is done with its rows.
    pub usage: Usage,
    /// Its primary key.
    pub id: Id,
    /// Its columns but for `id`, in Quay's order.
    pub columns: &'static [Column],
    /// Its indexes but for the primary key's.
    pub indexes: &'static [Index],
    /// Its foreign keys.
    pub references: &'static [Reference],
}

/// A primary key: the column `id`, which counts up and is never given out twice.
#[derive(Clone, Copy, Debug)]
pub struct Id {
    /// Empty: named after its table.
    constraint: &'static str,
    /// Whether it has 64 bits.
    pub wide: bool,
}

/// A primary key of 32 bits.
pub(crate) const ID: Id = Id {
    constraint: "",
    wide: false,
};

/// A primary key of 64 bits.
pub(crate) const WIDE_ID: Id = Id {
    constraint: "",
    wide: true,
};

impl Id {
    /// Its type.
    pub const fn kind(&self) -> Kind {
        if self.wide {
            Kind::BigInteger
        } else {
            Kind::Integer
        }
    }

    /// For a constraint that is not named after its table.
    pub(crate) const fn named(mut self, constraint: &'static str) -> Self {
        self.constraint = constraint;
        self
    }

    fn define(
        &self,
        table: &'static str,
        statement: &mut TableCreateStatement,
        backend: DbBackend,
    ) {
        let mut id = ColumnDef::new(Alias::new("id"));
        if backend == DbBackend::Postgres {
            // Quay's ids are of these types, not identity columns, and its constraints have names.
            id.custom(if self.wide { "bigserial" } else { "serial" })
                .not_null();
            let name = if self.constraint.is_empty() {
                format!("pk_{table}")
            } else {
                self.constraint.to_owned()
            };
            statement.primary_key(IndexStatement::create().name(name).col("id"));
        } else {
            id.integer().not_null().auto_increment().primary_key();
        }
        statement.col(&mut id);
    }
}

/// What this program does with the rows of a table, the most demanding of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// Nothing; Quay has it.
    Untouched,
    /// Rows are deleted with the rows that they refer to, if the table is there.
    Emptied,
    /// Rows are read, and perhaps changed or deleted.
    Read,
    /// Rows are added.
    Written,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
    default: Option<Default>,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 32 bits.
    Integer,
    /// 64 bits.
    BigInteger,
    /// A text of at most so many characters.
    Varchar(u32),
    /// A text of any length.
    Text,
    /// True or false.
    Boolean,
    /// A point in time, in UTC without saying so.
    Timestamp,
    /// A day.
    Date,
}

impl fmt::Display for Kind {
    /// As PostgreSQL's `format_type` has it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer => formatter.write_str("integer"),
            Self::BigInteger => formatter.write_str("bigint"),
            Self::Varchar(length) => write!(formatter, "character varying({length})"),
            Self::Text => formatter.write_str("text"),
            Self::Boolean => formatter.write_str("boolean"),
            Self::Timestamp => formatter.write_str("timestamp without time zone"),
            Self::Date => formatter.write_str("date"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Default {
    Integer(i64),
    /// As above, written as a text, which the catalogue remembers.
    QuotedInteger(&'static str),
    Boolean(bool),
    Text(&'static str),
    Now,
}

/// One index.
#[derive(Clone, Copy, Debug)]
pub struct Index {
    /// Empty: named after its table and columns.
    name: &'static str,
    /// How it orders and what it forbids.
    pub form: Form,
    /// The columns, in order.
    pub columns: &'static [&'static str],
}

/// How an index orders its rows and what it forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A B-tree.
    Plain,
    /// A B-tree in which no two rows are equal.
    Unique,
    /// As above, over the rows in which this column is false.
    UniqueWhereFalse(&'static str),
    /// For searches in the middle of a text; PostgreSQL alone has it, with its extension `pg_trgm`.
    Trigrams,
}

/// One foreign key.
#[derive(Clone, Copy, Debug)]
pub struct Reference {
    /// Empty: named after its table, column and target.
    name: &'static str,
    /// The column that refers.
    pub column: &'static str,
    /// The table whose `id` it holds.
    pub target: &'static str,
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

pub(crate) const fn date(name: &'static str) -> Column {
    column(name, Kind::Date)
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

    pub(crate) const fn or_quoted_integer(mut self, value: &'static str) -> Self {
        self.default = Some(Default::QuotedInteger(value));
        self
    }

    pub(crate) const fn or_boolean(mut self, value: bool) -> Self {
        self.default = Some(Default::Boolean(value));
        self
    }

    pub(crate) const fn or_text(mut self, value: &'static str) -> Self {
        self.default = Some(Default::Text(value));
        self
    }

    pub(crate) const fn or_now(mut self) -> Self {
        self.default = Some(Default::Now);
        self
    }

    /// Whether a row may be added without naming this column.
    pub const fn may_be_left_out(&self) -> bool {
        self.nullable || self.default.is_some()
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
            Kind::Date => definition.date(),
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
            Some(Default::QuotedInteger(value) | Default::Text(value)) => {
                definition.default(value);
            }
            Some(Default::Now) => {
                definition.default(SimpleExpr::from(Expr::current_timestamp()));
            }
        }
        definition
    }
}

pub(crate) const fn index(columns: &'static [&'static str]) -> Index {
    Index {
        name: "",
        form: Form::Plain,
        columns,
    }
}

pub(crate) const fn unique(columns: &'static [&'static str]) -> Index {
    Index {
        name: "",
        form: Form::Unique,
        columns,
    }
}

pub(crate) const fn trigrams(columns: &'static [&'static str; 1]) -> Index {
    Index {
        name: "",
        form: Form::Trigrams,
        columns,
    }
}

impl Index {
    /// For an index that is not named after its table and columns.
    pub(crate) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(crate) const fn where_false(mut self, column: &'static str) -> Self {
        self.form = Form::UniqueWhereFalse(column);
        self
    }

    fn full_name(&self, table: &str) -> String {
        if !self.name.is_empty() {
            return self.name.to_owned();
        }
        let columns = self.columns.join("_");
        match self.form {
            Form::Trigrams => format!("{table}_{columns}__fulltext"),
            Form::Plain | Form::Unique | Form::UniqueWhereFalse(_) => format!("{table}_{columns}"),
        }
    }

    /// The statement that creates it; none where the engine has no such index.
    fn definition(&self, table: &'static str, backend: DbBackend) -> Option<String> {
        let name = self.full_name(table);
        let mut statement = IndexStatement::create();
        statement.name(&name).table(Alias::new(table));
        for column in self.columns {
            statement.col(Alias::new(*column));
        }
        match self.form {
            Form::Plain => {}
            Form::Unique => {
                statement.unique();
            }
            Form::UniqueWhereFalse(column) => {
                statement
                    .unique()
                    .cond_where(Expr::col(Alias::new(column)).eq(false));
            }
            Form::Trigrams => {
                return (backend == DbBackend::Postgres).then(|| {
                    let columns = self.columns.join(" gin_trgm_ops, ");
                    format!(
                        r#"CREATE INDEX {name} ON "{table}" USING gin ({columns} gin_trgm_ops)"#
                    )
                });
            }
        }
        Some(rendered(&statement, backend))
    }
}

pub(crate) const fn refers(column: &'static str, target: &'static str) -> Reference {
    Reference {
        name: "",
        column,
        target,
    }
}

impl Reference {
    /// For a foreign key that is not named after its table, column and target.
    pub(crate) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    fn full_name(&self, table: &str) -> String {
        if self.name.is_empty() {
            format!("fk_{table}_{}_{}", self.column, self.target)
        } else {
            self.name.to_owned()
        }
    }
}

impl Table {
    /// The statements that create the table with its indexes and foreign keys.
    fn definition(&self, backend: DbBackend) -> Vec<String> {
        let mut table = TableStatement::create();
        table.table(Alias::new(self.name));
        self.id.define(self.name, &mut table, backend);
        for column in self.columns {
            table.col(column.definition());
        }
        for reference in self.references {
            table.foreign_key(
                ForeignKey::create()
                    .name(reference.full_name(self.name))
                    .from(Alias::new(self.name), Alias::new(reference.column))
                    .to(Alias::new(reference.target), Alias::new("id")),
            );
        }
        let mut statements = vec![rendered(&table, backend)];
        statements.extend(
            self.indexes
                .iter()
                .filter_map(|index| index.definition(self.name, backend)),
        );
        statements
    }
}

/// A migration that does nothing but create tables: its name, and the tables, of which each comes after those it refers to.
pub(crate) struct NewTables(pub(crate) &'static str, pub(crate) &'static [Table]);

impl MigrationName for NewTables {
    fn name(&self) -> &'static str {
        self.0
    }
}

#[async_trait::async_trait]
impl MigrationTrait for NewTables {
    #[expect(
        elided_lifetimes_in_paths,
        reason = "the trait elides it, and async_trait needs the same form"
    )]
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        create(manager, self.1).await
    }
}

/// Creates tables, of which each comes after those it refers to, in one round trip.
pub(crate) async fn create(
    manager: &SchemaManager<'_>,
    tables: impl IntoIterator<Item = &Table>,
) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let statements: Vec<String> = tables
        .into_iter()
        .flat_map(|table| table.definition(backend))
        .collect();
    execute(manager, &statements).await
}

/// Adds indexes to tables of ours.
pub(crate) async fn create_indexes(
    manager: &SchemaManager<'_>,
    indexes: impl IntoIterator<Item = &(&'static str, Index)>,
) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let statements: Vec<String> = indexes
        .into_iter()
        .filter_map(|(table, index)| index.definition(table, backend))
        .collect();
    execute(manager, &statements).await
}

/// Runs statements in one round trip.
pub(crate) async fn execute(
    manager: &SchemaManager<'_>,
    statements: &[String],
) -> Result<(), DbErr> {
    manager
        .get_connection()
        .execute_unprepared(&statements.join(";\n"))
        .await?;
    Ok(())
}

fn rendered(statement: &impl StatementBuilder, backend: DbBackend) -> String {
    backend.build(statement).to_string()
}
