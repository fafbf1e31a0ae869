//! What the running processes tell of their configurations.

use crate::schema::{NewTables, Table, Usage, WIDE_ID, text, timestamp, unique, varchar};

pub(crate) const MIGRATION: NewTables = NewTables("m20261126_000013_configurations", TABLES);

const TABLES: &[Table] = &[
    // A process and keyed hashes of what counts of its configuration (JSON). It ends with the process's row in `roadstead_instance`.
    Table {
        name: "roadstead_configuration",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[varchar("instance"), text("fingerprint")],
        indexes: &[unique(&["instance"])],
        references: &[],
    },
    // What goes into the hashes beside the key, one row.
    Table {
        name: "roadstead_configuration_salt",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[varchar("purpose"), varchar("salt"), timestamp("created_at")],
        indexes: &[unique(&["purpose"])],
        references: &[],
    },
];
