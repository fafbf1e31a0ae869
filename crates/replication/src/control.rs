//! Pausing copies and limiting their speed while everything runs: what an operator says is kept in the database, and every process that
//! makes copies keeps to it.

#[cfg(test)]
mod tests;

use std::num::NonZeroU64;

use roadstead_metadata::MetadataError;
use roadstead_placement::{CopyControl, CopyLimit, DailyWindow, Link, LocationName};
use serde::{Deserialize, Serialize};

use crate::Replication;

/// There is no location of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no location `{name}`; known are: {}", list(known))]
pub struct UnknownLocation {
    /// What was asked for.
    pub name: String,
    /// The locations that there are.
    pub known: Vec<LocationName>,
}

/// Why a location cannot be asked about, or copying not be paused or limited. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such location.
    #[error(transparent)]
    Unknown(#[from] UnknownLocation),
    /// Both ends of a link are the same.
    #[error("nothing is copied from location `{location}` to itself; name two locations")]
    NoLink {
        /// The location.
        location: LocationName,
    },
    /// The database failed, or there are too many pauses and limits.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Everything that is paused or limited, as a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlDocument {
    /// Whether nothing is copied anywhere.
    pub everything_paused: bool,
    /// From and to where nothing is copied, by name.
    pub paused_locations: Vec<LocationName>,
    /// How fast copies may be, where that is limited.
    pub limits: Vec<LimitDocument>,
}

/// A limit, as a document. It is about everything unless it names either `location` or both `source` and `target`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitDocument {
    /// What is copied from and to this location.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationName>,
    /// What is copied from here to `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<LocationName>,
    /// What is copied from `source` to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<LocationName>,
    /// How fast: bytes a second. None, where one is set, means that the limit is to go.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The part of the day in UTC in which it holds, `HH:MM-HH:MM`; always if none.
    #[serde(default)]
    pub between: Option<String>,
}

impl Replication {
    /// Everything that is paused or limited.
    pub async fn control(&self) -> Result<CopyControl, ControlError> {
        Ok(self.database.copy_control().await?)
    }

    /// Has copying rest, from and to one location or everywhere, until [`Replication::resume`]. Copies stay wanted meanwhile.
    pub async fn pause(&self, location: Option<&str>) -> Result<(), ControlError> {
        let location = self.known(location).await?;
        let now = self.environment.now();
        self.database.pause_copies(location.as_ref(), now).await?;
        Ok(())
    }

    /// Takes back one [`Replication::pause`]: that of the location, or that of everything, after which locations that were paused by
    /// themselves still rest. False if there was none.
    pub async fn resume(&self, location: Option<&str>) -> Result<bool, ControlError> {
        // A location may have gone since it was paused.
        let name = location.map(LocationName::new).transpose().ok().flatten();
        let resumed = match (location, &name) {
            (Some(_), None) => false,
            (_, name) => self.database.resume_copies(name.as_ref()).await?,
        };
        if resumed {
            // Copies that were found paused were put off.
            self.hasten().await?;
        } else {
            self.known(location).await?;
        }
        Ok(resumed)
    }

    /// Limits how fast copies over a link are together, in place of the limit in the same part of the day.
    pub async fn limit(&self, limit: &CopyLimit) -> Result<(), ControlError> {
        for end in limit.link.ends() {
            self.find_location(end.as_str()).await?;
        }
        if let Link::Pair { source, target } = &limit.link
            && source == target
        {
            return Err(ControlError::NoLink {
                location: source.clone(),
            });
        }
        let now = self.environment.now();
        Ok(self.database.limit_copies(limit, now).await?)
    }

    /// Removes the limit of a link in one part of the day, or all that it has, and says how many they were.
    pub async fn unlimit(
        &self,
        link: &Link,
        window: Option<DailyWindow>,
    ) -> Result<u64, ControlError> {
        let removed = self.database.unlimit_copies(link, window).await?;
        if removed == 0 {
            for end in link.ends() {
                self.find_location(end.as_str()).await?;
            }
        }
        Ok(removed)
    }

    /// The location of this name, if the configuration or the database knows it.
    pub async fn find_location(&self, name: &str) -> Result<LocationName, ControlError> {
        let mut known = self.database.known_locations().await?;
        for configured in self.locations.names() {
            known.insert(configured.clone(), true);
        }
        match known.keys().find(|known| known.as_str() == name) {
            Some(found) => Ok(found.clone()),
            // A database of Quay's has rows of locations that were never used.
            None => Err(UnknownLocation {
                name: name.escape_debug().take(LocationName::LENGTH_MAX).collect(),
                known: known
                    .into_iter()
                    .filter_map(|(name, used)| used.then_some(name))
                    .collect(),
            }
            .into()),
        }
    }

    pub(crate) async fn known(
        &self,
        location: Option<&str>,
    ) -> Result<Option<LocationName>, ControlError> {
        match location {
            Some(name) => self.find_location(name).await.map(Some),
            None => Ok(None),
        }
    }
}

impl From<&CopyControl> for ControlDocument {
    fn from(control: &CopyControl) -> Self {
        Self {
            everything_paused: control.paused.everything,
            paused_locations: control.paused.locations.iter().cloned().collect(),
            limits: control.limits.iter().map(LimitDocument::from).collect(),
        }
    }
}

impl From<&CopyLimit> for LimitDocument {
    fn from(limit: &CopyLimit) -> Self {
        let mut document = Self {
            location: None,
            source: None,
            target: None,
            bytes_per_second: Some(limit.bytes_per_second),
            between: limit.window.map(|window| window.to_string()),
        };
        match &limit.link {
            Link::All => {}
            Link::Location(location) => document.location = Some(location.clone()),
            Link::Pair { source, target } => {
                document.source = Some(source.clone());
                document.target = Some(target.clone());
            }
        }
        document
    }
}

impl LimitDocument {
    /// The link that it is about; none if it names too few ends of it or too many.
    pub fn link(&self) -> Option<Link> {
        match (&self.location, &self.source, &self.target) {
            (None, None, None) => Some(Link::All),
            (Some(location), None, None) => Some(Link::Location(location.clone())),
            (None, Some(source), Some(target)) => Some(Link::Pair {
                source: source.clone(),
                target: target.clone(),
            }),
            _ => None,
        }
    }
}

fn list(names: &[LocationName]) -> String {
    let names: Vec<&str> = names.iter().map(LocationName::as_str).collect();
    names.join(", ")
}
