//! Labels against the config that they come from, which lies in the stores.

use std::collections::BTreeSet;
use std::fs;

use roadstead_oci::Digest;
use serde_json::Value;

use super::World;
use crate::body::Body;

/// Configs that are images', whose labels count. Of other manifests the annotations do.
const IMAGE_CONFIGS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// Manifests with the labels that came with them: source 1, `manifest`. Those that people add have another source. What a proxy
/// cache pulled gets none.
const ROWS: &str = "
    SELECT m.id, m.manifest_bytes,
           (SELECT coalesce(json_agg(json_build_array(l.key, l.value)), '[]') FROM manifestlabel ml
            JOIN label l ON l.id = ml.label_id JOIN labelsourcetype t ON t.id = l.source_type_id
            WHERE ml.manifest_id = m.id AND t.name = 'manifest') AS labels
    FROM manifest m JOIN repository r ON r.id = m.repository_id
    WHERE r.namespace_user_id NOT IN (SELECT organization_id FROM proxycacheconfig) ORDER BY m.id";

/// Everything that is wrong.
pub(super) fn check(world: &World<'_>) -> Vec<String> {
    let mut violations = world.database.texts(
        "SELECT format('label %s (%s) is on no manifest', id, key) FROM label l
         WHERE NOT EXISTS (SELECT 1 FROM manifestlabel ml WHERE ml.label_id = l.id)
         UNION ALL
         SELECT format('label %s (%s) is of the type %s', l.id, l.key, mt.name) FROM label l
         JOIN mediatype mt ON mt.id = l.media_type_id WHERE mt.name NOT IN ('text/plain', 'application/json')",
    );
    for row in world.database.rows(ROWS) {
        let bytes = row["manifest_bytes"].as_str().unwrap_or_default();
        // What is no JSON is complained of elsewhere.
        let Ok(body) = Body::read(bytes) else {
            continue;
        };
        let expected = expected(world, &body);
        let mut found: Vec<(&str, &str)> = row["labels"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
            .collect();
        found.sort_unstable();
        let wanted: Vec<(&str, &str)> = expected
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        if found != wanted {
            violations.push(format!(
                "manifest {}: its labels are {found:?}, and its config says {wanted:?}",
                row["id"]
            ));
        }
    }
    violations
}

fn expected(world: &World<'_>, body: &Body) -> BTreeSet<(String, String)> {
    let json = body.json();
    let config_type = json["config"]["mediaType"].as_str().unwrap_or_default();
    let labels = if body.is_index() {
        Value::Null
    } else if body.is_schema_1() {
        let newest = json["history"][0]["v1Compatibility"].as_str();
        let newest: Value = newest
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        newest["config"]["Labels"].clone()
    } else if IMAGE_CONFIGS.contains(&config_type) {
        let config = json["config"]["digest"].as_str().unwrap_or_default();
        read_config(world, config)["config"]["Labels"].clone()
    } else {
        json["annotations"].clone()
    };
    let labels = labels.as_object().into_iter().flatten();
    labels
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The config, from whichever location has it; nothing if none has.
fn read_config(world: &World<'_>, digest: &str) -> Value {
    let Ok(digest) = digest.parse::<Digest>() else {
        return Value::Null;
    };
    let read = world
        .stores
        .values()
        .find_map(|store| fs::read(store.path(&digest)).ok());
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}
