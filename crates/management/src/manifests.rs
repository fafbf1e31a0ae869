//! Manifests and their labels as they are shown. Changing labels is the registry's business (`distribution`), like everything that a repository's state may
//! forbid.

use roadstead_metadata::{LabelRecord, StoredManifest};
use roadstead_oci::{Descriptor, Manifest, ManifestKind, ManifestLimits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ManagementError;
use crate::forms::text;
use crate::management::Management;
use crate::tags::is_index;

/// The most labels that are listed: twice as many as come with a manifest.
const LABELS_MAX: u32 = 1_000;

/// The longest value of a label that is added, in characters.
const VALUE_CHARS_MAX: usize = 10_000;

/// A manifest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ManifestView {
    /// Its digest.
    pub digest: String,
    /// Whether it is an index.
    pub is_manifest_list: bool,
    /// Its text, as it was pushed.
    pub manifest_data: String,
    /// The media type of its configuration, if it has one.
    pub config_media_type: Option<String>,
    /// Its layers; an index has none.
    pub layers: Option<Vec<ManifestLayer>>,
}

/// A layer of a manifest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ManifestLayer {
    /// Its place, from 0.
    pub index: u32,
    /// How many bytes it has.
    pub compressed_size: u64,
    /// Whether it is to be had elsewhere.
    pub is_remote: bool,
    /// Where.
    pub urls: Option<Vec<String>>,
    /// Its digest.
    pub blob_digest: String,
}

/// A label.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LabelView {
    /// Its identifier.
    pub id: String,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether it came with the `manifest` or by the `api`.
    pub source_type: String,
    /// What the value is: `text/plain` or `application/json`.
    pub media_type: String,
}

/// The labels of a manifest.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LabelList {
    /// By key.
    pub labels: Vec<LabelView>,
}

/// One label.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OneLabel {
    /// The label.
    pub label: LabelView,
}

/// A label to be added.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "AddLabel")]
pub struct NewLabelDocument {
    /// Its key. Those of `quay.` are only read from manifests.
    #[schemars(
        length(min = 1, max = 255),
        regex(pattern = "^[a-z0-9]+([.-][a-z0-9]+)*$")
    )]
    pub key: String,
    /// Its value.
    #[schemars(length(max = 10_000))]
    pub value: String,
    /// What the value is; without, it is found out.
    pub media_type: Option<LabelMediaType>,
}

/// What the value of a label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum LabelMediaType {
    /// Text.
    #[serde(rename = "text/plain")]
    Text,
    /// JSON.
    #[serde(rename = "application/json")]
    Json,
}

impl NewLabelDocument {
    /// What the value is, by Quay's name.
    ///
    /// # Errors
    /// When key or value are not what they have to be.
    pub fn checked(&self) -> Result<&'static str, ManagementError> {
        let key = &self.key;
        let part_fits = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if key.len() > 255 || !key.split(['.', '-']).all(part_fits) {
            return Err(ManagementError::invalid(
                "key",
                "has to have at most 255 lower-case letters and digits, with single `.` or `-` between them",
            ));
        }
        if key.starts_with("quay.") {
            return Err(ManagementError::invalid(
                "key",
                "begins with `quay.`, which only manifests can say; change the tag itself",
            ));
        }
        text("value", &self.value, VALUE_CHARS_MAX)?;
        let is_json = || {
            let bracketed = self.value.starts_with(['{', '[']);
            bracketed && serde_json::from_str::<serde_json::Value>(&self.value).is_ok()
        };
        Ok(match self.media_type {
            Some(LabelMediaType::Json) => "application/json",
            None if is_json() => "application/json",
            Some(LabelMediaType::Text) | None => "text/plain",
        })
    }
}

impl From<LabelRecord> for LabelView {
    fn from(label: LabelRecord) -> Self {
        Self {
            id: label.uuid,
            key: label.key,
            value: label.value,
            source_type: label.source,
            media_type: label.media_type,
        }
    }
}

impl From<&StoredManifest> for ManifestView {
    fn from(stored: &StoredManifest) -> Self {
        // One that Quay took and we would not has no layers that could be told.
        let parsed = Manifest::parse(
            Some(&stored.media_type),
            stored.bytes.clone(),
            &ManifestLimits::default(),
        )
        .ok();
        let image = parsed
            .as_ref()
            .filter(|manifest| manifest.kind() == ManifestKind::Image);
        Self {
            digest: stored.digest.to_string(),
            is_manifest_list: is_index(stored.media_type.as_str()),
            manifest_data: String::from_utf8_lossy(&stored.bytes).into_owned(),
            config_media_type: image
                .and_then(Manifest::config)
                .map(|config| config.media_type.to_string()),
            layers: image.map(|manifest| (0..).zip(manifest.layers()).map(layer).collect()),
        }
    }
}

fn layer((index, layer): (u32, &Descriptor)) -> ManifestLayer {
    ManifestLayer {
        index,
        compressed_size: layer.size,
        is_remote: !layer.urls.is_empty(),
        urls: (!layer.urls.is_empty()).then(|| layer.urls.clone()),
        blob_digest: layer.digest.to_string(),
    }
}

impl Management {
    /// Lists the labels of a manifest, those whose keys begin with `prefix`.
    pub async fn list_labels(
        &self,
        manifest: &StoredManifest,
        prefix: &str,
    ) -> Result<LabelList, ManagementError> {
        let found = self
            .database
            .manifest_labels(manifest.id, prefix, LABELS_MAX)
            .await?;
        Ok(LabelList {
            labels: found.into_iter().map(LabelView::from).collect(),
        })
    }

    /// Finds a label of a manifest.
    pub async fn label(
        &self,
        manifest: &StoredManifest,
        id: &str,
    ) -> Result<LabelView, ManagementError> {
        let found = self.database.manifest_label(manifest.id, id).await?;
        found
            .map(LabelView::from)
            .ok_or_else(|| ManagementError::unknown("label", id))
    }
}
