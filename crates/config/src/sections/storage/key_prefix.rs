//! `storage_path` of the object stores: what stands before every key.
//!
//! The rules by which Quay puts the two together differ from driver to driver. They are applied here once, so that a key is always the
//! prefix with the rest right behind it.

use figment::value::Value;

use super::parameters::Parameters;
use crate::reader::Remark;

/// How Quay puts `storage_path` and the rest of a key together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A slash between the two, then one slash in front is dropped: the S3 family.
    DropOne,
    /// Slashes in front are dropped, then a slash between the two: Azure and Swift.
    DropAll,
    /// Slashes in front are dropped, and nothing is put between the two: Swift with `simple_path_concat`.
    Concatenate,
}

const NAME: &str = "storage_path";

/// The longest prefix, in bytes. Keys have 1024 in every one of the stores, and the longest rest is that of a blob under its SHA-512: 7 + 3 + 128.
const BYTES_MAX: usize = 800;

/// Reads `storage_path`: may be empty, but has to be there.
pub(super) fn read(parameters: &mut Parameters<'_, '_>, rule: Rule) -> Option<String> {
    let text = match parameters.raw(NAME) {
        Some((_, Value::String(_, text))) if text.is_empty() => String::new(),
        _ => parameters.required_text(NAME, "a path in the bucket or container")?,
    };
    match prefix(&text, rule) {
        Ok(prefix) => Some(prefix),
        Err(problem) => {
            let allowed = format!(
                "a path of up to {BYTES_MAX} bytes such as /registry, without empty segments, . and .."
            );
            parameters.refuse(NAME, Remark::new(problem, allowed, "correct it"));
            None
        }
    }
}

fn prefix(text: &str, rule: Rule) -> Result<String, &'static str> {
    let path = match rule {
        Rule::DropOne => text.strip_prefix('/').unwrap_or(text),
        Rule::DropAll | Rule::Concatenate => text.trim_start_matches('/'),
    };
    if path.is_empty() {
        return Ok(String::new());
    }
    if path.len() > BYTES_MAX {
        return Err("it is too long");
    }
    for segment in path.strip_suffix('/').unwrap_or(path).split('/') {
        match segment {
            ".." => return Err("it holds the segment .."),
            "." => return Err("it holds the segment ."),
            "" => return Err("it holds an empty segment"),
            _ => {}
        }
    }
    Ok(if path.ends_with('/') || rule == Rule::Concatenate {
        path.to_owned()
    } else {
        format!("{path}/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_what_quay_puts_before_a_key() {
        for (text, one, all, concatenated) in [
            ("", "", "", ""),
            ("/", "", "", ""),
            ("/quaygcp", "quaygcp/", "quaygcp/", "quaygcp"),
            (
                "/datastorage/registry",
                "datastorage/registry/",
                "datastorage/registry/",
                "datastorage/registry",
            ),
            ("registry/", "registry/", "registry/", "registry/"),
            ("a b/é", "a b/é/", "a b/é/", "a b/é"),
            ("..a/b..", "..a/b../", "..a/b../", "..a/b.."),
        ] {
            let of = |rule| prefix(text, rule);
            assert_eq!(of(Rule::DropOne).as_deref(), Ok(one), "{text}");
            assert_eq!(of(Rule::DropAll).as_deref(), Ok(all), "{text}");
            assert_eq!(of(Rule::Concatenate).as_deref(), Ok(concatenated), "{text}");
        }
        assert_eq!(prefix("//a", Rule::DropAll).as_deref(), Ok("a/"));
    }

    #[test]
    fn what_no_key_can_begin_with_is_refused() {
        for (text, problem) in [
            ("..", "it holds the segment .."),
            ("/a/../b", "it holds the segment .."),
            ("a/..", "it holds the segment .."),
            ("./a", "it holds the segment ."),
            ("//a", "it holds an empty segment"),
            ("//", "it holds an empty segment"),
            ("a//b", "it holds an empty segment"),
            ("a//", "it holds an empty segment"),
        ] {
            assert_eq!(prefix(text, Rule::DropOne), Err(problem), "{text}");
        }
        assert_eq!(
            prefix(&"a".repeat(801), Rule::DropAll),
            Err("it is too long")
        );
    }
}
