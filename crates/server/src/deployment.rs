//! A deployment opened: its database, its locations and its topology, as every program of ours needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use roadstead_config::{Config, DatabaseUri};
use roadstead_locations::Locations;
use roadstead_metadata::{Database, DatabaseOptions, SslMode};
use roadstead_placement::{LocationName, Topology};
use roadstead_queue::WakeUp;
use roadstead_replication::{Replication, ReplicationParts};
use roadstead_runtime::Environment;
use roadstead_secrets::FieldKey;
use roadstead_storage::{HttpClient, LocalOptions, Location};
use roadstead_webhooks::Webhooks;

use crate::database::database_options;
use crate::error::StartError;
use crate::own_key;
use crate::stores::{Opening, location_name};
use crate::trust::Trust;

/// Makes the [`Location`] of a local directory. Tests put faults in here.
pub type OpenLocal = Arc<
    dyn Fn(LocationName, PathBuf, LocalOptions) -> Result<Location, roadstead_storage::StorageError>
        + Send
        + Sync,
>;

/// What to do about a database whose schema is not this program's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Migrations {
    /// Bring it up to date. Of several processes that start at once, one does and the others wait.
    #[default]
    Apply,
    /// Refuse to start until another has: Quay's `registry-nomigrate`, and every program that serves nobody.
    Refuse,
}

/// What a configuration stands for, opened.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// What is where.
    pub database: Database,
    /// The configured locations that have not been removed, and how each of them fares.
    pub locations: Locations,
    /// In which order they are used from here, and which must hold everything.
    pub topology: Arc<Topology>,
    /// What object stores are reached with.
    pub http: HttpClient,
    /// Which certificate authorities are trusted besides the system's.
    pub trust: Trust,
    /// Time, ids, chance.
    pub environment: Environment,
    /// The replication queue's name; none when replication is off.
    pub queue: Option<String>,
    /// Locations that the configuration names although they were removed.
    pub removed: BTreeSet<LocationName>,
    /// The directory for what a process writes beside the database.
    pub data_directory: PathBuf,
    /// Wakes this process's replication worker.
    pub wake_up: WakeUp,
    /// Encrypts and decrypts fields of the database.
    pub field_key: Option<FieldKey>,
}

impl Deployment {
    /// Opens the database and brings its schema up to date or checks it, gives every configured location its row, and makes the directories
    /// of locations that the database has never seen. A store that is down does not matter here.
    pub async fn open(
        config: &Config,
        migrations: Migrations,
        environment: Environment,
    ) -> Result<Self, StartError> {
        Self::open_with(config, migrations, environment, Arc::new(Location::local)).await
    }

    /// As [`Deployment::open`], with locations made by `open_local`.
    pub async fn open_with(
        config: &Config,
        migrations: Migrations,
        environment: Environment,
        open_local: OpenLocal,
    ) -> Result<Self, StartError> {
        // Opening a SQLite file makes it.
        if let (Migrations::Refuse, DatabaseUri::Sqlite { path }) =
            (migrations, &config.database.uri)
            && !path.exists()
        {
            return Err(StartError::NoDatabase { path: path.clone() });
        }
        let trust = Trust::read(config.hosting.directory.as_deref());
        let database = open_database(config, &trust, migrations, &environment).await?;

        let http = HttpClient::new(&trust.named())?;
        let opening = Opening {
            open_local: &open_local,
            http: http.clone(),
            trust: &trust,
            environment: environment.clone(),
        };
        let configured = config.storage.locations.iter();
        let mut locations = configured
            .map(|configured| opening.open(&config.storage, configured))
            .collect::<Result<Vec<_>, _>>()?;
        let known = database.known_locations().await?;
        for location in &locations {
            // Only a location that the database has never seen starts empty. The directory of one that it has seen is never made
            // anew: if it is missing, a disk is missing, and an empty directory in its place would hide that.
            if !known.contains_key(location.name()) {
                location.create_root().await?;
            }
        }
        warn_of_unconfigured(&known, &locations);
        let names: Vec<LocationName> = locations
            .iter()
            .map(|location| location.name().clone())
            .collect();
        let removed = database.ensure_locations(&names).await?;
        for name in &removed {
            tracing::warn!(
                location.id = %name,
                "Location {name} was removed from this registry: take it out of DISTRIBUTED_STORAGE_CONFIG. It is not used"
            );
        }
        locations.retain(|location| !removed.contains(location.name()));

        let make_key = migrations == Migrations::Apply;
        let field_key = own_key::field_key(config, environment.ids.as_ref(), make_key)?;
        let topology = topology(config, &locations, &removed)?;
        let locations = Locations::with_defaults(locations, Arc::clone(&environment.clock));
        Ok(Self {
            database,
            locations,
            topology: Arc::new(topology),
            http,
            trust,
            environment,
            queue: config
                .replication
                .enabled
                .then(|| config.replication.queue_name.clone()),
            removed,
            data_directory: config.database.data_directory.clone(),
            wake_up: WakeUp::default(),
            field_key,
        })
    }

