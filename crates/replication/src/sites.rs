//! Regions are taken out and back: the end-to-end check of each of their processes tells balancers within seconds. Nothing else changes: whoever
//! comes all the same is served.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use roadstead_metadata::{DrainedSite, MetadataError, Sites};
use roadstead_placement::{LocationName, may_leave};

use crate::Replication;

/// After how long a process of which nothing is heard has ended: every process tells of itself every ten seconds.
pub const ENDED_AFTER: Duration = Duration::from_mins(2);

/// Why a region is not taken out, or not back.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// No region has this name.
    #[error(
        "there is no region `{name}`: a region goes by the location that it prefers; known are: {}",
        list(known)
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The locations that there are.
        known: BTreeSet<LocationName>,
    },
    /// No other region would be left.
    #[error(
        "no other region runs that is not taken out ({running}): balancers would send clients nowhere; take one back with \
         `admin site undrain REGION`, or insist with --force", running = running(sites)
    )]
    Last {
        /// The region.
        region: LocationName,
        /// The regions as they are.
        sites: Sites,
    },
    /// The database failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// A region as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteStatus {
    /// The region, by the location that it prefers.
    pub region: LocationName,
    /// Whether a process of it was heard of lately.
    pub running: bool,
    /// That it is out.
    pub drained: Option<DrainedSite>,
}

impl Replication {
    /// The region of a name; without one, this process's own.
    fn site(&self, name: Option<&str>) -> Result<LocationName, SiteError> {
        let Some(name) = name else {
            return Ok(self.topology.preferred().clone());
        };
        let known = self.topology.locations();
        let found = known.iter().find(|location| location.as_str() == name);
        found.cloned().ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> SiteError {
        SiteError::Unknown {
            name: name.to_owned(),
            known: self.topology.locations().iter().cloned().collect(),
        }
    }

    /// Takes a region out, unless it is the last one and nobody insists. Says which. Done again, it changes nothing.
    pub async fn drain_site(
        &self,
        name: Option<&str>,
        insist: bool,
    ) -> Result<LocationName, SiteError> {
        let region = self.site(name)?;
        let now = self.environment.now();
        let (drained, sites) = self
            .database
            .drain_site(&region, now - ENDED_AFTER, now, |sites| {
                insist || may_leave(&region, &sites.running, &sites.out())
            })
            .await?;
        if !drained {
            return Err(SiteError::Last { region, sites });
        }
        tracing::info!(location.id = %region, "Region {region} is taken out: its end-to-end check fails from now on");
        Ok(region)
    }

    /// Takes a region back, also one whose location is configured no more. Says which, and whether it was out.
    pub async fn undrain_site(
        &self,
        name: Option<&str>,
    ) -> Result<(LocationName, bool), SiteError> {
        let region = match name {
            Some(name) => LocationName::new(name).map_err(|_| self.unknown(name))?,
            None => self.topology.preferred().clone(),
        };
        let was_out = self.database.undrain_site(&region).await?;
        if was_out {
            tracing::info!(location.id = %region, "Region {region} is taken back: its end-to-end check says again how it fares");
        } else if !self.topology.locations().contains(&region) {
            return Err(self.unknown(region.as_str()));
        }
        Ok((region, was_out))
    }

    /// The regions that run or are out, by name.
    pub async fn sites(&self) -> Result<Vec<SiteStatus>, MetadataError> {
        let now = self.environment.now();
        let sites = self.database.sites(now - ENDED_AFTER).await?;
        let names: BTreeSet<LocationName> = sites.running.union(&sites.out()).cloned().collect();
        let status = |region: LocationName| SiteStatus {
            running: sites.running.contains(&region),
            drained: sites
                .drained
                .iter()
                .find(|site| site.region == region)
                .cloned(),
            region,
        };
        Ok(names.into_iter().map(status).collect())
    }
}

fn list(names: &BTreeSet<LocationName>) -> String {
    let names: Vec<&str> = names.iter().map(LocationName::as_str).collect();
    names.join(", ")
}

fn running(sites: &Sites) -> String {
    if sites.running.is_empty() {
        "none was heard of in the last two minutes".to_owned()
    } else {
        format!("running: {}", list(&sites.running))
    }
}
