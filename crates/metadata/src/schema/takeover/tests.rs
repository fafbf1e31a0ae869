//! The comparison without a database; with one it is in `schema/tests.rs`.

use roadstead_migrations::quay_tables;

use super::*;

#[test]
fn a_longer_text_will_do_and_a_shorter_one_or_another_number_will_not() {
    assert!(fits(Kind::Varchar(255), "character varying(255)"));
    assert!(fits(Kind::Varchar(255), "character varying(256)"));
    assert!(fits(Kind::Varchar(255), "text"));
    assert!(!fits(Kind::Varchar(255), "character varying(254)"));
    assert!(!fits(Kind::Text, "character varying(254)"));
    assert!(!fits(Kind::Integer, "bigint"));
    assert!(!fits(Kind::BigInteger, "integer"));
    assert!(!fits(Kind::Timestamp, "timestamp with time zone"));
}

#[test]
fn every_name_that_is_needed_is_one_that_quay_has() {
    for (table, needed) in NEEDED_NAMES {
        let (_, names) = enumeration_rows()
            .find(|(name, _)| name == table)
            .expect("an enumeration");
        for name in *needed {
            assert!(names.contains(name), "{table} has no row {name}");
        }
    }
}

#[test]
fn an_empty_catalogue_lacks_every_table_that_is_read_or_written_and_no_other() {
    let catalogue = Catalogue::default();
    for table in quay_tables() {
        let lines = differences(table, &catalogue);
        if table.usage < Usage::Read {
            assert!(lines.is_empty(), "{lines:?}");
        } else {
            assert_eq!(lines, [format!("{}: the table is missing", table.name)]);
        }
    }
}

/// What a statement does to the tables that it names, by the word before the name.
const DEEDS: &[(&str, Usage)] = &[
    ("INSERT INTO ", Usage::Written),
    ("FROM ", Usage::Read),
    ("JOIN ", Usage::Read),
    ("UPDATE ", Usage::Read),
    ("DELETE FROM ", Usage::Emptied),
];

#[test]
fn the_usage_of_every_table_covers_what_our_statements_do_to_it() {
    let mut sources = Vec::new();
    sources_below(
        std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut sources,
    );
    assert!(!sources.is_empty());
    let mut beyond = Vec::new();
    for (path, source) in sources {
        // What refers to the deleted is found by the columns that refer, which is all that is asked of an emptied table.
        let follows_references = path.ends_with("garbage/referring.rs");
        for table in quay_tables() {
            for (deed, needed) in DEEDS {
                let needed = match needed {
                    Usage::Read if follows_references => &Usage::Emptied,
                    needed => needed,
                };
                let done = [
                    format!("{deed}{}", table.name),
                    format!("{deed}\"{}\"", table.name),
                ]
                .iter()
                .any(|words| names(&source, words));
                if done && table.usage < *needed {
                    beyond.push(format!(
                        "{path} has `{deed}{}`, which makes it {needed:?}",
                        table.name
                    ));
                }
            }
        }
    }
    assert!(
        beyond.is_empty(),
        "raise the usage of these in the migrations crate: {beyond:#?}"
    );
}

/// Whether a source has these words, not followed by more of a name, nor `FROM` as the end of `DELETE FROM`.
fn names(source: &str, words: &str) -> bool {
    source.match_indices(words).any(|(start, _)| {
        let before = source.get(..start).unwrap_or_default();
        let after = source.get(start + words.len()..).unwrap_or_default();
        !before.ends_with("DELETE ")
            && !after.starts_with(|next: char| next.is_alphanumeric() || next == '_')
    })
}

fn sources_below(directory: &std::path::Path, sources: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().unwrap_or_default();
        if stem == "tests" {
            continue;
        }
        if path.is_dir() {
            sources_below(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source");
            sources.push((path.display().to_string(), source));
        }
    }
}
