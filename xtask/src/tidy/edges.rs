//! Which crate may use which: the workspace's dependencies against the table in ARCHITECTURE.md.
//!
//! The table stands between `<!-- edges:begin -->` and `<!-- edges:end -->`, headed `| crate | may use |`; names are without
//! the project's prefix and separated by commas, `-` stands for none. Tests may also use everything further down, and the
//! test kit.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use super::read;
use crate::workspace::{Member, Workspace};

const BEGIN: &str = "<!-- edges:begin -->";
const END: &str = "<!-- edges:end -->";

/// The crates that tests everywhere may use.
const TEST_KITS: [&str; 2] = ["test-servers", "testkit"];

type Table = BTreeMap<String, BTreeSet<String>>;

/// Complaints about edges that the table does not have, and about a table that is not the workspace's.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let text = read(&workspace.root.join("ARCHITECTURE.md"))?;
    Ok(complaints(&parse(&text)?, &workspace.members))
}

fn parse(text: &str) -> Result<Table> {
    let after = text.split_once(BEGIN).map(|(_, after)| after);
    let (table, _) = after
        .and_then(|after| after.split_once(END))
        .with_context(|| format!("ARCHITECTURE.md has no table between {BEGIN} and {END}"))?;
    let mut rows = table
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('|'));
    let header = rows.next().map(cells);
    if header.as_deref() != Some(&["crate".to_owned(), "may use".to_owned()]) {
        bail!("the table of edges in ARCHITECTURE.md is not headed `| crate | may use |`");
    }
    let mut edges = Table::new();
    // The second row is the line under the header.
    for row in rows.skip(1) {
        let [name, uses] = cells(row)
            .try_into()
            .ok()
            .with_context(|| format!("not two cells: {row}"))?;
        let uses = uses
            .split(',')
            .map(str::trim)
            .filter(|name| *name != "-" && !name.is_empty());
        if edges
            .insert(name.clone(), uses.map(str::to_owned).collect())
            .is_some()
        {
            bail!("the table of edges in ARCHITECTURE.md has {name} twice");
        }
    }
    Ok(edges)
}

fn cells(row: &str) -> Vec<String> {
    let row = row.trim_matches('|');
    row.split('|')
        .map(|cell| cell.trim().trim_matches('`').to_owned())
        .collect()
}

fn complaints(table: &Table, members: &[Member]) -> Vec<String> {
    let mut complaints = Vec::new();
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    for name in table
        .keys()
        .chain(table.values().flatten())
        .collect::<BTreeSet<_>>()
    {
        if !names.contains(name.as_str()) {
            complaints.push(format!(
                "ARCHITECTURE.md: the table of edges names {name}, which is no crate here"
            ));
        }
    }
    for name in table.keys() {
        if below(table, name).contains(name) {
            complaints.push(format!(
                "ARCHITECTURE.md: the table of edges leads from {name} back to {name}"
            ));
        }
    }
    for member in members {
        let Some(allowed) = table.get(&member.name) else {
            complaints.push(format!(
                "ARCHITECTURE.md: the table of edges lacks {}",
                member.name
            ));
            continue;
        };
        let in_tests = below(table, &member.name);
        for edge in &member.edges {
            let fits = allowed.contains(&edge.to)
                || edge.dev
                    && (TEST_KITS.contains(&edge.to.as_str()) || in_tests.contains(&edge.to));
            if !fits {
                let kind = if edge.dev { "in tests " } else { "" };
                complaints.push(format!(
                    "{} {kind}uses {}, which the table of edges in ARCHITECTURE.md does not allow",
                    member.name, edge.to
                ));
            }
        }
    }
    complaints
}

/// Everything that can be reached from `name`.
fn below(table: &Table, name: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut due: Vec<&String> = table.get(name).into_iter().flatten().collect();
    while let Some(next) = due.pop() {
        if reached.insert(next.clone()) {
            due.extend(table.get(next).into_iter().flatten());
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Edge;

    fn table(rows: &str) -> Table {
        let text = format!(
            "# Title\n{BEGIN}\n\n| crate | may use |\n| --- | --- |\n{rows}\n{END}\n| other | table |\n"
        );
        parse(&text).unwrap()
    }

    fn member(name: &str, uses: &[&str], in_tests: &[&str]) -> Member {
        let edge = |dev| {
            move |to: &&str| Edge {
                to: (*to).to_owned(),
                dev,
            }
        };
        Member {
            name: name.to_owned(),
            manifest: "Cargo.toml".into(),
            description: String::new(),
            edges: uses
                .iter()
                .map(edge(false))
                .chain(in_tests.iter().map(edge(true)))
                .collect(),
        }
    }

    #[test]
    fn edges_in_the_table_are_fine_and_tests_reach_further_down() {
        let table = table("| `api` | storage |\n| storage | oci |\n| oci | - |\n| testkit | api |");
        let members = [
            member("api", &["storage"], &["oci", "testkit"]),
            member("storage", &["oci"], &["testkit"]),
            member("oci", &[], &[]),
            member("testkit", &["api"], &[]),
        ];
        assert_eq!(complaints(&table, &members), [""; 0]);
    }

    #[test]
    fn edges_that_skip_or_climb_are_named() {
        let table = table("| api | storage |\n| storage | oci |\n| oci | - |");
        let members = [
            member("api", &["oci"], &[]),
            member("storage", &[], &["api"]),
            member("oci", &[], &[]),
        ];
        assert_eq!(
            complaints(&table, &members),
            [
                "api uses oci, which the table of edges in ARCHITECTURE.md does not allow",
                "storage in tests uses api, which the table of edges in ARCHITECTURE.md does not allow",
            ]
        );
    }

    #[test]
    fn a_table_that_is_not_the_workspaces_is_named() {
        let table = table("| a | b |\n| b | a, ghost |");
        let complaints = complaints(
            &table,
            &[
                member("a", &[], &[]),
                member("b", &[], &[]),
                member("c", &[], &[]),
            ],
        );
        assert_eq!(complaints.len(), 4, "{complaints:#?}");
        assert!(complaints[0].contains("names ghost"));
        assert!(complaints[1].contains("leads from a back to a"));
        assert!(complaints[3].contains("lacks c"));
    }

    #[test]
    fn a_missing_or_malformed_table_is_an_error() {
        assert!(parse("no table").is_err());
        assert!(parse(&format!("{BEGIN}\n| a | b |\n{END}")).is_err());
        assert!(
            parse(&format!(
                "{BEGIN}\n| crate | may use |\n|-|-|\n| a | b | c |\n{END}"
            ))
            .is_err()
        );
    }
}
