//! The body of a replication job, in Quay's form (facts of its `queueitem` rows: `util/registry/replication.py`), so that either
//! may work off the other's rows.

use serde::{Deserialize, Serialize};

/// The queue that replication jobs are in: the part of `queue_name` before the first slash.
pub const QUEUE: &str = "imagestoragereplication";

/// What a replication job says. Keys that a later version may add are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobBody {
    /// A namespace that holds the blob, whose regions Quay's worker looks up.
    pub(crate) namespace_user_id: i32,
    /// The blob, by `imagestorage.uuid`.
    pub(crate) storage_id: String,
}

impl JobBody {
    /// Reads a body. The error says for an operator what is wrong with it.
    pub(crate) fn parse(body: &str) -> Result<Self, String> {
        serde_json::from_str(body)
            .map_err(|error| format!("the job's body cannot be read: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quays_own_body_is_read() {
        let body =
            r#"{"namespace_user_id": 5, "storage_id": "5a435026-f594-40e6-93a4-6b0a2d15b04a"}"#;
        let expected = JobBody {
            namespace_user_id: 5,
            storage_id: "5a435026-f594-40e6-93a4-6b0a2d15b04a".to_owned(),
        };
        assert_eq!(JobBody::parse(body), Ok(expected));
    }

    #[test]
    fn a_body_with_more_keys_is_read_and_one_with_fewer_says_what_is_missing() {
        let more = r#"{"namespace_user_id": 5, "storage_id": "x", "urgency": [1]}"#;
        assert!(JobBody::parse(more).is_ok());
        for (body, complaint) in [
            ("", "EOF"),
            ("not json", "expected"),
            (r#"{"storage_id": "x"}"#, "namespace_user_id"),
            (
                r#"{"namespace_user_id": "5", "storage_id": "x"}"#,
                "invalid type",
            ),
            (r#"[1, "x", 2]"#, "trailing"),
        ] {
            let error = JobBody::parse(body).unwrap_err();
            assert!(error.contains(complaint), "{body}: {error}");
        }
    }
}
