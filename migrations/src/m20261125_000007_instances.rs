//! What the running processes tell of themselves.

use crate::schema::{NewTables, Table, Usage, WIDE_ID, index, text, timestamp, unique, varchar};

pub(crate) const MIGRATION: NewTables = NewTables("m20261125_000007_instances", TABLES);

const TABLES: &[Table] = &[
    // A process, the location that its region prefers, and how every location fares as it sees them (JSON). A row of which nothing is heard
    // any more is that of a process that has ended.
    Table {
        name: "roadstead_instance",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("instance"),
            varchar("region"),
            timestamp("seen_at"),
            text("locations"),
        ],
        indexes: &[unique(&["instance"]), index(&["seen_at"])],
        references: &[],
    },
];
