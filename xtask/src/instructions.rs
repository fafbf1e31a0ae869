//! `cargo xtask instructions`: how many instructions the registry executes for each of its operations, held against what is stored.
//!
//! Counting is `benches/instructions`'s business. Here it is built and run, and the counts are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Step, say};
use crate::test;
use crate::tools::ensure_programs;
use crate::workspace::Workspace;

/// What counting runs, and Debian's packages that bring it.
const PROGRAMS: [(&str, &str); 3] = [
    ("valgrind", "valgrind"),
    ("vgdb", "valgrind"),
    ("kill", "procps"),
];

/// Where the counts are stored, in the workspace.
const BASELINE: &str = "benches/instructions.txt";

/// By how many hundredths a count may differ from the stored one: another C compiler or C library, and what the registry does besides, make out less.
const MARGIN_PERCENT: u64 = 20;

/// The instructions of each operation.
type Counts = BTreeMap<String, NonZeroU64>;

/// Counts, and fails where the counts are not those that are stored.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let stored = read(&workspace.root.join(BASELINE))?;
    let counted = count(workspace)?;
    let names: BTreeSet<&String> = stored.keys().chain(counted.keys()).collect();
    let mut complaints = Vec::new();
    for name in names {
        let (before, now) = (stored.get(name).copied(), counted.get(name).copied());
        let line = line(name, before, now);
        say(&line);
        complaints.extend(complaint(before, now).map(|complaint| format!("{line}: {complaint}")));
    }
    if complaints.is_empty() {
        Ok(())
    } else {
        bail!(
            "instructions of {} operations are not what {BASELINE} says:\n{}",
            complaints.len(),
            complaints.join("\n")
        )
    }
}

/// Counts, and stores the counts.
pub(crate) fn store(workspace: &Workspace) -> Result<()> {
    let counted = count(workspace)?;
    let mut lines = vec![
        "# The instructions of one request, written by `cargo xtask instructions --write`. See docs/PERFORMANCE.md."
            .to_owned(),
    ];
    lines.extend(
        counted
            .iter()
            .map(|(name, count)| format!("{name} {count}")),
    );
    let text = lines.join("\n") + "\n";
    let path = workspace.root.join(BASELINE);
    fs::write(&path, &text).with_context(|| format!("could not write {}", path.display()))?;
    say(text.trim_end());
    Ok(())
}

fn count(workspace: &Workspace) -> Result<Counts> {
    ensure_programs(&PROGRAMS)?;
    test::build_programs(workspace, &["instructions"])?;
    let built = workspace.target.join("debug");
    let registry = built.join("registry");
    let scratch = workspace.target.join("instructions");
    let output = scratch.join("counted.txt");
    let arguments: [&Path; 6] = [
        Path::new("--registry"),
        &registry,
        Path::new("--scratch"),
        &scratch,
        Path::new("--output"),
        &output,
    ];
    // It takes two minutes or three.
    Step::new(
        &built.join("instructions").to_string_lossy(),
        arguments,
        Duration::from_mins(15),
    )
    .directory(&workspace.root)
    .run()?;
    read(&output)
}

fn read(path: &Path) -> Result<Counts> {
    let text =
        fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    parse(&text).with_context(|| format!("could not understand {}", path.display()))
}

/// A line for each operation: its name and its count. Lines that begin with `#` are for people.
fn parse(text: &str) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, count) = line
            .split_once(' ')
            .with_context(|| format!("not a name and a count: {line}"))?;
        let count = count
            .parse::<NonZeroU64>()
            .with_context(|| format!("not a count above zero: {line}"))?;
        if counts.insert(name.to_owned(), count).is_some() {
            bail!("{name} stands there twice");
        }
    }
    Ok(counts)
}

/// What is wrong with a count, if anything is.
fn complaint(before: Option<NonZeroU64>, now: Option<NonZeroU64>) -> Option<&'static str> {
    let (before, now) = match (before, now) {
        (Some(before), Some(now)) => (before.get(), now.get()),
        (None, _) => return Some("nothing is stored for it: store it with --write"),
        (Some(_), None) => return Some("it is not counted any more: store that with --write"),
    };
    if now * 100 > before * (100 + MARGIN_PERCENT) {
        Some("it became dearer: see why, and store it with --write only if it has to be so")
    } else if now * 100 < before * (100 - MARGIN_PERCENT) {
        Some("it became cheaper: store it with --write")
    } else {
        None
    }
}

/// An operation for people.
fn line(name: &str, before: Option<NonZeroU64>, now: Option<NonZeroU64>) -> String {
    let shown = |count: Option<NonZeroU64>| {
        count.map_or_else(|| "none".to_owned(), |count| count.to_string())
    };
    let ratio = match (before, now) {
        (Some(before), Some(now)) => {
            let percent = now.get() * 100 / before;
            format!("{}.{:02}", percent / 100, percent % 100)
        }
        _ => "none".to_owned(),
    };
    let (before, now) = (shown(before), shown(now));
    format!("{name:<20} before {before:>12}, now {now:>12}, ratio {ratio}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint_of(before: u64, now: u64) -> Option<&'static str> {
        complaint(NonZeroU64::new(before), NonZeroU64::new(now))
    }

    #[test]
    fn counts_may_differ_by_the_margin_in_both_directions() {
        for now in [80_000, 100_000, 120_000] {
            assert_eq!(complaint_of(100_000, now), None, "{now}");
        }
        for (before, now, expected) in [
            (100_000, 120_001, "it became dearer"),
            (100_000, 79_999, "it became cheaper"),
            // There is no count of nothing.
            (0, 100_000, "nothing is stored"),
            (100_000, 0, "it is not counted any more"),
        ] {
            let complaint = complaint_of(before, now).unwrap();
            assert!(complaint.starts_with(expected), "{complaint}");
        }
    }

    #[test]
    fn what_is_stored_is_read_and_anything_else_is_refused() {
        let counts = parse("# for people\nping 12\ntoken 3400\n").unwrap();
        let expected = [("ping", 12), ("token", 3_400)]
            .map(|(name, count)| (name.to_owned(), NonZeroU64::new(count).unwrap()));
        assert_eq!(counts, Counts::from(expected));
        for bad in ["ping", "ping many", "ping 0", "ping 1\nping 2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn people_read_name_counts_and_ratio() {
        let line = line("ping", NonZeroU64::new(200_000), NonZeroU64::new(246_000));
        assert!(line.starts_with("ping "), "{line}");
        for part in ["before       200000", "now       246000", "ratio 1.23"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
