//! Labels: what an image's configuration and a manifest's annotations say of it, as rows of Quay's `label` and `manifestlabel`, and what two of
//! them do to the tags that point to it.
//!
//! Labels are written with a manifest's row. What could not be read then is owed; see [`owed`]. What people add later is in [`changes`].

pub(crate) mod changes;
pub(crate) mod owed;

use std::collections::BTreeMap;
use std::time::Duration;

use roadstead_runtime::Ids;
use serde_json::{Value, json};

use crate::database::{Connection, Transaction, json_members, json_texts, params};
use crate::error::MetadataError;
use crate::ids::{ManifestId, RepositoryId};
use crate::row::FromRow;

/// The label that ends a tag so long after each push: a number and one of `s m h d w y`.
const EXPIRES_AFTER: &str = "quay.expires-after";

/// The label that makes tags immutable when it is `true`, where tags can be.
const IMMUTABLE: &str = "quay.immutable";

/// The most labels of one manifest that are kept; Quay has no bound. Images have some ten, those of large vendors about a hundred.
const LABELS_MAX: usize = 500;

/// The longest key, in characters: Quay's column.
const KEY_CHARS_MAX: usize = 255;

/// The longest value, in bytes; Quay has no bound. The longest in use are descriptions and small documents of some kilobytes.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// A tag that ends later than 100 years from now does not end. Quay's own answers cannot name a time beyond the year 9999.
const EXPIRY_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// The labels of one manifest, as far as they can be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    kept: BTreeMap<String, String>,
    left_out: usize,
}

impl Labels {
    /// Takes what can be stored: at most 500, those that begin with `quay.` first; no empty key, none longer than 255 characters, no value longer
    /// than 64 KiB, and no NUL, which PostgreSQL's texts cannot hold. The rest is counted and stays in the manifest or the configuration.
    pub fn storable(labels: BTreeMap<String, String>) -> Self {
        let given = labels.len();
        let (quays, others): (Vec<_>, Vec<_>) = labels
            .into_iter()
            .filter(|(key, value)| is_storable(key, value))
            .partition(|(key, _)| key.starts_with("quay."));
        let kept: BTreeMap<_, _> = quays.into_iter().chain(others).take(LABELS_MAX).collect();
        Self {
            left_out: given - kept.len(),
            kept,
        }
    }

    /// Those that are stored.
    pub fn kept(&self) -> &BTreeMap<String, String> {
        &self.kept
    }

    /// How many were left out.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }
}

fn is_storable(key: &str, value: &str) -> bool {
    let nul = key.contains('\0') || value.contains('\0');
    (1..=KEY_CHARS_MAX).contains(&key.chars().count()) && value.len() <= VALUE_BYTES_MAX && !nul
}

/// What is known of the labels of a manifest that is pushed.
#[derive(Clone, Copy, Debug)]
pub enum PushedLabels<'a> {
    /// Nobody looked. A manifest that the repository does not have yet is not stored with that; see
    /// [`PutManifestOutcome::LabelsNeeded`](crate::PutManifestOutcome::LabelsNeeded).
    NotRead,
    /// These.
    Read(&'a Labels),
    /// They cannot be read at present. They are owed to a new manifest.
    Unreadable,
}

impl PushedLabels<'_> {
    /// There are none, which was looked up or is not of interest.
    pub const NONE: PushedLabels<'static> = PushedLabels::Read(&Labels {
        kept: BTreeMap::new(),
        left_out: 0,
    });

    /// Whether they are known to do nothing to the tags of a manifest that is new.
    pub(crate) fn leave_tags_alone(self) -> bool {
        let Self::Read(labels) = self else {
            return false;
        };
        let mut effective = [EXPIRES_AFTER, IMMUTABLE].into_iter();
        !effective.any(|key| labels.kept.contains_key(key))
    }
}

