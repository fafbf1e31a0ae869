//! The few words in which the SQL of PostgreSQL and of SQLite differ.
//!
//! Statements are written once, with these words in place of what differs; [`Engine::render`] puts in what the engine at hand understands.
//!
//! | word | stands for |
//! | --- | --- |
//! | `@texts($1)`, `@ids($1)` | the members of a JSON array as a table with one column `value`, so that a set of any size is one parameter |
//! | `@pairs($1)` | a JSON array of arrays of two texts as a table with the columns `first` and `second` |
//! | `@triples($1)` | a JSON array of arrays of three numbers as a table with the columns `first`, `second` and `third` |
//! | `@list(x)` | the values of a group as the text of a JSON array |
//! | `@member(value, key)` | a member of a JSON object, as a text |
//! | `@moment(value, key)` | a member of a JSON object, as a `timestamp`; see [`moment_text`] |
//! | `@bytewise(name)` | a text compared byte by byte, whatever the database's collation |
//! | `@shared(column)` | a column whose values many rows share: SQLite, which does not know that, does not look for rows by it |
//! | `@prefix(name, $1)` | whether a text begins with another |
//! | `@glob(name, pattern)` | whether a text fits a pattern of letters, digits, `_.-` and the wildcards `*` and `?` |
//! | `@skip_locked` | rows that another transaction has locked are left out |
//! | `@lock` | the rows read are locked until the transaction ends |
//! | `@keep(t)` | the rows of `t` that are read cannot be deleted until the transaction ends |

use std::borrow::Cow;

use roadstead_runtime::Timestamp;
use sea_orm::DbBackend;

/// The kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// One file, one writer at a time.
    Sqlite,
    /// A server, any number of writers.
    Postgres,
}

impl Engine {
    pub(crate) const fn backend(self) -> DbBackend {
        match self {
            Self::Sqlite => DbBackend::Sqlite,
            Self::Postgres => DbBackend::Postgres,
        }
    }

