//! Tags as they are shown. Changing them is the registry's business (`distribution`): what a push may not do to a tag, nobody may.

use chrono::DateTime;
use roadstead_metadata::{Repository, TagFilter, TagHistory, TagPage};
use roadstead_oci::MediaType;
use roadstead_runtime::Timestamp;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::ManagementError;
use crate::forms::Moment;
use crate::management::Management;

/// The end of the year 9999, behind which Quay's answers cannot name a time.
const EXPIRATION_MAX: i64 = 253_402_300_799;

/// What to change of a tag. What is left out stays.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChangeTag")]
pub struct TagChanges {
    /// The manifest to point it to.
    #[schemars(length(max = 255))]
    pub manifest_digest: Option<String>,
    /// When it ends, in seconds since 1970; null: it does not.
    #[serde(default)]
    #[schemars(with = "Option<f64>", range(min = 0, max = 253_402_300_799_i64))]
    pub expiration: Expiration,
    /// Whether it cannot be moved or deleted.
    pub immutable: Option<bool>,
}

/// When a tag is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiration {
    /// When it does.
    #[default]
    Unchanged,
    /// Not by itself.
    Never,
    /// Then.
    At(Timestamp),
}

impl<'de> Deserialize<'de> for Expiration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(seconds) = Option::<f64>::deserialize(deserializer)? else {
            return Ok(Self::Never);
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what does not fit is out of the range, and parts of a second do not matter"
        )]
        let seconds = seconds as i64;
        DateTime::from_timestamp(seconds, 0)
            .filter(|_| (0..=EXPIRATION_MAX).contains(&seconds))
            .map(Self::At)
            .ok_or_else(|| D::Error::custom("`expiration` is no number of seconds since 1970"))
    }
}

/// What a tag is to be brought back to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RestoreTag")]
pub struct TagRestoration {
    /// The manifest.
    #[schemars(length(min = 1, max = 255))]
    pub manifest_digest: String,
}

/// Which tags to list.
#[derive(Clone, Copy, Debug)]
pub struct TagListing<'a> {
    /// Only the one of this name.
    pub specific: Option<&'a str>,
    /// `like:` or `eq:` and a part of the name, or all of it.
    pub filter: Option<&'a str>,
    /// Only those that are live.
    pub active_only: bool,
    /// Which page, from 1.
    pub page: u32,
    /// How many tags it has.
    pub limit: u32,
}

/// A page of the history of tags.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TagList {
    /// What the tags point and pointed to, the youngest first.
    pub tags: Vec<TagView>,
    /// Which page this is.
    pub page: u32,
    /// Whether there is another.
    pub has_additional: bool,
}

/// What a tag points to, or pointed to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TagView {
    /// The tag.
    pub name: String,
    /// Whether somebody brought it back.
    pub reversion: bool,
    /// Since when it points there, in seconds since 1970.
    pub start_ts: i64,
    /// Until when, if that is set; it may be to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_ts: Option<i64>,
    /// The manifest.
    pub manifest_digest: String,
    /// Whether that is an index.
    pub is_manifest_list: bool,
    /// How many bytes the layers have; unknown of an index.
    pub size: Option<u64>,
    /// `start_ts` in words.
    pub last_modified: Moment,
    /// `end_ts` in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Moment>,
    /// Whether it cannot be moved or deleted.
    pub immutable: bool,
}

impl From<TagHistory> for TagView {
    fn from(tag: TagHistory) -> Self {
        Self {
            reversion: tag.reversion,
            start_ts: tag.start.timestamp(),
            end_ts: tag.end.map(|end| end.timestamp()),
            is_manifest_list: is_index(&tag.media_type),
            manifest_digest: tag.digest,
            size: tag.layers_size,
            last_modified: Moment(tag.start),
            expiration: tag.end.map(Moment),
            immutable: tag.immutable,
            name: tag.name,
        }
    }
}

/// Whether manifests of this type are indexes.
pub(crate) fn is_index(media_type: &str) -> bool {
    [MediaType::OCI_INDEX, MediaType::DOCKER_MANIFEST_LIST]
        .iter()
        .any(|index| index.as_str() == media_type)
}

impl Management {
    /// Lists what tags point and pointed to, the youngest first.
    pub async fn list_tags(
        &self,
        repository: &Repository,
        listing: &TagListing<'_>,
    ) -> Result<TagList, ManagementError> {
        let page = listing.page.max(1);
        let filter = match (listing.specific, listing.filter) {
            (Some(name), _) => TagFilter::Named(name),
            (None, None) => TagFilter::All,
            (None, Some(filter)) => match filter.split_once(':') {
                Some(("eq", name)) => TagFilter::Named(name),
                Some(("like", "")) => TagFilter::All,
                Some(("like", part)) => TagFilter::Containing(part),
                _ => {
                    return Err(ManagementError::invalid(
                        "filter_tag_name",
                        "is `like:` or `eq:` and a name or a part of one",
                    ));
                }
            },
        };
        let mut found = self
            .database
            .tag_history(&TagPage {
                repository: repository.id,
                filter,
                live_only: listing.active_only,
                skip: u64::from(page - 1) * u64::from(listing.limit),
                limit: listing.limit.saturating_add(1),
                now: self.environment.now(),
            })
            .await?;
        let limit = usize::try_from(listing.limit).unwrap_or(usize::MAX);
        let has_additional = found.len() > limit;
        found.truncate(limit);
        Ok(TagList {
            tags: found.into_iter().map(TagView::from).collect(),
            page,
            has_additional,
        })
    }
}