/// Writes the labels of a manifest that is new.
pub(crate) async fn write(
    transaction: &Transaction,
    repository: RepositoryId,
    manifest: ManifestId,
    labels: &Labels,
    ids: &dyn Ids,
) -> Result<(), MetadataError> {
    const OPERATION: &str = "store the labels of a manifest";
    if labels.kept.is_empty() {
        return Ok(());
    }
    let rows: Vec<(String, &String, &String)> = labels
        .kept
        .iter()
        .map(|(key, value)| (ids.uuid().to_string(), key, value))
        .collect();
    let members = rows.iter().map(|(uuid, key, value)| {
        json!({ "uuid": uuid, "key": key, "value": value, "type": media_type(value) })
    });
    transaction
        .execute(
            OPERATION,
            "INSERT INTO label (uuid, key, value, media_type_id, source_type_id)
             SELECT @member(l.value, uuid), @member(l.value, key), @member(l.value, value), m.id, s.id
             FROM @texts($1) l
             JOIN mediatype m ON m.name = @member(l.value, type)
             JOIN labelsourcetype s ON s.name = 'manifest'",
            params![json_members(members)],
        )
        .await?;
    transaction
        .execute(
            OPERATION,
            "INSERT INTO manifestlabel (repository_id, manifest_id, label_id)
             SELECT $1, $2, l.id FROM label l WHERE l.uuid IN @texts($3)",
            params![
                repository.0,
                manifest.0,
                json_texts(rows.iter().map(|(uuid, ..)| uuid)),
            ],
        )
        .await?;
    Ok(())
}

/// The type that Quay gives a label's value: JSON if it is an object or a list, else plain text.
fn media_type(value: &str) -> &'static str {
    let bracketed = (value.starts_with('{') && value.ends_with('}'))
        || (value.starts_with('[') && value.ends_with(']'));
    if bracketed && serde_json::from_str::<Value>(value).is_ok() {
        "application/json"
    } else {
        "text/plain"
    }
}

/// What a manifest's labels do to tags that are pointed to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TagEffects {
    /// After so many milliseconds the tag ends.
    pub(crate) expires_after_ms: Option<i64>,
    /// The tag cannot be moved or deleted.
    pub(crate) immutable: bool,
}

#[derive(Debug, FromRow)]
struct EffectRow {
    manifest_id: i32,
    key: String,
    value: String,
}

/// Reads what the labels of a manifest do to its tags. An index with so many children has no labels of its own: what all of its manifests say
/// counts for it, as in Quay.
///
/// A value that cannot be understood has no effect.
pub(crate) async fn tag_effects(
    transaction: &Transaction,
    manifest: ManifestId,
    children: usize,
) -> Result<TagEffects, MetadataError> {
    let rows: Vec<EffectRow> = transaction
        .rows(
            "read the labels of a manifest",
            // The youngest of several with one key, as somebody who adds a label would expect.
            "SELECT ml.manifest_id, l.key, l.value FROM manifestlabel ml JOIN label l ON l.id = ml.label_id
             WHERE ml.manifest_id IN (SELECT CAST($1 AS integer) UNION ALL
                                      SELECT child_manifest_id FROM manifestchild WHERE manifest_id = $1)
               AND l.key IN ('quay.expires-after', 'quay.immutable')
             ORDER BY l.id",
            params![manifest.0],
        )
        .await?;
    Ok(TagEffects {
        expires_after_ms: agreed(&rows, EXPIRES_AFTER, manifest, children)
            .and_then(|value| expires_after_ms(value, manifest)),
        immutable: agreed(&rows, IMMUTABLE, manifest, children)
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("true")),
    })
}

/// The manifest's own value, or the one that all of its children have.
fn agreed<'a>(
    rows: &'a [EffectRow],
    key: &str,
    manifest: ManifestId,
    children: usize,
) -> Option<&'a str> {
    let of_key: BTreeMap<i32, &str> = rows
        .iter()
        .filter(|row| row.key == key)
        .map(|row| (row.manifest_id, row.value.as_str()))
        .collect();
    if let Some(own) = of_key.get(&manifest.0) {
        return Some(own);
    }
    let mut values = of_key.values();
    let first = values.next()?;
    (of_key.len() == children && values.all(|value| value == first)).then_some(first)
}

