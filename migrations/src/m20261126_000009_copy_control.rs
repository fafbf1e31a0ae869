//! What an operator says about copying while it runs.

use crate::schema::{ID, NewTables, Table, Usage, big_integer, timestamp, unique, varchar};

pub(crate) const MIGRATION: NewTables = NewTables("m20261126_000009_copy_control", TABLES);

const TABLES: &[Table] = &[
    // A pause or a limit. No text is null, so that no two rows say the same: without a source it is about the target alone, without
    // either about everything. Pauses have neither a source nor hours nor a rate.
    Table {
        name: "roadstead_copy_control",
        usage: Usage::Written,
        id: ID,
        columns: &[
            varchar("kind"),
            varchar("source"),
            varchar("target"),
            // The part of the day in UTC, `HH:MM-HH:MM`; empty: always.
            varchar("hours"),
            big_integer("bytes_per_second").nullable(),
            timestamp("changed"),
        ],
        indexes: &[unique(&["kind", "source", "target", "hours"])],
        references: &[],
    },
];
