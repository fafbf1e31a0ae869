//! Regions that an operator has taken out.

use crate::schema::{ID, NewTables, Table, Usage, timestamp, unique, varchar};

pub(crate) const MIGRATION: NewTables = NewTables("m20261126_000014_drained_sites", TABLES);

const TABLES: &[Table] = &[
    // A region, by the location that it prefers, that balancers are to leave alone, and since when.
    Table {
        name: "roadstead_drained_site",
        usage: Usage::Written,
        id: ID,
        columns: &[varchar("region"), timestamp("since")],
        indexes: &[unique(&["region"])],
        references: &[],
    },
];
