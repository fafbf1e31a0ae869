//! The labels in an image's configuration. Nothing else of it is read.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::json;

/// How deep arrays and objects may be nested. The format needs 5; the JSON readers of clients give up between 100 and 10 000.
const DEPTH_MAX: usize = 64;

/// The labels of an image: the strings in `config.Labels` of its configuration, which is where OCI and Docker have them.
///
/// Configurations are blobs and may hold anything: what is not one has no labels, and a label that is not a string is none. Takes time and
/// memory in proportion to the bytes, up to some 150 bytes for each label.
pub fn image_labels(configuration: &[u8]) -> BTreeMap<String, String> {
    labels(configuration).unwrap_or_default()
}

fn labels(configuration: &[u8]) -> Option<BTreeMap<String, String>> {
    let text = std::str::from_utf8(configuration).ok()?;
    if json::is_deeper_than(text, DEPTH_MAX) {
        return None;
    }
    let [config] = json::members(text, &["config"]).ok()?;
    let [labels] = json::members(config?.get(), &["Labels"]).ok()?;
    let labels: BTreeMap<String, &RawValue> = serde_json::from_str(labels?.get()).ok()?;
    Some(
        labels
            .into_iter()
            .filter_map(|(key, value)| Some((key, json::string(value).ok()?)))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_strings_of_a_configuration_that_is_one() {
        let read = |text: &str| image_labels(text.as_bytes());
        assert_eq!(
            read(
                r#"{"os":"linux","config":{"Env":[],"Labels":{"a":"1","quay.expires-after":"4w","n":1,"o":{},"z":null,"nul":"\u0000"}}}"#
            ),
            BTreeMap::from(
                [("a", "1"), ("quay.expires-after", "4w"), ("nul", "\0")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            )
        );
        for none in [
            "",
            "null",
            "[]",
            "{}",
            "{",
            r#"{"config":null}"#,
            r#"{"config":[]}"#,
            r#"{"config":{"Labels":null}}"#,
            r#"{"config":{"Labels":["a"]}}"#,
            r#"{"config":{"Labels":"a"}}"#,
            r#"{"config":{},"config":{"Labels":{"a":"1"}}}"#,
            r#"{"config":{"Labels":{"a":"1"}}} x"#,
        ] {
            assert_eq!(read(none), BTreeMap::new(), "{none}");
        }
        assert_eq!(
            image_labels(b"{\"config\":{\"Labels\":{\"a\":\"\xff\"}}}"),
            BTreeMap::new()
        );
        let deep = format!("{}{}", r#"{"config":"#.repeat(100_000), "}".repeat(100_000));
        assert_eq!(read(&deep), BTreeMap::new());
    }

    #[test]
    fn ten_thousand_labels_are_read() {
        let members: Vec<String> = (0..10_000)
            .map(|n| format!(r#""label-{n}":"{n}""#))
            .collect();
        let text = format!(r#"{{"config":{{"Labels":{{{}}}}}}}"#, members.join(","));
        assert_eq!(image_labels(text.as_bytes()).len(), 10_000);
    }
}
