//! Where the metadata is.

use std::path::PathBuf;

use figment::value::Value;

use crate::reader::{Keys, Remark, did_you_mean};
use crate::secret::Secret;

/// Where the metadata is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// `DB_URI`: the database that all regions share. Required with a configuration.
    pub uri: DatabaseUri,
    /// `DATABASE_SECRET_KEY`: what encrypted columns are encrypted with; the same in every region. As written: Quay's rule
    /// for turning it into a key belongs to whoever decrypts.
    pub secret_key: Option<Secret<String>>,
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
}

const KEY: &str = "DB_URI";
const ALLOWED: &str = "sqlite:///relative/path or sqlite:////absolute/path";

impl Database {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let value = keys.value(KEY);
        let uri = match (value, keys.data_dir()) {
            (Some(value), _) => read_uri(keys, &value),
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
        // Arguments of Quay's own database driver (`threadlocals`, `autorollback`), which say nothing to ours.
        match keys.value("DB_CONNECTION_ARGS") {
            None | Some(Value::Dict(..) | Value::Empty(..)) => {}
            Some(value) => {
                let remark = Remark::new("not a map", "a map", "correct it or remove it");
                keys.refuse("DB_CONNECTION_ARGS", Some(&value), remark);
            }
        }
        Self {
            // Stands in where an error has been noted.
            uri: uri.unwrap_or(DatabaseUri::Sqlite {
                path: PathBuf::new(),
            }),
            secret_key: keys.text("DATABASE_SECRET_KEY").map(Secret::new),
        }
    }
}

fn read_uri(keys: &mut Keys, value: &Value) -> Option<DatabaseUri> {
    let text = keys.text_of(KEY, value)?;
    let remark = match parse(&text) {
        Ok(uri) => return Some(uri),
        Err(remark) => remark,
    };
    keys.refuse(KEY, Some(value), remark);
    None
}

fn parse(text: &str) -> Result<DatabaseUri, Remark> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Remark::new(
            "not a database URI",
            ALLOWED,
            "write it as SCHEME://...",
        ));
    };
    // A driver may be named behind the database: `postgresql+psycopg2`.
    match scheme.split('+').next().unwrap_or(scheme) {
        "sqlite" => {}
        "postgresql" | "postgres" => {
            return Err(Remark::new(
                "PostgreSQL is not in this version",
                ALLOWED,
                "use a SQLite file, or wait for the version that takes PostgreSQL",
            ));
        }
        "mysql" | "mariadb" => {
            return Err(Remark::new(
                "MySQL is not supported",
                ALLOWED,
                "move Quay's database to PostgreSQL, which a later version takes, or use a SQLite file",
            ));
        }
        other => {
            let hint = did_you_mean(other, ["sqlite", "postgresql", "mysql"]);
            return Err(Remark::new("unknown kind of database", ALLOWED, hint));
        }
    }
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
    Ok(DatabaseUri::Sqlite { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_paths_follow_the_third_slash() {
        let path = |text| match parse(text) {
            Ok(DatabaseUri::Sqlite { path }) => path,
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
            (
                "postgresql://quay:pw@db/quay",
                "PostgreSQL is not in this version",
            ),
            (
                "postgresql+psycopg2://db/quay",
                "PostgreSQL is not in this version",
            ),
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
            assert_eq!(
                parse(text).map_err(|remark| remark.problem),
                Err(problem.to_owned()),
                "{text}"
            );
        }
    }
}