    /// What copies, compares and forgets. It works whether or not replication is switched on.
    pub fn replication(&self, config: &Config) -> Replication {
        Replication::from(ReplicationParts {
            database: self.database.clone(),
            locations: self.locations.clone(),
            topology: Arc::clone(&self.topology),
            environment: self.environment.clone(),
            queue: config.replication.queue_name.clone(),
            wake_up: self.wake_up.clone(),
        })
        .with_memory(config.replication.memory_bytes)
    }

    /// Who is told of complete images. What is kept of them is encrypted with the key.
    pub fn webhooks(&self) -> Result<Webhooks, StartError> {
        let key = self.field_key.clone();
        Ok(
            Webhooks::new(self.database.clone(), self.environment.clone(), key)?
                .trusting(self.trust.pem().as_bytes())?,
        )
    }
}

/// Brings the schema of the configured database up to date, and does nothing else.
pub async fn migrate(config: &Config, environment: &Environment) -> Result<(), StartError> {
    let trust = Trust::read(config.hosting.directory.as_deref());
    let database = open_database(config, &trust, Migrations::Apply, environment).await?;
    database.close().await;
    Ok(())
}

async fn open_database(
    config: &Config,
    trust: &Trust,
    migrations: Migrations,
    environment: &Environment,
) -> Result<Database, StartError> {
    let options = trusting(database_options(&config.database), trust);
    let database = Database::open(&options).await?;
    for warning in database.check_server(environment.clock.as_ref()).await? {
        tracing::warn!("{warning}");
    }
    match migrations {
        Migrations::Apply => database.migrate().await?,
        Migrations::Refuse => database.check_schema().await?,
    }
    Ok(database)
}

/// A server of PostgreSQL that is to be checked, and for which no authority is named, is checked with those of the configuration too.
pub(crate) fn trusting(mut options: DatabaseOptions, trust: &Trust) -> DatabaseOptions {
    if let DatabaseOptions::Postgres(postgres) = &mut options {
        let replicas = postgres.replicas.iter_mut().map(|replica| &mut replica.tls);
        for tls in std::iter::once(&mut postgres.tls).chain(replicas) {
            let checked = matches!(tls.mode, SslMode::VerifyCa | SslMode::VerifyFull);
            if checked && tls.root_certificate.is_none() {
                tls.authorities = trust.pem();
            }
        }
    }
    options
}

/// Names the locations that hold blobs and that the configuration does not name, and those that begin empty beside them: one may be the
/// other, misspelt. (Quay gives every database rows of locations that nobody uses.)
fn warn_of_unconfigured(known: &BTreeMap<LocationName, bool>, locations: &[Location]) {
    let configured: BTreeSet<&LocationName> = locations.iter().map(Location::name).collect();
    let missing: Vec<&LocationName> = known
        .iter()
        .filter(|(name, used)| **used && !configured.contains(name))
        .map(|(name, _)| name)
        .collect();
    for name in &missing {
        tracing::warn!(
            location.id = %name,
            "Location {name} holds blobs and is not in DISTRIBUTED_STORAGE_CONFIG: what is only there cannot be pulled. Name it there under \
             this very name, or remove it with `admin removelocation`"
        );
    }
    if missing.is_empty() {
        return;
    }
    for name in configured
        .into_iter()
        .filter(|name| !known.contains_key(*name))
    {
        tracing::warn!(
            location.id = %name,
            "Location {name} is new to this database and begins empty: check that its name is not another's, misspelt"
        );
    }
}

fn topology(
    config: &Config,
    locations: &[Location],
    removed: &BTreeSet<LocationName>,
) -> Result<Topology, StartError> {
    let named = |names: &[String]| {
        names
            .iter()
            .map(|name| location_name(name))
            .filter(|name| !matches!(name, Ok(name) if removed.contains(name)))
            .collect::<Result<Vec<_>, _>>()
    };
    let preference = named(&config.storage.preference)?;
    let defaults = named(&config.storage.default_locations)?;
    Ok(Topology::new(
        locations
            .iter()
            .map(|location| location.name().clone())
            .collect(),
        preference,
        defaults.into_iter().collect(),
    )?)
}

#[cfg(test)]
mod tests;
