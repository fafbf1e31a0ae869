//! Texts as PyYAML reads them, and texts that are no document.

use super::*;
use proptest::prelude::*;

fn yaml(text: &str) -> Document {
    Document::from_yaml(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

fn unreadable(text: &str) -> (Option<usize>, String) {
    let error = Document::from_yaml(text).unwrap_err();
    (error.line, error.problem)
}

#[test]
fn plain_yes_no_on_and_off_are_booleans_and_quoted_ones_are_text() {
    let document = yaml(
        "A: yes\nB: 'yes'\nC: \"on\"\nD: OFF\nE: y\nF: [no, 'no', {g: On}]\nH: |\n  yes\nI: &x yes\nJ: *x\n",
    );
    let expected: Dict = figment::util::map! {
        "A".to_owned() => true.into(), "B".to_owned() => "yes".into(), "C".to_owned() => "on".into(),
        "D".to_owned() => false.into(), "E".to_owned() => "y".into(),
        "F".to_owned() => vec![false.into(), "no".into(), Value::from(figment::util::map!{"g" => true})].into(),
        "H".to_owned() => "yes\n".into(), "I".to_owned() => true.into(), "J".to_owned() => true.into(),
    };
    assert_eq!(document.values, expected);
}

#[test]
fn integers_are_read_as_yaml_1_1_reads_them() {
    for (text, expected) in [
        ("0777", Value::from(511_i64)),
        ("1_000", 1000_i64.into()),
        ("0b101", 5_u64.into()),
        ("0x1F", 31_u64.into()),
        ("-7", (-7_i64).into()),
        ("12:30", "12:30".into()),
        ("0899", "0899".into()),
        ("'0777'", "0777".into()),
        ("+-1", "+-1".into()),
    ] {
        let values = yaml(&format!("K: {text}")).values;
        assert_eq!(values["K"], expected, "{text}");
    }
    assert_eq!(integer("-"), None);
    assert_eq!(integer("_"), None);
    assert_eq!(integer("99999999999999999999"), None);
}

#[test]
fn keys_keep_their_lines_and_their_order() {
    let document = yaml("B:\n  z: 1\n  a:\n  - {q: 1}\nA: 2\n");
    assert_eq!(document.line("A"), Some(5));
    assert_eq!(document.line("B.a"), Some(3));
    assert_eq!(document.line("B.a[0].q"), Some(4));
    assert_eq!(document.line("B.a[0].missing"), Some(3));
    assert_eq!(document.line("missing"), None);
    let Value::Dict(_, map) = &document.values["B"] else {
        panic!("B is a map")
    };
    let order: Vec<_> = document
        .in_order("B", map)
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(order, ["z", "a"]);
}

#[test]
fn keys_that_are_given_twice_or_are_no_text_are_all_reported() {
    let document = yaml("A: 1\nB: {c: 1, c: 2}\nA: 2\non: 3\n7: 4\n'no': 5\n");
    let faults: Vec<_> = document
        .faults
        .iter()
        .map(|fault| (fault.path.as_str(), fault.line, fault.problem.as_str()))
        .collect();
    assert_eq!(
        faults,
        [
            ("B.c", Some(2), "given twice, first in line 2"),
            ("A", Some(3), "given twice, first in line 1"),
            (
                "on",
                Some(4),
                "a key has to be text, and this is a boolean without quotes"
            ),
            (
                "7",
                None,
                "a key has to be text, and this is a number without quotes"
            ),
        ]
    );
    assert_eq!(document.values["no"], Value::from(5_u64));
}

#[test]
fn merge_keys_fill_in_what_a_map_lacks() {
    let document =
        yaml("base: &base {a: 1, b: 2}\nK:\n  <<: *base\n  b: 3\nL: {<<: [*base, {c: 4}]}\n");
    assert_eq!(
        document.values["K"],
        Value::from(figment::util::map! {"a" => 1_u64, "b" => 3_u64})
    );
    assert_eq!(
        document.values["L"],
        Value::from(figment::util::map! {"a" => 1_u64, "b" => 2_u64, "c" => 4_u64})
    );
    assert!(unreadable("K: {<<: 1}").1.contains("`<<` takes a map"));
}

#[test]
fn texts_that_are_no_document_say_why_and_where() {
    assert_eq!(unreadable("").1, "it is empty");
    assert_eq!(unreadable("# nothing\n---\n").1, "it is empty");
    assert!(unreadable("just words").1.contains("single value"));
    assert!(unreadable("- a\n- b").1.contains("a list"));
    assert_eq!(unreadable("A: 1\n\tB: 2\n").0, Some(2));
    assert_eq!(unreadable("A: [1\nB: 2\n").0, Some(2));
    assert!(
        unreadable("A: 1\n---\nB: 2\n")
            .1
            .contains("more than one document")
    );
    assert!(unreadable("A: !custom x").1.contains("value without a tag"));
    assert!(unreadable("A: *nowhere").1.contains("anchor"));
}

#[test]
fn anchors_that_unfold_without_end_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let line = format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{}", level - 1); 10].join(", ")
        );
        bomb.push_str(&line);
    }
    assert!(unreadable(&bomb).1.contains("more than 50000 values"));
    assert!(unreadable("A: &a [*a]").1.contains("not valid YAML"));
    assert!(
        unreadable(&("A: ".to_owned() + &"[".repeat(4_000)))
            .1
            .contains("recursion limit")
    );
}

