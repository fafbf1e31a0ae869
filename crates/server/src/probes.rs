//! What health checks ask of this process and of what it stands on.

use std::path::PathBuf;
use std::sync::Arc;

use roadstead_api::{HealthServices, Probe, StorageProbe};
use roadstead_auth::SigningKeys;
use roadstead_locations::Locations;
use roadstead_metadata::Database;
use roadstead_placement::{HealthState, Use};

/// The least free share of a disk that counts as healthy: Quay's `DISKSPACE_HEALTH_THRESHOLD`.
const DISK_FREE_MIN: f64 = 0.01;

/// The free share below which an operator is warned: Quay's `DISKSPACE_HEALTH_WARNING_THRESHOLD`.
const DISK_FREE_WARNING: f64 = 0.1;

/// Puts together what the health checks ask.
pub(crate) fn services(
    database: &Database,
    keys: &SigningKeys,
    locations: &Locations,
    directory: PathBuf,
) -> HealthServices {
    let database = Arc::new(DatabaseAnswers(database.clone()));
    HealthServices {
        // Passwords are in the database, so whoever can ask it can check them.
        auth: Arc::clone(&database) as Arc<dyn Probe>,
        database,
        service_key: Arc::new(KeyIsValid(keys.clone())),
        disk_space: Arc::new(DiskHasRoom {
            directory: directory.clone(),
            free_min: DISK_FREE_MIN,
        }),
        disk_space_warning: Arc::new(DiskHasRoom {
            directory,
            free_min: DISK_FREE_WARNING,
        }),
        redis: None,
        storage: vec![StorageProbe {
            location: "any".to_owned(),
            preferred: true,
            probe: Arc::new(SomeLocationWorks(locations.clone())),
        }],
    }
}

#[derive(Debug)]
struct DatabaseAnswers(Database);

#[async_trait::async_trait]
impl Probe for DatabaseAnswers {
    async fn probe(&self) -> Result<(), String> {
        self.0.ping().await.map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
struct KeyIsValid(SigningKeys);

#[async_trait::async_trait]
impl Probe for KeyIsValid {
    /// True when the database does not answer, as in Quay: that is the database's failure, and said there.
    async fn probe(&self) -> Result<(), String> {
        match self.0.is_valid().await {
            Ok(false) => {
                Err("the instance's service key is missing, not approved or expired".to_owned())
            }
            Ok(true) | Err(_) => Ok(()),
        }
    }
}

/// Whether this region can serve: it reads and writes wherever it can, so that one location that works will do. The locations are watched all
/// the time, and nothing is asked here.
#[derive(Debug)]
struct SomeLocationWorks(Locations);

#[async_trait::async_trait]
impl Probe for SomeLocationWorks {
    async fn probe(&self) -> Result<(), String> {
        let standings = self.0.standings();
        for wanted in [Use::Read, Use::Write] {
            let mut views = self.0.names().map(|name| standings.get(name));
            if !views.any(|view| view.of(wanted).state != HealthState::Down) {
                return Err(format!("no location can be used for {}s", wanted.as_str()));
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct DiskHasRoom {
    directory: PathBuf,
    free_min: f64,
}

#[async_trait::async_trait]
impl Probe for DiskHasRoom {
    async fn probe(&self) -> Result<(), String> {
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
            Ok(())
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