    /// What traces call it.
    pub(crate) const fn system_name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }

    /// The statement as this engine understands it.
    ///
    /// # Panics
    /// When a word is misspelt, which the first run of the statement shows.
    pub(crate) fn render(self, sql: &str) -> Cow<'_, str> {
        if !sql.contains('@') {
            return Cow::Borrowed(sql);
        }
        let mut rendered = String::with_capacity(sql.len() + 128);
        let mut rest = sql;
        while let Some((before, behind)) = rest.split_once('@') {
            rendered.push_str(before);
            let end = behind
                .find(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'))
                .unwrap_or(behind.len());
            let (word, behind) = behind.split_at(end);
            let (arguments, behind) = match behind.strip_prefix('(') {
                Some(inside) => inside
                    .split_once(')')
                    .expect("a statement closes its parentheses"),
                None => ("", behind),
            };
            self.put(&mut rendered, word, arguments);
            rest = behind;
        }
        rendered.push_str(rest);
        Cow::Owned(rendered)
    }

    fn put(self, sql: &mut String, word: &str, arguments: &str) {
        let pair = || {
            arguments
                .split_once(", ")
                .expect("`@prefix`, `@glob`, `@member` and `@moment` have two arguments")
        };
        match (self, word) {
            (Self::Sqlite, "texts" | "ids") => {
                sql.extend(["(SELECT value FROM json_each(", arguments, "))"]);
            }
            (Self::Postgres, "texts") => {
                put_members(sql, "value", "json_array_elements_text", arguments);
            }
            (Self::Postgres, "ids") => {
                let columns = "CAST(value AS integer) AS value";
                put_members(sql, columns, "json_array_elements_text", arguments);
            }
            (Self::Sqlite, "pairs") => sql.extend([
                "(SELECT json_extract(value, '$[0]') AS first, json_extract(value, '$[1]') AS second FROM json_each(",
                arguments,
                "))",
            ]),
            (Self::Postgres, "pairs") => {
                let columns = "value ->> 0 AS first, value ->> 1 AS second";
                put_members(sql, columns, "json_array_elements", arguments);
            }
            (Self::Sqlite, "triples") => sql.extend([
                "(SELECT json_extract(value, '$[0]') AS first, json_extract(value, '$[1]') AS second, \
                 json_extract(value, '$[2]') AS third FROM json_each(",
                arguments,
                "))",
            ]),
            (Self::Postgres, "triples") => {
                let columns = "CAST(value ->> 0 AS integer) AS first, CAST(value ->> 1 AS integer) AS second, \
                               CAST(value ->> 2 AS integer) AS third";
                put_members(sql, columns, "json_array_elements", arguments);
            }
            (Self::Sqlite, "list") => sql.extend(["json_group_array(", arguments, ")"]),
            (Self::Postgres, "list") => {
                sql.extend(["CAST(json_agg(", arguments, ") AS text)"]);
            }
            (Self::Sqlite, "member" | "moment") => {
                let (value, key) = pair();
                sql.extend(["json_extract(", value, ", '$.", key, "')"]);
            }
            (Self::Postgres, "member") => {
                let (value, key) = pair();
                sql.extend(["(CAST(", value, " AS json) ->> '", key, "')"]);
            }
            (Self::Postgres, "moment") => {
                let (value, key) = pair();
                sql.extend([
                    "CAST(CAST(",
                    value,
                    " AS json) ->> '",
                    key,
                    "' AS timestamp)",
                ]);
            }
            (Self::Sqlite, "shared") => sql.extend(["+", arguments]),
            (Self::Postgres, "shared") | (Self::Sqlite, "bytewise") => sql.push_str(arguments),
            (Self::Postgres, "bytewise") => sql.extend([arguments, r#" COLLATE "C""#]),
            (Self::Sqlite, "prefix") => {
                // Nothing in a text comes after U+10FFFF.
                let (text, prefix) = pair();
                sql.extend(["(", text, " >= ", prefix, " AND ", text, " < ", prefix]);
                sql.push_str(" || '\u{10ffff}')");
            }
            (Self::Postgres, "prefix") => {
                let (text, prefix) = pair();
                sql.extend(["starts_with(", text, ", ", prefix, ")"]);
            }
            (Self::Sqlite, "glob") => {
                let (text, pattern) = pair();
                sql.extend(["(", text, " GLOB ", pattern, ")"]);
            }
            (Self::Postgres, "glob") => {
                let (text, pattern) = pair();
                sql.extend(["(", text, " LIKE replace(replace(replace(", pattern]);
                sql.push_str(r", '_', '\_'), '*', '%'), '?', '_'))");
            }
            (Self::Sqlite, "skip_locked" | "lock" | "keep") => {}
            (Self::Postgres, "skip_locked") => sql.push_str("FOR UPDATE SKIP LOCKED"),
            (Self::Postgres, "lock") => sql.push_str("FOR UPDATE"),
            (Self::Postgres, "keep") => sql.extend(["FOR KEY SHARE OF ", arguments]),
            (_, unknown) => panic!("no engine knows the word `@{unknown}`"),
        }
    }
}

/// Puts in what reads the members of a JSON array in PostgreSQL. By way of an array, of which the planner takes ten members for granted, in place of
/// the hundred of any JSON: for a hundred it rather reads all of a table that has a few thousand rows than looks ten up.
fn put_members(sql: &mut String, columns: &str, members: &str, json: &str) {
    sql.extend([
        "(SELECT ",
        columns,
        " FROM unnest(ARRAY(SELECT ",
        members,
        "(CAST(",
        json,
        " AS json)))) AS members(value))",
    ]);
}

/// A point in time as the text that `@moment` reads: what the driver itself writes into a column of SQLite's, so that the two compare.
pub(crate) fn moment_text(time: Timestamp) -> String {
    time.naive_utc().format("%F %T%.f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_without_words_is_left_alone() {
        assert!(matches!(
            Engine::Postgres.render("SELECT 1"),
            Cow::Borrowed("SELECT 1")
        ));
    }

    #[test]
    fn every_word_becomes_what_the_engine_understands() {
        let sql = "SELECT @bytewise(t.name) FROM t WHERE id IN @ids($1) AND name IN @texts($2) \
                   AND @prefix(name, $3 || '/') @keep(t) @skip_locked";
        assert_eq!(
            Engine::Sqlite.render(sql),
            "SELECT t.name FROM t WHERE id IN (SELECT value FROM json_each($1)) \
             AND name IN (SELECT value FROM json_each($2)) \
             AND (name >= $3 || '/' AND name < $3 || '/' || '\u{10ffff}')  "
        );
        assert_eq!(
            Engine::Postgres.render(sql),
            "SELECT t.name COLLATE \"C\" FROM t \
             WHERE id IN (SELECT CAST(value AS integer) AS value \
             FROM unnest(ARRAY(SELECT json_array_elements_text(CAST($1 AS json)))) AS members(value)) \
             AND name IN (SELECT value FROM unnest(ARRAY(SELECT json_array_elements_text(CAST($2 AS json)))) \
             AS members(value)) \
             AND starts_with(name, $3 || '/') FOR KEY SHARE OF t FOR UPDATE SKIP LOCKED"
        );
    }

    #[test]
    #[should_panic(expected = "no engine knows the word `@setz`")]
    fn a_misspelt_word_is_found_by_the_first_test_that_runs_it() {
        Engine::Sqlite.render("SELECT @setz($1)");
    }
}
