//! What is still owed to manifests that were pushed while their configurations could not be read.

use crate::schema::{NewTables, Table, Usage, WIDE_ID, integer, timestamp, unique};

pub(crate) const MIGRATION: NewTables = NewTables("m20261122_000004_owed_labels", TABLES);

const TABLES: &[Table] = &[
    // A manifest without its labels. `due` is when its configuration is looked for again.
    Table {
        name: "roadstead_owed_labels",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            integer("manifest_id"),
            timestamp("due"),
            integer("attempts"),
        ],
        indexes: &[unique(&["manifest_id"])],
        references: &[],
    },
];
