//! Our own tables. They hold ids of Quay's rows without foreign keys, so that they can never stop Quay from deleting its own.

use crate::schema::{
    ID, NewTables, Table, Usage, WIDE_ID, big_integer, integer, text, timestamp, unique, varchar,
};

pub(crate) const MIGRATION: NewTables = NewTables("m20261122_000002_roadstead_tables", TABLES);

const TABLES: &[Table] = &[
    // What a `blobupload` row needs beyond Quay's columns. `version` grows with every change and fences a writer that was overtaken;
    // `hash_state` is the digester's state at `blobupload.byte_count`, of the algorithm that it names.
    Table {
        name: "roadstead_upload",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            integer("upload_id"),
            big_integer("version"),
            text("hash_state"),
            timestamp("changed"),
        ],
        indexes: &[unique(&["upload_id"])],
        references: &[],
    },
    // One wanted copy: a blob that a location should hold and does not yet. The row lives until the copy is recorded or no longer wanted.
    Table {
        name: "roadstead_copy",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            integer("storage_id"),
            integer("location_id"),
            // The queue's row that will bring it about.
            integer("queueitem_id"),
            timestamp("wanted_since"),
            integer("attempts").or_integer(0),
            timestamp("last_attempt").nullable(),
            text("last_failure").nullable(),
        ],
        indexes: &[
            unique(&["storage_id", "location_id"]),
            unique(&["queueitem_id"]),
        ],
        references: &[],
    },
    // A location that is on its way out: `draining` and `removing` take no new bytes, `removed` stays to tell a configuration that still names it.
    Table {
        name: "roadstead_location",
        usage: Usage::Written,
        id: ID,
        columns: &[varchar("name"), varchar("state"), timestamp("changed")],
        indexes: &[unique(&["name"])],
        references: &[],
    },
    // Manifests and blobs that a client deleted: invisible at once in their repository, while their rows and bytes wait for the time machine.
    Table {
        name: "roadstead_hidden_manifest",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[integer("manifest_id")],
        indexes: &[unique(&["manifest_id"])],
        references: &[],
    },
    Table {
        name: "roadstead_hidden_blob",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[integer("repository_id"), integer("storage_id")],
        indexes: &[unique(&["repository_id", "storage_id"])],
        references: &[],
    },
];
