//! What a PostgreSQL database says of Quay's tables: a handful of statements, whatever it holds.

use std::collections::{BTreeMap, BTreeSet};

use roadstead_migrations::{Usage, enumeration_rows, quay_tables};

use crate::database::{Connection, Named, json_texts, params};
use crate::error::MetadataError;
use crate::row::FromRow;
use crate::schema::CHECK;

/// The tables that we use, as they are.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Our role.
    pub(super) role: String,
    pub(super) tables: BTreeMap<String, FoundTable>,
    /// The rows of the enumerations among them.
    pub(super) names: BTreeMap<String, BTreeSet<String>>,
    /// Tables that we do not know with foreign keys that hold rows of known tables back, and those tables.
    pub(super) unknown_referrers: Vec<(String, String)>,
}

#[derive(Debug, Default)]
pub(super) struct FoundTable {
    pub(super) columns: BTreeMap<String, FoundColumn>,
    /// The columns of each unique index over all rows, in alphabetical order.
    pub(super) keys: Vec<Vec<String>>,
    /// What our role may not do.
    pub(super) denied: Vec<String>,
}

#[derive(Debug)]
pub(super) struct FoundColumn {
    /// As `format_type` has it.
    pub(super) kind: String,
    pub(super) nullable: bool,
    /// Whether a row that does not name the column gets a value.
    pub(super) filled: bool,
}

#[derive(Debug, FromRow)]
struct ColumnRow {
    table: String,
    name: String,
    kind: String,
    nullable: bool,
    filled: bool,
}

#[derive(Debug, FromRow)]
struct KeyRow {
    table: String,
    columns: String,
}

#[derive(Debug, FromRow)]
struct DeniedRow {
    table: String,
    right: String,
}

#[derive(Debug, FromRow)]
struct ReferrerRow {
    table: String,
    target: String,
}

#[derive(Debug, FromRow)]
struct NameRow {
    table: String,
    name: String,
}

impl Catalogue {
    pub(super) async fn read(connection: &impl Connection) -> Result<Self, MetadataError> {
        let mut catalogue = Self::default();
        let wanted = json_texts(
            quay_tables()
                .filter(|table| table.usage > Usage::Untouched)
                .map(|table| table.name),
        );
        catalogue.read_columns(connection, &wanted).await?;
        catalogue.read_keys(connection, &wanted).await?;
        catalogue.read_rights(connection, &wanted).await?;
        catalogue.read_referrers(connection, &wanted).await?;
        catalogue.read_names(connection).await?;
        Ok(catalogue)
    }

    async fn read_columns(
        &mut self,
        connection: &impl Connection,
        wanted: &str,
    ) -> Result<(), MetadataError> {
        let rows: Vec<ColumnRow> = connection
            .rows(
                CHECK,
                r#"SELECT CAST(c.relname AS text) AS "table", CAST(a.attname AS text) AS name,
                          format_type(a.atttypid, a.atttypmod) AS kind, NOT a.attnotnull AS nullable,
                          a.atthasdef OR a.attidentity <> '' AS filled
                   FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
                   WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
                     AND CAST(c.relname AS text) IN @texts($1) AND a.attnum > 0 AND NOT a.attisdropped"#,
                params![wanted],
            )
            .await?;
        for row in rows {
            self.tables.entry(row.table).or_default().columns.insert(
                row.name,
                FoundColumn {
                    kind: row.kind,
                    nullable: row.nullable,
                    filled: row.filled,
                },
            );
        }
        Ok(())
    }

    async fn read_keys(
        &mut self,
        connection: &impl Connection,
        wanted: &str,
    ) -> Result<(), MetadataError> {
        let rows: Vec<KeyRow> = connection
            .rows(
                CHECK,
                r#"SELECT CAST(c.relname AS text) AS "table",
                          string_agg(CAST(a.attname AS text), ',' ORDER BY CAST(a.attname AS text) COLLATE "C") AS columns
                   FROM pg_index i
                   JOIN pg_class c ON c.oid = i.indrelid
                   CROSS JOIN unnest(CAST(i.indkey AS smallint[])) WITH ORDINALITY AS key(attribute, position)
                   JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = key.attribute
                   WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND CAST(c.relname AS text) IN @texts($1)
                     AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                     AND key.position <= i.indnkeyatts
                   GROUP BY i.indexrelid, c.relname"#,
                params![wanted],
            )
            .await?;
        for row in rows {
            let columns = row.columns.split(',').map(str::to_owned).collect();
            self.tables.entry(row.table).or_default().keys.push(columns);
        }
        Ok(())
    }

