//! Images that have become complete somewhere, and who is told.

use crate::schema::{
    NewTables, Table, Usage, WIDE_ID, big_integer, index, integer, text, timestamp, unique, varchar,
};

pub(crate) const MIGRATION: NewTables = NewTables("m20261126_000012_image_events", TABLES);

const TABLES: &[Table] = &[
    // A tagged image that is to become complete at a location, since when, one of the blobs that were missing there when it was last looked
    // at (0: not looked at yet), and when it is looked at again.
    Table {
        name: "roadstead_awaited_image",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            integer("manifest_id"),
            integer("location_id"),
            timestamp("since"),
            integer("lacks_id").or_integer(0),
            timestamp("look_at"),
        ],
        indexes: &[
            unique(&["manifest_id", "location_id"]),
            index(&["look_at"]),
            index(&["lacks_id", "location_id"]),
        ],
        references: &[],
    },
    // That an image was complete at a location, with the names of that moment. The ids only keep it from being noted twice.
    Table {
        name: "roadstead_image_event",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            varchar("kind"),
            integer("manifest_id"),
            integer("location_id"),
            integer("namespace_id"),
            text("repository"),
            varchar("digest"),
            text("tags"),
            varchar("location"),
            timestamp("since"),
            timestamp("complete_at"),
        ],
        indexes: &[
            unique(&["manifest_id", "location_id"]),
            index(&["complete_at"]),
        ],
        references: &[],
    },
    // Who is told. The location is empty and the namespace 0 where events of all are.
    Table {
        name: "roadstead_webhook",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            text("url"),
            text("shown"),
            text("secret").nullable(),
            varchar("location"),
            integer("namespace_id"),
            timestamp("created_at"),
            big_integer("delivered").or_integer(0),
            big_integer("given_up").or_integer(0),
            timestamp("last_delivered").nullable(),
            text("last_failure").nullable(),
            timestamp("last_failed").nullable(),
            integer("failures").or_integer(0),
            timestamp("rests_until").nullable(),
            timestamp("lease_until").nullable(),
            varchar("lease_token").nullable(),
        ],
        indexes: &[],
        references: &[],
    },
    // What somebody has still to be told.
    Table {
        name: "roadstead_webhook_delivery",
        usage: Usage::Written,
        id: WIDE_ID,
        columns: &[
            big_integer("webhook_id"),
            big_integer("event_id"),
            integer("attempts").or_integer(0),
            timestamp("due_at"),
        ],
        indexes: &[
            unique(&["event_id", "webhook_id"]),
            index(&["webhook_id", "due_at"]),
        ],
        references: &[],
    },
];
