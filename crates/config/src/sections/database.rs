//! Where the metadata is.

mod parameters;
mod postgres;
mod settings;
mod uri;

use std::path::{Path, PathBuf};

use figment::value::Value;

pub use postgres::{ConnectionPool, Postgres, PostgresHost, PostgresTls, SslMode, TargetServer};

use crate::reader::{Keys, Remark, did_you_mean};
use crate::secret::Secret;
use postgres::{Described, Purpose};

/// Where the metadata is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `DB_URI`: the database that all regions share. Required with a configuration. `DB_CONNECTION_ARGS` is part of it: an argument wins
    /// over the same parameter of the URI, but not over its host, port, user, password and database.
    pub uri: DatabaseUri,
    /// `DB_READ_REPLICAS`: databases that follow that one, for reading, up to 16 (default: none). Each is a map of `DB_URI` and perhaps
    /// `DB_CONNECTION_ARGS`; without arguments of its own it has those of the database. PostgreSQL only.
    pub read_replicas: Vec<Postgres>,
    /// `DATABASE_SECRET_KEY`: what encrypted columns are encrypted with; the same in every region. As written: Quay's rule
    /// for turning it into a key belongs to whoever decrypts.
    pub secret_key: Option<Secret<String>>,
    /// The file with a key of the registry's own, in the data directory of a registry without a configuration.
    pub own_key_file: Option<PathBuf>,
    /// `ROADSTEAD_DATA_DIRECTORY`: the directory for what a process writes beside the database, which is the first account's password; health
    /// checks watch its disk. It must be there. Default: that of the SQLite file, or of a registry without a configuration; with
    /// PostgreSQL the working directory.
    pub data_directory: PathBuf,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUri {
    /// `sqlite:///relative/path` or `sqlite:////absolute/path`: one file, for one machine. Quay's notation: what follows the
    /// third slash is the path, taken as it is, and a relative one starts from the working directory.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// `postgresql://`, `postgres://`, or either with a driver behind it as in `postgresql+psycopg2://`: libpq's form.
    Postgres(Box<Postgres>),
}

const KEY: &str = "DB_URI";
const ARGUMENTS: &str = "DB_CONNECTION_ARGS";
const REPLICAS: &str = "DB_READ_REPLICAS";

const ALLOWED: &str = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, sqlite:///relative/path or sqlite:////absolute/path";

/// The most read replicas. Each is a pool of connections in every process.
const REPLICAS_MAX: usize = 16;

impl Database {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let arguments = keys.value(ARGUMENTS);
        let arguments = read_arguments(keys, ARGUMENTS, arguments.as_ref());
        let value = keys.value(KEY);
        let uri = match (value, keys.data_dir()) {
            (Some(value), _) => read_uri(keys, &value, &arguments),
            (None, Some(data_dir)) => Some(DatabaseUri::Sqlite {
                path: data_dir.join("roadstead.db"),
            }),
            (None, None) => {
                let remark = Remark::new(
                    "it is missing",
                    ALLOWED,
                    "name the database that all regions share",
                );
                keys.refuse(KEY, None, remark);
                None
            }
        };
        warn_without_pooling(keys);
        Self {
            data_directory: read_data_directory(keys, uri.as_ref()),
            read_replicas: read_replicas(keys, uri.as_ref(), &arguments),
            // Stands in where an error has been noted.
            uri: uri.unwrap_or(DatabaseUri::Sqlite {
                path: PathBuf::new(),
            }),
            secret_key: keys.text("DATABASE_SECRET_KEY").map(Secret::new),
            own_key_file: keys
                .data_dir()
                .map(|data_dir| data_dir.join("database-key")),
        }
    }
}

