//! Tags that cannot be moved or deleted, and the policies that make new tags so: Quay's `repositoryimmutabilitypolicy` and
//! `namespaceimmutabilitypolicy`. A policy is a pattern, and whether the tags that match it, or those that do not, are immutable.

use regex::RegexBuilder;
use roadstead_oci::Tag;
use serde::Deserialize;

use crate::database::{Connection, Transaction, params};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::row::FromRow;

/// What immutable tags mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImmutableTags {
    /// Nothing, and no tag becomes immutable (`FEATURE_IMMUTABLE_TAGS: false`).
    #[default]
    Ignored,
    /// They cannot be moved or deleted, and do not end by themselves.
    Kept,
    /// They cannot be moved or deleted while they last (`FEATURE_IMMUTABLE_TAGS_CAN_EXPIRE`).
    KeptUntilTheyExpire,
}

/// The most memory that a compiled pattern may take. Quay takes patterns of 256 characters; such a one takes a few kilobytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, FromRow)]
struct PolicyRow {
    uuid: String,
    policy: String,
}

#[derive(Debug, Deserialize)]
struct Policy {
    tag_pattern: String,
    #[serde(default = "matching_tags")]
    tag_pattern_matches: bool,
}

const fn matching_tags() -> bool {
    true
}

/// Those of the tags that a policy of the repository or of its namespace makes immutable.
pub(crate) async fn made_immutable<'a>(
    transaction: &Transaction,
    namespace: UserId,
    repository: RepositoryId,
    tags: &'a [Tag],
) -> Result<Vec<&'a Tag>, MetadataError> {
    let policies: Vec<PolicyRow> = transaction
        .rows(
            "read the immutability policies",
            "SELECT uuid, policy FROM repositoryimmutabilitypolicy WHERE repository_id = $1
             UNION ALL
             SELECT uuid, policy FROM namespaceimmutabilitypolicy WHERE namespace_id = $2",
            params![repository.0, namespace.0],
        )
        .await?;
    let rules: Vec<Rule> = policies.iter().map(Rule::read).collect();
    Ok(tags
        .iter()
        .filter(|tag| rules.iter().any(|rule| rule.applies(tag)))
        .collect())
}

/// A policy, ready to be asked.
#[derive(Debug)]
enum Rule {
    Matching(regex::Regex),
    Others(regex::Regex),
    /// Every tag: the policy cannot be understood, and a protection that silently does not work is worse than one that is too wide.
    Every,
}

impl Rule {
    fn read(row: &PolicyRow) -> Self {
        let uuid = &row.uuid;
        let not_understood = |problem: String| {
            tracing::warn!(
                policy.id = %uuid,
                problem,
                "Immutability policy {uuid} cannot be understood here: new tags under it become immutable whatever their name. Write it without look-around and back-references"
            );
            Self::Every
        };
        let policy: Policy = match serde_json::from_str(&row.policy) {
            Ok(policy) => policy,
            Err(error) => return not_understood(error.to_string()),
        };
        let pattern = RegexBuilder::new(&format!(r"\A(?:{})\z", policy.tag_pattern))
            .size_limit(PATTERN_BYTES_MAX)
            .build();
        match pattern {
            Ok(pattern) if policy.tag_pattern_matches => Self::Matching(pattern),
            Ok(pattern) => Self::Others(pattern),
            Err(error) => not_understood(error.to_string()),
        }
    }

    fn applies(&self, tag: &Tag) -> bool {
        match self {
            Self::Matching(pattern) => pattern.is_match(tag.as_str()),
            Self::Others(pattern) => !pattern.is_match(tag.as_str()),
            Self::Every => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_covers_whole_names_that_match_or_all_others() {
        let covers = |policy: &str, tag: &str| {
            let row = PolicyRow {
                uuid: "policy".to_owned(),
                policy: policy.to_owned(),
            };
            Rule::read(&row).applies(&tag.parse().unwrap())
        };
        let matching = r#"{"tag_pattern": "v\\d+|stable", "tag_pattern_matches": true}"#;
        assert!(covers(matching, "v12") && covers(matching, "stable"));
        assert!(!covers(matching, "v12-rc") && !covers(matching, "unstable"));
        assert!(
            covers(r#"{"tag_pattern": "v.*"}"#, "v1"),
            "matching is what a policy means that does not say"
        );
        let others = r#"{"tag_pattern": "dev-.*", "tag_pattern_matches": false}"#;
        assert!(covers(others, "v1") && !covers(others, "dev-1"));
        for unknown in [
            r#"{"tag_pattern": "(?!latest).*"}"#,
            r#"{"tag_pattern": 1}"#,
            "not JSON",
            "",
        ] {
            assert!(covers(unknown, "anything"), "{unknown}");
        }
    }

    #[test]
    fn a_pattern_that_is_made_to_take_for_ever_does_not() {
        let tag: Tag = "a".repeat(128).parse().unwrap();
        for pattern in ["(a+)+b", "(a|a)*b", "(.*.*.*.*.*.*)*b", "a{1,500}{1,500}"] {
            let policy = serde_json::json!({ "tag_pattern": pattern }).to_string();
            let row = PolicyRow {
                uuid: "policy".to_owned(),
                policy,
            };
            // With a machine that tries one way after the other this would not end in this century; what is too large to be built is none.
            let covered = Rule::read(&row).applies(&tag);
            assert_eq!(covered, pattern.starts_with("a{"), "{pattern}");
        }
    }
}