#[test]
fn a_long_text_that_aliases_repeat_is_refused_before_it_fills_the_memory() {
    let text = "x".repeat(400_000);
    let aliases = vec!["*a"; 49_000].join(", ");
    let laughs = unreadable(&format!("A: &a {text}\nB: [{aliases}]\n"));
    assert!(
        laughs.1.contains("more than 16 MiB of text"),
        "{}",
        laughs.1
    );
    let keys: String = (0..300)
        .map(|key| format!("K{key}: *a"))
        .collect::<Vec<_>>()
        .join("\n");
    let laughs = unreadable(&format!("A: &a {text}\n{keys}"));
    assert!(
        laughs.1.contains("more than 16 MiB of text"),
        "{}",
        laughs.1
    );
}

#[test]
fn texts_that_would_keep_the_parser_busy_are_refused_unread() {
    assert_eq!(
        unreadable(&"[".repeat(100_000)).1,
        "more than 5000 opening brackets"
    );
    let directives = "%TAG !a! x\n".repeat(1000);
    assert_eq!(
        unreadable(&directives).1,
        "more than 100 lines that begin with %"
    );
}

#[test]
fn json_is_read_with_the_same_care() {
    let document = Document::from_json(r#"{"A": "yes", "B": [1, null, true], "A": 2}"#).unwrap();
    assert_eq!(document.values["A"], Value::from("yes"));
    assert_eq!(document.faults.len(), 1);
    assert!(
        Document::from_json("{} trailing")
            .unwrap_err()
            .problem
            .contains("not valid JSON")
    );
    assert!(
        Document::from_json("7")
            .unwrap_err()
            .problem
            .contains("single value")
    );
    assert!(
        Document::from_json("null")
            .unwrap_err()
            .problem
            .contains("empty")
    );
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC*") {
        // Either result will do; what matters is that one comes back.
        drop(Document::from_yaml(&text));
        drop(Document::from_json(&text));
    }

    #[test]
    fn no_mixture_of_yaml_marks_makes_the_reader_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "A", "b", ":", " ", "\n", "- ", "{", "}", "[", "]", "&a", "*a", "<<", "!t", "'", "\"", "|", ">",
                "yes", "0", "---", "...", "?", "#", "%", "\t", "@", "é",
            ]),
            0..40,
        )
    ) {
        drop(Document::from_yaml(&parts.concat()));
    }
}