fn read_data_directory(keys: &mut Keys, uri: Option<&DatabaseUri>) -> PathBuf {
    const DIRECTORY: &str = "ROADSTEAD_DATA_DIRECTORY";
    if let Some(text) = keys.text(DIRECTORY) {
        let directory = PathBuf::from(text);
        if !directory.is_dir() {
            let value = keys.value(DIRECTORY);
            let remark = Remark::new(
                "no such directory",
                "a directory",
                "make it, or name another",
            );
            keys.refuse(DIRECTORY, value.as_ref(), remark);
        }
        return directory;
    }
    let default = match (keys.data_dir(), uri) {
        (Some(data_dir), _) => Some(data_dir),
        (None, Some(DatabaseUri::Sqlite { path })) => path.parent(),
        (None, _) => None,
    };
    default
        .filter(|directory| !directory.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .to_owned()
}

/// `DB_CONNECTION_POOLING`: connections are pooled whatever it says.
fn warn_without_pooling(keys: &mut Keys) {
    const POOLING: &str = "DB_CONNECTION_POOLING";
    if !keys.flag(POOLING, true) {
        let value = keys.value(POOLING);
        let remark = Remark::new(
            "connections are pooled all the same",
            "",
            "bound them with max_connections and stale_timeout in DB_CONNECTION_ARGS",
        );
        keys.warn(POOLING, value.as_ref(), remark);
    }
}

/// The entries of a map of arguments, with its path.
struct Arguments {
    path: String,
    entries: Vec<(String, Value)>,
}

fn read_arguments(keys: &mut Keys, path: &str, value: Option<&Value>) -> Arguments {
    let entries = match value {
        None | Some(Value::Empty(..)) => Vec::new(),
        Some(value @ Value::Dict(_, map)) => keys.in_order(path, value, map),
        Some(value) => {
            let remark = Remark::new("not a map", "a map", "correct it or remove it");
            keys.refuse(path, Some(value), remark);
            Vec::new()
        }
    };
    Arguments {
        path: path.to_owned(),
        entries,
    }
}

fn read_uri(keys: &mut Keys, value: &Value, arguments: &Arguments) -> Option<DatabaseUri> {
    let text = keys.text_of(KEY, value)?;
    let (kind, rest) = match split(&text) {
        Ok(parts) => parts,
        Err(remark) => {
            keys.refuse(KEY, Some(value), remark);
            return None;
        }
    };
    match kind {
        Kind::Postgres => {
            let described = described(KEY, value, rest, arguments);
            Postgres::read(keys, &described, Purpose::Primary)
                .map(|postgres| DatabaseUri::Postgres(Box::new(postgres)))
        }
        Kind::Sqlite => match sqlite_path(rest) {
            Ok(path) => Some(DatabaseUri::Sqlite { path }),
            Err(remark) => {
                keys.refuse(KEY, Some(value), remark);
                None
            }
        },
    }
}

fn described<'a>(
    path: &'a str,
    value: &'a Value,
    rest: &'a str,
    arguments: &'a Arguments,
) -> Described<'a> {
    Described {
        path,
        value,
        rest,
        arguments_path: &arguments.path,
        arguments: &arguments.entries,
    }
}

fn read_replicas(
    keys: &mut Keys,
    uri: Option<&DatabaseUri>,
    arguments: &Arguments,
) -> Vec<Postgres> {
    let value = match keys.value(REPLICAS) {
        None | Some(Value::Empty(..)) => return Vec::new(),
        Some(value) => value,
    };
    let refuse = |keys: &mut Keys, problem: String, action: &str| {
        let allowed =
            format!("a list of up to {REPLICAS_MAX} maps {{DB_URI: ..., DB_CONNECTION_ARGS: ...}}");
        keys.refuse(
            REPLICAS,
            Some(&value),
            Remark::new(problem, allowed, action),
        );
        Vec::new()
    };
    let Value::Array(_, items) = &value else {
        return refuse(keys, "not a list".to_owned(), "write it as a list");
    };
    if items.len() > REPLICAS_MAX {
        return refuse(keys, format!("{} read replicas", items.len()), "name fewer");
    }
    if !items.is_empty() && matches!(uri, Some(DatabaseUri::Sqlite { .. })) {
        let problem = "a SQLite file has no read replicas".to_owned();
        return refuse(keys, problem, "remove it, or use PostgreSQL");
    }
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            read_replica(keys, &format!("{REPLICAS}[{index}]"), item, arguments)
        })
        .collect()
}

