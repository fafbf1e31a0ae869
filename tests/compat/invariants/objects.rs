//! Placements against what lies in the stores, in both directions.

use std::collections::BTreeMap;

use roadstead_oci::Digest;

use super::World;

const PLACEMENTS: &str = "
    SELECT p.id, l.name AS location, s.content_checksum, s.image_size
    FROM imagestorageplacement p JOIN imagestorage s ON s.id = p.storage_id
    JOIN imagestoragelocation l ON l.id = p.location_id ORDER BY p.id";

/// Everything that is wrong. Reads every object.
pub(super) fn check(world: &World<'_>) -> Vec<String> {
    let mut violations = Vec::new();
    let mut objects: BTreeMap<&str, BTreeMap<Digest, u64>> = world
        .stores
        .iter()
        .map(|(location, store)| (location.as_str(), store.objects()))
        .collect();
    for row in world.database.rows(PLACEMENTS) {
        let [id, location, digest] =
            ["id", "location", "content_checksum"].map(|column| row[column].to_string());
        let (location, digest) = (location.trim_matches('"'), digest.trim_matches('"'));
        let Some(there) = objects.get_mut(location) else {
            violations.push(format!(
                "placement {id} is in {location}, which is not configured"
            ));
            continue;
        };
        let object = digest
            .parse()
            .ok()
            .and_then(|digest: Digest| there.remove(&digest));
        match object {
            None => violations.push(format!("placement {id}: {location} has no {digest}")),
            Some(size) if Some(size) != row["image_size"].as_u64() => violations.push(format!(
                "placement {id}: {digest} has {size} bytes in {location}, and its row says {}",
                row["image_size"]
            )),
            Some(_) => {}
        }
    }
    for (location, rest) in objects {
        let orphans = rest
            .into_keys()
            .map(|digest| format!("{location} has {digest}, which no row knows"));
        violations.extend(orphans);
    }
    for (location, store) in &world.stores {
        let damaged = store
            .damaged()
            .into_iter()
            .map(|digest| format!("{location} has other bytes under {digest}"));
        violations.extend(damaged);
    }
    violations
}
