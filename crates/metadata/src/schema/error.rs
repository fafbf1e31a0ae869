//! Why a database is not worked with.

use roadstead_migrations::{MIGRATION_TABLE, QUAY_REVISIONS};

use crate::error::DriverError;

/// Why a database is refused. Nothing in it has been changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SchemaError {
    /// The database was last used by a newer version of this program.
    #[error(
        "the database has migrations that this version does not know ({}): run the version that made them, or restore a backup",
        unknown.join(", ")
    )]
    TooNew {
        /// The names of the migrations.
        unknown: Vec<String>,
    },
    /// The database has not been brought to this program's schema yet.
    #[error(
        "the database has no table `{MIGRATION_TABLE}`, or lacks migrations: start `registry` once, which brings it up to date"
    )]
    TooOld,
    /// Another instance migrates, or hangs while it does.
    #[error(
        "{holder} has been bringing the schema up to date for {seconds} s: wait until it has finished, or end it, and start again"
    )]
    Busy {
        /// For how long this instance has waited.
        seconds: u64,
        /// Who holds the lock.
        holder: String,
    },
    /// A database that Quay made lacks what this version works with.
    #[error(
        "this is a Quay database at {}, and it differs from what this version works with:\n  {}\n{}",
        described(revisions),
        differences.join("\n  "),
        if is_known(revisions) {
            "put back what was changed in it, and start again"
        } else {
            "bring Quay to a release whose revision is known, or run a version of Roadstead that knows this one"
        }
    )]
    Differs {
        /// The revisions that Quay has noted, one as a rule.
        revisions: Vec<String>,
        /// One line each.
        differences: Vec<String>,
    },
    /// Quay's migrations have begun and noted nothing yet.
    #[error(
        "the table `alembic_version` is empty: Quay has not finished setting this database up; let it, and start again"
    )]
    Unfinished,
    /// A SQLite file that Quay made.
    #[error(
        "the file is a Quay database: only PostgreSQL databases are taken over; move it to PostgreSQL, or name another file in DB_URI"
    )]
    QuaysFile,
    /// Tables named as Quay's are there, and neither Quay nor this program says that it made them.
    #[error(
        "the database has tables that are named as ours would be ({}), but neither `alembic_version` nor `{MIGRATION_TABLE}`: \
         name an empty database in DB_URI, or one that Quay made",
        tables.join(", ")
    )]
    Occupied {
        /// The tables.
        tables: Vec<String>,
    },
    /// The extension of the indexes for searches in the middle of a text cannot be had.
    #[error(
        "the database `{database}` has no extension pg_trgm, which an empty database needs: {}",
        trigrams_from(database, role, *available)
    )]
    NoTrigrams {
        /// The database.
        database: String,
        /// Our role.
        role: String,
        /// Whether the server has the extension's files.
        available: bool,
        /// What the server said to our attempt.
        #[source]
        source: Option<DriverError>,
    },
    /// The extension is there, but not where names are looked up.
    #[error(
        "the extension pg_trgm of the database `{database}` is in the schema `{schema}`, which the search_path of the role `{role}` does not name: \
         have an administrator run `ALTER ROLE {role} IN DATABASE {database} SET search_path = public, {schema}`"
    )]
    TrigramsElsewhere {
        /// The database.
        database: String,
        /// Our role.
        role: String,
        /// The extension's schema.
        schema: String,
    },
    /// Nothing can be written.
    #[error(
        "the database `{database}` is read-only ({}): name the server that takes writes in DB_URI",
        if *standby { "its server is a standby" } else { "default_transaction_read_only is on" }
    )]
    ReadOnly {
        /// The database.
        database: String,
        /// Whether the server follows another.
        standby: bool,
    },
    /// Our role may not create tables.
    #[error(
        "the role `{role}` may not create tables in the schema `{schema}` of the database `{database}`: have an administrator run \
         `GRANT CREATE, USAGE ON SCHEMA {schema} TO {role}` there, once"
    )]
    MayNotCreate {
        /// The database.
        database: String,
        /// The schema in which new tables are made.
        schema: String,
        /// Our role.
        role: String,
    },
    /// New tables have no schema to be in.
    #[error(
        "the search_path of the role `{role}` names no schema that exists in the database `{database}` and that it may use: have an administrator run \
         `GRANT CREATE, USAGE ON SCHEMA public TO {role}` there, once"
    )]
    NoSchema {
        /// The database.
        database: String,
        /// Our role.
        role: String,
    },
    /// The server is too old.
    #[error(
        "the server is PostgreSQL {version}: at least version 13 is needed, 13 to 17 are supported"
    )]
    OldServer {
        /// Its version.
        version: String,
    },
}

fn described(revisions: &[String]) -> String {
    let list = revisions.join(", ");
    if is_known(revisions) {
        format!("revision {list}")
    } else {
        let known = QUAY_REVISIONS.join(", ");
        format!(
            "revision {list} (an older or a newer one than {known}: which, its name does not say)"
        )
    }
}

/// Whether these are revisions that this version was tested on.
pub(super) fn is_known(revisions: &[String]) -> bool {
    matches!(revisions, [only] if QUAY_REVISIONS.contains(&only.as_str()))
}

fn trigrams_from(database: &str, role: &str, available: bool) -> String {
    if available {
        format!(
            "have an administrator run `CREATE EXTENSION pg_trgm` in it, or `GRANT CREATE ON DATABASE {database} TO {role}`"
        )
    } else {
        "install PostgreSQL's contrib modules on the server, and have an administrator run `CREATE EXTENSION pg_trgm` in it"
            .to_owned()
    }
}