fn read_replica(
    keys: &mut Keys,
    path: &str,
    item: &Value,
    arguments: &Arguments,
) -> Option<Postgres> {
    let Value::Dict(_, entries) = item else {
        let remark = Remark::new("not a map", "{DB_URI: URI}", "correct it");
        keys.refuse(path, Some(item), remark);
        return None;
    };
    for (name, value) in entries {
        if ![KEY, ARGUMENTS].contains(&name.as_str()) {
            let hint = did_you_mean(name, [KEY, ARGUMENTS]);
            let remark = Remark::new("unknown entry of a read replica", "", hint);
            keys.refuse_absent(&format!("{path}.{name}"), value, remark);
        }
    }
    let uri_path = format!("{path}.{KEY}");
    let Some(value) = entries.get(KEY) else {
        let remark = Remark::new("it is missing", postgres::ALLOWED, "name the replica");
        keys.refuse_absent(&uri_path, item, remark);
        return None;
    };
    let own = entries
        .get(ARGUMENTS)
        .map(|value| read_arguments(keys, &format!("{path}.{ARGUMENTS}"), Some(value)));
    let text = keys.text_of(&uri_path, value)?;
    let rest = match split(&text) {
        Ok((Kind::Postgres, rest)) => rest,
        Ok((Kind::Sqlite, _)) => {
            let remark = Remark::new(
                "a read replica is a PostgreSQL server",
                postgres::ALLOWED,
                "correct it",
            );
            keys.refuse(&uri_path, Some(value), remark);
            return None;
        }
        Err(remark) => {
            keys.refuse(&uri_path, Some(value), remark);
            return None;
        }
    };
    let described = described(&uri_path, value, rest, own.as_ref().unwrap_or(arguments));
    Postgres::read(keys, &described, Purpose::Replica)
}

/// A kind of database that is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

/// Tells the kind of database and what stands behind `://`.
fn split(text: &str) -> Result<(Kind, &str), Remark> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Remark::new(
            "not a database URI",
            ALLOWED,
            "write it as SCHEME://...",
        ));
    };
    // A driver may be named behind the database: `postgresql+psycopg2`.
    match scheme.split('+').next().unwrap_or(scheme) {
        "sqlite" => Ok((Kind::Sqlite, rest)),
        "postgresql" | "postgres" => Ok((Kind::Postgres, rest)),
        "mysql" | "mariadb" => Err(Remark::new(
            "MySQL is not supported",
            ALLOWED,
            "move Quay's database to PostgreSQL, or use a SQLite file",
        )),
        other => {
            let hint = did_you_mean(other, ["sqlite", "postgresql", "mysql"]);
            Err(Remark::new("unknown kind of database", ALLOWED, hint))
        }
    }
}

fn sqlite_path(rest: &str) -> Result<PathBuf, Remark> {
    let Some(path) = rest.strip_prefix('/') else {
        let action = "write three slashes before a relative path, four before an absolute one";
        return Err(Remark::new(
            "a SQLite file is on this machine, not on a host",
            ALLOWED,
            action,
        ));
    };
    if path.is_empty() || path == ":memory:" {
        let action = "name a file: what is in memory is lost at the end";
        return Err(Remark::new("it names no file", ALLOWED, action));
    }
    if path.contains('?') || path.contains('\0') {
        return Err(Remark::new(
            "options after ? are not supported",
            ALLOWED,
            "leave them out",
        ));
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_paths_follow_the_third_slash() {
        let path = |text| match split(text).and_then(|(_, rest)| sqlite_path(rest)) {
            Ok(path) => path,
            Err(remark) => panic!("{text}: {}", remark.problem),
        };
        assert_eq!(path("sqlite:///quay.db"), PathBuf::from("quay.db"));
        assert_eq!(
            path("sqlite:///data/quay.db"),
            PathBuf::from("data/quay.db")
        );
        assert_eq!(
            path("sqlite:////var/lib/quay.db"),
            PathBuf::from("/var/lib/quay.db")
        );
        assert_eq!(path("sqlite+pysqlite:////a%20b"), PathBuf::from("/a%20b"));
    }

    #[test]
    fn other_databases_are_refused_each_with_its_own_reason() {
        for (text, problem) in [
            ("mysql+pymysql://db/quay", "MySQL is not supported"),
            ("oracle://db/quay", "unknown kind of database"),
            ("/var/lib/quay.db", "not a database URI"),
            (
                "sqlite://",
                "a SQLite file is on this machine, not on a host",
            ),
            (
                "sqlite://quay.db",
                "a SQLite file is on this machine, not on a host",
            ),
            ("sqlite:///", "it names no file"),
            ("sqlite:///:memory:", "it names no file"),
            (
                "sqlite:///quay.db?mode=ro",
                "options after ? are not supported",
            ),
        ] {
            let refused = split(text).and_then(|(_, rest)| sqlite_path(rest));
            assert_eq!(
                refused.map_err(|remark| remark.problem),
                Err(problem.to_owned()),
                "{text}"
            );
        }
    }
}
