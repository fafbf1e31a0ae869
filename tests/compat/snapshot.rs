//! What a database looks like, to be compared with what it looked like before. Our own tables, `roadstead_...`, do not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::TestDatabase;

/// Every table's number of rows and a hash over them.
pub(crate) type Rows = BTreeMap<String, String>;

/// The catalogue: columns with type and default, indexes, constraints, each a line.
pub(crate) fn schema(database: &TestDatabase) -> BTreeSet<String> {
    let lines = database.texts(
        "SELECT format('column %s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE 'roadstead\\_%'
         UNION ALL
         SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'roadstead\\_%'
         UNION ALL
         SELECT format('constraint %s of %s %s', conname, conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE 'roadstead\\_%'
         UNION ALL
         SELECT format('trigger %s of %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE NOT tgisinternal
         UNION ALL
         SELECT format('extension %s', extname) FROM pg_extension",
    );
    lines.into_iter().collect()
}

/// All tables.
pub(crate) fn rows(database: &TestDatabase) -> Rows {
    let tables = database.texts(
        "SELECT table_name FROM information_schema.tables
         WHERE table_schema = 'public' AND table_name NOT LIKE 'roadstead\\_%'",
    );
    hashes(database, &tables, "")
}

/// All rows that name one of these repositories.
pub(crate) fn rows_of(database: &TestDatabase, repositories: &[i64]) -> Rows {
    let tables = database.texts(
        "SELECT table_name FROM information_schema.columns
         WHERE table_schema = 'public' AND column_name = 'repository_id' AND table_name NOT LIKE 'roadstead\\_%'",
    );
    let ids: Vec<String> = repositories.iter().map(ToString::to_string).collect();
    let condition = format!("WHERE t.repository_id IN ({})", ids.join(", "));
    hashes(database, &tables, &condition)
}

fn hashes(database: &TestDatabase, tables: &[String], condition: &str) -> Rows {
    let queries: Vec<String> = tables
        .iter()
        .map(|table| {
            format!(
                "SELECT '{table}' AS name,
                        count(*) || ' rows, ' || md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) AS rows
                 FROM \"{table}\" t {condition}"
            )
        })
        .collect();
    let rows = database.rows(&queries.join(" UNION ALL "));
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| (text(&row["name"]), text(&row["rows"])))
        .collect()
}

/// Without these tables.
pub(crate) fn without(mut rows: Rows, tables: &[&str]) -> Rows {
    rows.retain(|table, _| !tables.contains(&table.as_str()));
    rows
}
