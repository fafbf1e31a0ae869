//! Manifests against their own bytes: digest, type, and every row that says what they refer to.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::body::Body;
use crate::database::TestDatabase;

/// Manifests with what their rows say, the columns named as Quay names them.
const ROWS: &str = "
    SELECT m.id, m.digest, mt.name AS media_type, m.manifest_bytes, m.config_media_type, m.layers_compressed_size,
           m.subject, m.artifact_type, m.subject_backfilled, m.artifact_type_backfilled,
           (SELECT coalesce(json_agg(s.content_checksum), '[]') FROM manifestblob mb
            JOIN imagestorage s ON s.id = mb.blob_id WHERE mb.manifest_id = m.id) AS blobs,
           (SELECT coalesce(json_agg(c.digest), '[]') FROM manifestchild mc
            JOIN manifest c ON c.id = mc.child_manifest_id WHERE mc.manifest_id = m.id) AS children
    FROM manifest m JOIN mediatype mt ON mt.id = m.media_type_id ORDER BY m.id";

/// Everything that is wrong.
pub(super) fn check(database: &TestDatabase) -> Vec<String> {
    let mut violations = Vec::new();
    for row in database.rows(ROWS) {
        let mut complain =
            |text: String| violations.push(format!("manifest {}: {text}", row["id"]));
        let bytes = row["manifest_bytes"].as_str().unwrap_or_default();
        match Body::read(bytes) {
            Ok(body) => compare_all(&body, &row, &mut complain),
            Err(error) => complain(format!("no JSON: {error}")),
        }
    }
    violations
}

fn compare_all(body: &Body, row: &Value, complain: &mut impl FnMut(String)) {
    let json = body.json();
    let mut compare = |what: &str, found: &Value, expected: &Value| {
        if found != expected {
            complain(format!(
                "its {what} is {found}, and its bytes say {expected}"
            ));
        }
    };
    compare("digest", &row["digest"], &Value::from(body.digest()));
    if !json["mediaType"].is_null() {
        compare("media type", &row["media_type"], &json["mediaType"]);
    }
    compare(
        "config media type",
        &row["config_media_type"],
        &json["config"]["mediaType"],
    );
    compare("subject", &row["subject"], &json["subject"]["digest"]);
    compare(
        "artifact type",
        &row["artifact_type"],
        &json["artifactType"],
    );
    compare(
        "layers' size",
        &row["layers_compressed_size"],
        &body.layers_size(),
    );
    // Only rows from before these columns wait for Quay's own backfill.
    compare("subject's mark", &row["subject_backfilled"], &true.into());
    compare(
        "artifact type's mark",
        &row["artifact_type_backfilled"],
        &true.into(),
    );
    for (what, expected) in [("blobs", body.blobs()), ("children", body.children())] {
        let listed = row[what].as_array().into_iter().flatten();
        let linked: BTreeSet<&str> = listed.filter_map(Value::as_str).collect();
        if linked != expected {
            complain(format!(
                "its {what} are linked as {linked:?}, and its bytes say {expected:?}"
            ));
        }
    }
}