fn expires_after_ms(value: &str, manifest: ManifestId) -> Option<i64> {
    let Ok(duration) = duration(value) else {
        tracing::info!(
            manifest.id = %manifest,
            value,
            "The label {EXPIRES_AFTER} of manifest {manifest} is not a number and one of s, m, h, d, w, y: its tags do not end"
        );
        return None;
    };
    i64::try_from(duration?.as_millis()).ok()
}

/// The text is not a duration of Quay's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NotADuration;

/// Reads a duration of Quay's. None: for good, which is what Quay makes of zero, and we of more than [`EXPIRY_MAX`].
fn duration(text: &str) -> Result<Option<Duration>, NotADuration> {
    let unit = text.chars().next_back().ok_or(NotADuration)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        'y' => 365 * 24 * 3600,
        _ => return Err(NotADuration),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotADuration);
    }
    let duration = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs);
    Ok(duration.filter(|duration| *duration <= EXPIRY_MAX && !duration.is_zero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let seconds = |text| duration(text).map(|found| found.map(|found| found.as_secs()));
        for (text, expected) in [
            ("1s", 1),
            ("90m", 5400),
            ("24h", 86_400),
            ("7d", 604_800),
            ("4w", 2_419_200),
            ("1y", 31_536_000),
            ("007s", 7),
        ] {
            assert_eq!(seconds(text), Ok(Some(expected)), "{text}");
        }
        for forever in [
            "0s",
            "0w",
            "101y",
            "18446744073709551615s",
            "99999999999999999999999d",
        ] {
            assert_eq!(seconds(forever), Ok(None), "{forever}");
        }
        for wrong in [
            "", "w", "4", "-1d", "+1d", " 1d", "1d ", "1.5h", "1 d", "4W", "1_0d", "d1", "4ö",
            "٤w", "\0w",
        ] {
            assert_eq!(seconds(wrong), Err(NotADuration), "{wrong:?}");
        }
    }

    #[test]
    fn labels_that_no_row_can_hold_are_left_out_and_those_of_quay_go_first() {
        let mut labels: BTreeMap<String, String> = (0..10_000)
            .map(|number| (format!("label-{number:05}"), "x".to_owned()))
            .collect();
        labels.extend(
            [
                ("quay.expires-after", "4w"),
                ("", "no key"),
                ("nul", "a\0b"),
                ("nul\0", "a"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        labels.insert("ö".repeat(256), "too long a key".to_owned());
        labels.insert("long".to_owned(), "x".repeat(VALUE_BYTES_MAX + 1));
        let given = labels.len();
        let stored = Labels::storable(labels);
        assert_eq!(stored.kept().len(), LABELS_MAX);
        assert_eq!(stored.left_out(), given - LABELS_MAX);
        assert_eq!(stored.kept()["quay.expires-after"], "4w");
        assert!(
            stored
                .kept()
                .keys()
                .all(|key| key.starts_with("quay.") || key.starts_with("label-"))
        );
        let longest = BTreeMap::from([("ö".repeat(255), "x".repeat(VALUE_BYTES_MAX))]);
        assert_eq!(Labels::storable(longest.clone()).kept(), &longest);
    }

    #[test]
    fn only_objects_and_lists_are_json_as_for_quay() {
        for json in ["{}", r#"{"a":1}"#, "[]", "[1, 2]"] {
            assert_eq!(media_type(json), "application/json", "{json}");
        }
        for plain in [
            "", "1", "true", "null", r#""a""#, "{", "{]", "{a}", " {}", "[1,]",
        ] {
            assert_eq!(media_type(plain), "text/plain", "{plain}");
        }
    }
}
