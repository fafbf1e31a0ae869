//! What health checks ask of this process and of what it stands on.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_api::{Health, HealthDetails, HealthOptions, HealthServices, Probe};
use roadstead_auth::SigningKeys;
use roadstead_config::{Config, RegistryState, StorageCheck};
use roadstead_distribution::{Registry, Writes};
use roadstead_locations::Locations;
use roadstead_metadata::{Database, MetadataError};
use roadstead_placement::{HealthState, LocationName, Use};
use roadstead_runtime::{Clock, Environment, Timestamp};

use crate::deployment::Deployment;
use crate::error::StartError;

/// For how long pulls are let in without the database: tokens are made for whoever got them lately, and public repositories are believed to be
/// public, for ten minutes (`docs/OPERATING.md`, "When the database fails").
const RIGHTS_OUTLIVE: Duration = Duration::from_mins(10);

/// How long the database is waited for where not knowing must not count as failing: less than the deadline of health checks, at which it would.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the kernel calls this machine or container.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";

/// Puts together what the health checks ask. Asks nothing yet but which schema there is, where that is to be told.
pub(crate) async fn health(
    config: &Config,
    deployment: &Deployment,
    registry: &Registry,
    keys: &SigningKeys,
    redis: Option<Arc<dyn Probe>>,
) -> Result<Health, StartError> {
    let Deployment {
        database,
        locations,
        topology,
        environment,
        data_directory,
        ..
    } = deployment;
    let checked = &config.health;
    let answers = Arc::new(DatabaseAnswers {
        database: database.clone(),
        environment: environment.clone(),
        last: Mutex::default(),
    });
    let reads_only = config.registry.state == RegistryState::ReadOnly;
    let uses = if reads_only {
        &[Use::Read][..]
    } else {
        &[Use::Read, Use::Write]
    };
    let needed = match checked.storage {
        StorageCheck::Any => Needed::One,
        StorageCheck::Preferred => Needed::These(
            locations
                .names()
                .filter(|name| topology.prefers(name))
                .cloned()
                .collect(),
        ),
        StorageCheck::All => Needed::These(locations.names().cloned().collect()),
    };
    let storage = |needed: Needed, uses: &'static [Use]| {
        Arc::new(StorageWorks {
            locations: locations.clone(),
            needed,
            uses,
        })
    };
    let disk = |free_min: f64| {
        Arc::new(DiskHasRoom {
            directory: data_directory.clone(),
            free_min,
        })
    };
    let local_revision = if checked.database_revision {
        database.revisions().await?.known
    } else {
        String::new()
    };
    let services = HealthServices {
        // Passwords are in the database, so whoever can ask it can check them.
        auth: Arc::clone(&answers) as Arc<dyn Probe>,
        rights: Arc::new(RightsAreKnown(Arc::clone(&answers))),
        database: answers,
        database_writes: Arc::new(DatabaseTakesWrites(database.clone())),
        service_key: Arc::new(KeyIsValid {
            keys: keys.clone(),
            clock: Arc::clone(&environment.clock),
        }),
        disk_space: disk(checked.disk_free_min),
        disk_space_warning: disk(checked.disk_free_warning),
        redis,
        storage: storage(needed, uses),
        preferred_storage: checked.instance_checks_preferred_storage.then(|| {
            let first = BTreeSet::from([topology.preferred().clone()]);
            storage(Needed::These(first), uses) as Arc<dyn Probe>
        }),
        storage_read: storage(Needed::One, &[Use::Read]),
        storage_write: storage(Needed::One, &[Use::Write]),
        pushes: Arc::new(PushesAreMeant(registry.clone())),
        site: Arc::new(SiteIsOpen {
            database: database.clone(),
            clock: Arc::clone(&environment.clock),
            region: topology.preferred().clone(),
            last: Mutex::new(Ok(None)),
        }),
        revision: checked
            .database_revision
            .then(|| Arc::new(SchemaRevision(database.clone())) as Arc<dyn Probe>),
    };
    let options = HealthOptions {
        instance_skips: checked.instance_skips.clone(),
        local_revision,
        details: HealthDetails {
            is_testing: config.hosting.testing,
            config_provider: "file".to_owned(),
            hostname: std::fs::read_to_string(HOSTNAME)
                .map(|name| name.trim().to_owned())
                .unwrap_or_default(),
        },
        ..HealthOptions::default()
    };
    Ok(Health::new(
        services,
        options,
        Arc::clone(&environment.clock),
    ))
}

/// What a probe says.
type Said = Result<Option<String>, String>;

/// What the database answers within [`PATIENCE`]; none: nothing, or that it cannot.
async fn answered<T>(
    clock: &dyn Clock,
    question: impl Future<Output = Result<T, MetadataError>>,
) -> Option<T> {
    tokio::select! {
        answer = question => answer.ok(),
        () = clock.sleep(PATIENCE) => None,
    }
}

#[derive(Debug)]
struct DatabaseAnswers {
    database: Database,
    environment: Environment,
    /// When it last did.
    last: Mutex<Option<Timestamp>>,
}

#[async_trait::async_trait]
impl Probe for DatabaseAnswers {
    async fn probe(&self) -> Said {
        let answer = self.database.ping().await;
        answer.map_err(|error| error.to_string())?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.environment.now());
        Ok(None)
    }
}

