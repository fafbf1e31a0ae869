//! A database that Quay made, held against what this program works with.
//!
//! The demands are those of each table's [`Usage`]: where rows are added, a column that must be filled and that we do not know of is a difference;
//! where they are only read, it is not; of tables that are only emptied when what they refer to goes, the referring columns matter, if the table
//! is there. The names of a revision say nothing, neither older nor newer, so that a revision that nobody has tried is judged by its tables alone.

mod catalogue;

use roadstead_migrations::{Column, Form, Kind, Table, Usage, enumeration_rows, quay_tables};

use self::catalogue::{Catalogue, FoundColumn, FoundTable};
use super::SchemaError;
use super::error::is_known;
use crate::audit;
use crate::database::Connection;
use crate::error::MetadataError;

/// Names of these enumerations that statements of ours look for. Of the others every name that [`enumeration_rows`] lists; where we add rows
/// ourselves, none.
const NEEDED_NAMES: &[(&str, &[&str])] = &[
    ("loginservice", &["quayrobot"]),
    ("logentrykind", audit::KINDS),
    ("mediatype", &["text/plain", "application/json"]),
];

/// Refuses the database with a list of every difference, and says in the log what is no obstacle but should be known.
pub(super) async fn check(
    connection: &impl Connection,
    revisions: &[String],
) -> Result<(), MetadataError> {
    let catalogue = Catalogue::read(connection).await?;
    let differences: Vec<String> = quay_tables()
        .flat_map(|table| differences(table, &catalogue))
        .collect();
    if !differences.is_empty() {
        return Err(SchemaError::Differs {
            revisions: revisions.to_owned(),
            differences,
        }
        .into());
    }
    if !is_known(revisions) {
        tracing::warn!(
            revision = revisions.join(", "),
            "Quay's database is at revision {}, which nobody has tried: older or newer, its name does not say. \
             Everything that is used was found in it",
            revisions.join(", ")
        );
    }
    for (table, target) in &catalogue.unknown_referrers {
        tracing::warn!(
            "The table {table} refers to {target} and is not known to this version: rows of {target} that it refers to cannot be removed"
        );
    }
    Ok(())
}

/// What a table lacks for what is done with it, one line each.
fn differences(table: &Table, catalogue: &Catalogue) -> Vec<String> {
    if table.usage == Usage::Untouched {
        return Vec::new();
    }
    let name = table.name;
    let Some(found) = catalogue.tables.get(name) else {
        // What is not there needs no emptying.
        if table.usage == Usage::Emptied {
            return Vec::new();
        }
        return vec![format!("{name}: the table is missing")];
    };
    let mut lines = Vec::new();
    let mut say = |column: &str, what: String| lines.push(format!("{name}.{column}: {what}"));

    match found.columns.get("id") {
        None => say("id", "the column is missing".to_owned()),
        Some(id) => {
            let kind = table.id.kind();
            if !fits(kind, &id.kind) {
                say("id", wrong_type(kind, &id.kind));
            }
            if table.usage == Usage::Written && !id.filled {
                say("id", "does not count up by itself".to_owned());
            }
        }
    }
    for column in table.columns {
        let refers = || {
            table
                .references
                .iter()
                .any(|reference| reference.column == column.name)
        };
        if table.usage == Usage::Emptied && !refers() {
            continue;
        }
        match found.columns.get(column.name) {
            None => say(column.name, "the column is missing".to_owned()),
            Some(there) => {
                for what in column_differences(table.usage, column, there) {
                    say(column.name, what);
                }
            }
        }
    }
    if table.usage == Usage::Written {
        for unknown in unknown_demands(table, found) {
            say(
                unknown,
                "must be filled, has no default, and is not known to this version".to_owned(),
            );
        }
        lines.extend(missing_keys(table, found));
    }
    lines.extend(missing_rows(table, found, catalogue));
    if !found.denied.is_empty() {
        lines.push(format!(
            "{name}: the role {} has no right to {}",
            catalogue.role,
            found.denied.join(", ")
        ));
    }
    lines
}

fn column_differences(usage: Usage, column: &Column, found: &FoundColumn) -> Vec<String> {
    let mut lines = Vec::new();
    if !fits(column.kind, &found.kind) {
        lines.push(wrong_type(column.kind, &found.kind));
    }
    if usage >= Usage::Read && found.nullable && !column.nullable {
        lines.push("may be null, and should not".to_owned());
    }
    if usage == Usage::Written && !found.nullable {
        if column.nullable {
            lines.push("must not be null, and should be allowed to".to_owned());
        } else if column.may_be_left_out() && !found.filled {
            lines.push("has no default, and should have one".to_owned());
        }
    }
    lines
}

/// Whether values of the type found can be read and written as the type that is expected. A longer text is as good as the text.
fn fits(expected: Kind, found: &str) -> bool {
    const UNBOUNDED: [&str; 2] = ["text", "character varying"];
    match expected {
        Kind::Varchar(least) => {
            UNBOUNDED.contains(&found)
                || found
                    .strip_prefix("character varying(")
                    .and_then(|rest| rest.strip_suffix(')'))
                    .and_then(|length| length.parse::<u32>().ok())
                    .is_some_and(|length| length >= least)
        }
        Kind::Text => UNBOUNDED.contains(&found),
        Kind::Integer | Kind::BigInteger | Kind::Boolean | Kind::Timestamp | Kind::Date => {
            found == expected.to_string()
        }
    }
}

fn wrong_type(expected: Kind, found: &str) -> String {
    format!("is of type {found}, and should be {expected}")
}

/// Columns that every new row would have to fill and that we do not know.
fn unknown_demands<'a>(table: &'a Table, found: &'a FoundTable) -> impl Iterator<Item = &'a str> {
    found
        .columns
        .iter()
        .filter(|(_, column)| !column.nullable && !column.filled)
        .map(|(name, _)| name.as_str())
        .filter(|name| *name != "id" && table.columns.iter().all(|known| known.name != *name))
}

/// Unique indexes that `ON CONFLICT` and the order of writers rely on.
fn missing_keys(table: &Table, found: &FoundTable) -> Vec<String> {
    table
        .indexes
        .iter()
        .filter(|index| index.form == Form::Unique)
        .filter(|index| {
            let mut columns: Vec<&str> = index.columns.to_vec();
            columns.sort_unstable();
            !found.keys.iter().any(|key| *key == columns)
        })
        .map(|index| {
            format!(
                "{}: there is no unique index on {}",
                table.name,
                index.columns.join(", ")
            )
        })
        .collect()
}

fn missing_rows(table: &Table, found: &FoundTable, catalogue: &Catalogue) -> Vec<String> {
    if !found.columns.contains_key("name") {
        return Vec::new();
    }
    let there = catalogue.names.get(table.name);
    needed_names(table)
        .iter()
        .filter(|needed| !there.is_some_and(|names| names.contains(**needed)))
        .map(|needed| format!("{}.name: the row `{needed}` is missing", table.name))
        .collect()
}

fn needed_names(table: &Table) -> &'static [&'static str] {
    if let Some((_, names)) = NEEDED_NAMES.iter().find(|(name, _)| *name == table.name) {
        return names;
    }
    if table.usage == Usage::Written {
        return &[];
    }
    enumeration_rows()
        .find(|(name, _)| *name == table.name)
        .map_or(&[], |(_, names)| names)
}

#[cfg(test)]
mod tests;
