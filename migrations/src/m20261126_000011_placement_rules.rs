//! What a registry's operators demand beside the configuration: where images belong, and how many locations a push waits for.

use crate::schema::{
    ID, NewTables, Table, Usage, WIDE_ID, boolean, index, integer, unique, varchar, varchar_of,
};

pub(crate) const MIGRATION: NewTables = NewTables("m20261126_000011_placement_rules", TABLES);

const TABLES: &[Table] = &[
    // A rule for a namespace (repository 0) or a repository, for all tags (none) or those that a pattern fits. A rule is changed by being made
    // anew: its id stands for what it says.
    Table {
        name: "roadstead_placement_rule",
        usage: Usage::Written,
        id: ID,
        columns: &[
            integer("namespace_id"),
            integer("repository_id"),
            varchar_of("tags", 128),
            // 0: any number.
            integer("copies"),
            // Whether it never leaves its locations.
            boolean("confined"),
        ],
        indexes: &[
            unique(&["namespace_id", "repository_id", "tags"]),
            index(&["repository_id"]),
        ],
        references: &[],
    },
    // The locations that must hold what a rule is for. By name: theirs may be gone from Quay's table, and a rule that confines must not be
    // without.
    Table {
        name: "roadstead_placement_rule_location",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[integer("rule_id"), varchar("location")],
        indexes: &[unique(&["rule_id", "location"])],
        references: &[],
    },
    // How many locations must hold everything that is pushed into a namespace before the push is acknowledged, and how long it waits for that.
    Table {
        name: "roadstead_min_locations",
        usage: Usage::Written,
        id: ID,
        columns: &[
            integer("namespace_id"),
            integer("locations"),
            integer("deadline_seconds"),
        ],
        indexes: &[unique(&["namespace_id"])],
        references: &[],
    },
];