/// By when the database last answered: it is not asked here.
#[derive(Debug)]
struct RightsAreKnown(Arc<DatabaseAnswers>);

#[async_trait::async_trait]
impl Probe for RightsAreKnown {
    async fn probe(&self) -> Said {
        let last = *self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.0.environment.now();
        match last {
            Some(last) if now < last + RIGHTS_OUTLIVE => Ok(None),
            Some(last) => Err(format!(
                "the database has not answered since {}",
                last.format("%F %T UTC")
            )),
            None => Err("the database has not answered yet".to_owned()),
        }
    }
}

#[derive(Debug)]
struct DatabaseTakesWrites(Database);

#[async_trait::async_trait]
impl Probe for DatabaseTakesWrites {
    async fn probe(&self) -> Said {
        let answer = self.0.ping_for_writes().await;
        answer.map(|()| None).map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
struct KeyIsValid {
    keys: SigningKeys,
    clock: Arc<dyn Clock>,
}

#[async_trait::async_trait]
impl Probe for KeyIsValid {
    /// True when the database does not answer, as in Quay: that is the database's failure, and said there.
    async fn probe(&self) -> Said {
        match answered(&*self.clock, self.keys.is_valid()).await {
            Some(false) => {
                Err("the instance's service key is missing, not approved or expired".to_owned())
            }
            Some(true) | None => Ok(None),
        }
    }
}

/// The locations that a check needs.
#[derive(Debug)]
enum Needed {
    /// Any one for each use.
    One,
    /// Each of these for every use.
    These(BTreeSet<LocationName>),
}

/// Whether the locations can be used. They are watched all the time, and nothing is asked here.
///
/// A region reads and writes wherever it can, so that one location that works will do for it to serve.
#[derive(Debug)]
struct StorageWorks {
    locations: Locations,
    needed: Needed,
    uses: &'static [Use],
}

#[async_trait::async_trait]
impl Probe for StorageWorks {
    /// Remarks, as Quay does, which locations fail that are not needed.
    async fn probe(&self) -> Said {
        let standings = self.locations.standings();
        let down = |name: &LocationName, wanted: Use| {
            standings.get(name).of(wanted).state == HealthState::Down
        };
        let (mut failures, mut remarks) = (Vec::new(), Vec::new());
        for wanted in self.uses {
            if matches!(self.needed, Needed::One)
                && self.locations.names().all(|name| down(name, *wanted))
            {
                failures.push(format!("no location can be used for {}s", wanted.as_str()));
            }
            for name in self.locations.names().filter(|name| down(name, *wanted)) {
                let problem = format!("location {name} cannot be used for {}s", wanted.as_str());
                match &self.needed {
                    Needed::These(needed) if needed.contains(name) => failures.push(problem),
                    Needed::These(_) | Needed::One => remarks.push(problem),
                }
            }
        }
        if !failures.is_empty() {
            return Err(failures.join("; "));
        }
        Ok((!remarks.is_empty()).then(|| format!("warnings: {}", remarks.join("; "))))
    }
}

/// Whether pushes are taken as the configuration is now: `DISABLE_PUSHES` may change while the process runs.
#[derive(Debug)]
pub(crate) struct PushesAreMeant(pub(crate) Registry);

#[async_trait::async_trait]
impl Probe for PushesAreMeant {
    async fn probe(&self) -> Said {
        if self.0.writes() == Writes::Taken {
            Ok(None)
        } else {
            Err("this registry takes no pushes (REGISTRY_STATE or DISABLE_PUSHES)".to_owned())
        }
    }
}

/// Whether an operator has taken this region out. While the database does not answer, what it last said counts.
#[derive(Debug)]
struct SiteIsOpen {
    database: Database,
    clock: Arc<dyn Clock>,
    region: LocationName,
    last: Mutex<Said>,
}

#[async_trait::async_trait]
impl Probe for SiteIsOpen {
    async fn probe(&self) -> Said {
        let found = answered(&*self.clock, self.database.drained_site(&self.region)).await;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Some(None) => *last = Ok(None),
            Some(Some(site)) => {
                *last = Err(format!(
                    "region {} was taken out by `admin site drain` at {}",
                    self.region,
                    site.since.format("%F %T UTC")
                ));
            }
            None => {}
        }
        last.clone()
    }
}

#[derive(Debug)]
struct SchemaRevision(Database);

#[async_trait::async_trait]
impl Probe for SchemaRevision {
    async fn probe(&self) -> Said {
        let revisions = self.0.revisions().await;
        revisions
            .map(|revisions| Some(revisions.database))
            .map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
struct DiskHasRoom {
    directory: PathBuf,
    free_min: f64,
}

#[async_trait::async_trait]
impl Probe for DiskHasRoom {
    async fn probe(&self) -> Said {
        let directory = self.directory.clone();
        let stat = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&directory))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| {
                format!(
                    "could not ask how full the disk of `{}` is: {error}",
                    self.directory.display()
                )
            })?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of a disk needs no more than the 52 bits"
        )]
        let free = stat.f_bavail as f64 / (stat.f_blocks.max(1)) as f64;
        if free >= self.free_min {
            Ok(None)
        } else {
            Err(format!(
                "{:.1} % of the disk of `{}` are free, {:.0} % are wanted",
                free * 100.0,
                self.directory.display(),
                self.free_min * 100.0
            ))
        }
    }
}

#[cfg(test)]
mod tests;