    async fn read_rights(
        &mut self,
        connection: &impl Connection,
        wanted: &str,
    ) -> Result<(), MetadataError> {
        let role: Option<Named> = connection
            .row(CHECK, "SELECT quote_ident(current_user) AS name", params![])
            .await?;
        self.role = role.map_or_else(String::new, |role| role.name);
        let rows: Vec<DeniedRow> = connection
            .rows(
                CHECK,
                r#"WITH wanted AS (
                       SELECT oid, CAST(relname AS text) AS name FROM pg_class
                       WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid) AND CAST(relname AS text) IN @texts($1)
                   )
                   SELECT w.name AS "table", needed.privilege AS "right"
                   FROM wanted w CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS needed(privilege)
                   WHERE NOT has_table_privilege(w.oid, needed.privilege)
                   UNION ALL
                   SELECT w.name, 'USAGE of ' || s.sequence
                   FROM wanted w
                   JOIN pg_attribute a ON a.attrelid = w.oid AND a.attname = 'id' AND NOT a.attisdropped
                   CROSS JOIN LATERAL pg_get_serial_sequence(CAST(CAST(w.oid AS regclass) AS text), 'id') AS s(sequence)
                   WHERE NOT has_sequence_privilege(s.sequence, 'USAGE')"#,
                params![wanted],
            )
            .await?;
        for row in rows {
            self.tables
                .entry(row.table)
                .or_default()
                .denied
                .push(row.right);
        }
        Ok(())
    }

    async fn read_referrers(
        &mut self,
        connection: &impl Connection,
        wanted: &str,
    ) -> Result<(), MetadataError> {
        let known = json_texts(quay_tables().map(|table| table.name));
        let rows: Vec<ReferrerRow> = connection
            .rows(
                CHECK,
                r#"SELECT CAST(referrer.relname AS text) AS "table", CAST(target.relname AS text) AS target
                   FROM pg_constraint k
                   JOIN pg_class referrer ON referrer.oid = k.conrelid
                   JOIN pg_class target ON target.oid = k.confrelid
                   WHERE k.contype = 'f' AND k.confdeltype IN ('a', 'r') AND pg_table_is_visible(target.oid)
                     AND CAST(target.relname AS text) IN @texts($1)
                     AND CAST(referrer.relname AS text) NOT IN @texts($2)
                   GROUP BY referrer.relname, target.relname
                   ORDER BY referrer.relname, target.relname"#,
                params![wanted, known],
            )
            .await?;
        self.unknown_referrers = rows
            .into_iter()
            .map(|row| (row.table, row.target))
            .collect();
        Ok(())
    }

    /// The rows of those enumerations that exist and may be read.
    async fn read_names(&mut self, connection: &impl Connection) -> Result<(), MetadataError> {
        let selects: Vec<String> = enumeration_rows()
            .map(|(table, _)| table)
            .filter(|table| {
                self.tables.get(*table).is_some_and(|found| {
                    found.columns.contains_key("name")
                        && !found.denied.iter().any(|right| right == "SELECT")
                })
            })
            .map(|table| {
                format!(r#"SELECT '{table}' AS "table", CAST(name AS text) AS name FROM "{table}""#)
            })
            .collect();
        if selects.is_empty() {
            return Ok(());
        }
        let rows: Vec<NameRow> = connection
            .rows(CHECK, &selects.join(" UNION ALL "), params![])
            .await?;
        for row in rows {
            self.names.entry(row.table).or_default().insert(row.name);
        }
        Ok(())
    }
}
