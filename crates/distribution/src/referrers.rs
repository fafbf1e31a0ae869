//! Listing what refers to a manifest, page by page.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use roadstead_metadata::{ManifestId, Referrer, ReferrersOf, Repository};
use roadstead_oci::Digest;

use crate::error::PullError;
use crate::registry::Inner;

/// Where a list of referrers goes on. Its text form is for the URL of the next page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferrersAfter(ManifestId);

impl fmt::Display for ReferrersAfter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for ReferrersAfter {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(|id| Self(ManifestId(id)))
    }
}

/// Some of the manifests that refer to a subject, in the order in which they were first pushed.
#[derive(Clone, Debug)]
pub struct ReferrersPage {
    /// What the index of the specification says about each: media type, digest, size, artifact type, annotations.
    pub referrers: Vec<Referrer>,
    /// Where to go on, if there are more.
    pub next: Option<ReferrersAfter>,
}

/// Manifests that are read in one step. Each may carry as many bytes as a manifest may have, so the steps are small.
const PER_STEP: u32 = 16;

pub(crate) async fn list(
    inner: &Inner,
    repository: &Repository,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<ReferrersAfter>,
    entries: Option<u64>,
) -> Result<ReferrersPage, PullError> {
    let mut page = ReferrersPage {
        referrers: Vec::new(),
        next: None,
    };
    let limit = inner.page_limit(entries);
    let mut room = Room {
        entries: limit,
        bytes: inner.options.referrers_page_bytes_max,
    };
    let mut after = after.map_or(ManifestId(0), |ReferrersAfter(id)| id);
    if limit == 0 {
        return Ok(page);
    }
    loop {
        let found = inner
            .database
            .referrers(&ReferrersOf {
                repository: repository.id,
                subject,
                artifact_type,
                after,
                limit: PER_STEP,
                now: inner.now(),
            })
            .await?;
        let ended = found.len() < PER_STEP as usize;
        for referrer in found {
            // The first one is taken whatever its size, so that every list comes to its end.
            if !room.take(&referrer) && !page.referrers.is_empty() {
                page.next = Some(ReferrersAfter(after));
                return Ok(page);
            }
            after = referrer.id;
            page.referrers.push(referrer);
        }
        if ended {
            return Ok(page);
        }
    }
}

/// What still fits into a page.
struct Room {
    entries: u32,
    bytes: u64,
}

impl Room {
    /// Takes a referrer in, if it fits; once one does not, nothing does. Its annotations and types are at most as long as its
    /// manifest.
    fn take(&mut self, referrer: &Referrer) -> bool {
        let (entries, bytes) = (
            self.entries.checked_sub(1),
            self.bytes.checked_sub(referrer.size),
        );
        let fits = entries.is_some() && bytes.is_some();
        self.entries = entries.filter(|_| fits).unwrap_or(0);
        self.bytes = bytes.filter(|_| fits).unwrap_or(0);
        fits
    }
}
