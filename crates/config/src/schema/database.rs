//! The database and the keys that what it holds is encrypted with.

use super::{Key, Kind, harmless, used};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    used("DB_URI", Kind::Text, "", "The database that all regions share: `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, or a SQLite file as `sqlite:////path`. Required."),
    used("DB_CONNECTION_ARGS", Kind::Map, "{}", "Parameters of the connection: those of libpq, `max_connections`, `timeout` and `stale_timeout`.").of_region(),
    used("DB_CONNECTION_POOLING", Kind::Flag, "true", "Connections are pooled whatever it says."),
    used("DB_READ_REPLICAS", Kind::List, "[]", "Up to 16 databases that follow that one, for reading: maps of DB_URI and perhaps DB_CONNECTION_ARGS.").of_region(),
    used("DATABASE_SECRET_KEY", Kind::Text, "", "What fields of the database are encrypted with; the same in every region."),
    used("SECRET_KEY", Kind::Text, "", "What is signed and encrypted outside the database; the same in every region."),
    used("ROADSTEAD_DATA_DIRECTORY", Kind::Text, "", "The directory for what a process writes beside the database.").of_region(),
    harmless("PAGE_TOKEN_KEY", Kind::Text, "", "Pages of the catalogue continue here at a name, which is no secret."),
];
