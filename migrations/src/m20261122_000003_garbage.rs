//! Our own tables of the garbage collection. Like the others they hold ids of Quay's rows without foreign keys.

use crate::schema::{
    ID, NewTables, Table, Usage, WIDE_ID, big_integer, index, integer, text, timestamp, unique,
    varchar,
};

pub(crate) const MIGRATION: NewTables = NewTables("m20261122_000003_garbage", TABLES);

const TABLES: &[Table] = &[
    // Somebody is about to make an object of this digest appear at this location, or has and did not record it yet. While the row is
    // there the object is not deleted; what records the blob or the copy takes the row away in the same transaction.
    Table {
        name: "roadstead_publication",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("digest"),
            varchar("location"),
            timestamp("expires_at"),
        ],
        indexes: &[index(&["digest", "location"]), index(&["expires_at"])],
        references: &[],
    },
    // An object that nobody wants any more and that its location still has to lose. Locations by name: theirs may be gone from Quay's table.
    Table {
        name: "roadstead_doomed_object",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("digest"),
            varchar("location"),
            // Bytes, where they were known.
            big_integer("size").nullable(),
            timestamp("since"),
            timestamp("not_before"),
            // While it lasts, the object is being deleted, or may still be by a call whose outcome is not known.
            timestamp("lease_until").nullable(),
            varchar("lease_token").nullable(),
            integer("attempts").or_integer(0),
            timestamp("last_attempt").nullable(),
            text("last_failure").nullable(),
        ],
        indexes: &[
            unique(&["digest", "location"]),
            index(&["location", "not_before"]),
        ],
        references: &[],
    },
    // Blobs that lost something that held them: looked at again, nothing more.
    Table {
        name: "roadstead_freed_blob",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[integer("storage_id"), timestamp("due_at")],
        indexes: &[unique(&["storage_id"]), index(&["due_at"])],
        references: &[],
    },
    // How far the search for what nothing was noted about has come: behind which id the next page begins, and when it last came to the end.
    Table {
        name: "roadstead_garbage_sweep",
        usage: Usage::Written,
        id: ID,
        columns: &[
            varchar("name"),
            big_integer("position"),
            timestamp("finished_at").nullable(),
        ],
        indexes: &[unique(&["name"])],
        references: &[],
    },
    // What the last collections that found something have removed.
    Table {
        name: "roadstead_garbage_run",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            timestamp("started_at"),
            timestamp("finished_at"),
            big_integer("tags"),
            big_integer("manifests"),
            big_integer("blobs"),
            big_integer("bytes"),
            big_integer("objects"),
            big_integer("repositories"),
            big_integer("namespaces"),
        ],
        indexes: &[],
        references: &[],
    },
];
