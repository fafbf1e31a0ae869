//! A whole registry in this process: a database, two locations and one region or more over them, with faults to order.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roadstead_client::{Client, ClientOptions, Credentials};
use roadstead_config::{Environment as Variables, Source, env};
use roadstead_replication::{Place, RuleWording, StatusOptions, StatusReport};
use roadstead_runtime::SystemClock;
use roadstead_server::{MetricsOptions, Running, Settings};
use roadstead_storage::Location;
use roadstead_storage::faults::Faults;
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::StoreFiles;
use crate::eventually::{CHECKS_MAX, attempt};

/// The two locations of a registry without a configuration, in its own order of preference.
pub const LOCATIONS: [&str; 2] = ["usstorage", "eustorage"];

/// What a universe is made of.
#[derive(Clone, Debug)]
pub struct UniverseOptions {
    /// One region for each: the locations it prefers, best first, separated by spaces.
    pub preferences: Vec<&'static str>,
    /// Keys of `config.yaml` with other values than a registry without a configuration has.
    pub keys: Map<String, Value>,
    /// Whether blobs are copied between the locations.
    pub replicate: bool,
}

impl Default for UniverseOptions {
    fn default() -> Self {
        Self {
            preferences: vec!["usstorage eustorage"],
            keys: Map::new(),
            replicate: true,
        }
    }
}

impl UniverseOptions {
    /// Two regions over the same locations, each with its own in front.
    pub fn two_regions() -> Self {
        Self {
            preferences: vec!["usstorage eustorage", "eustorage usstorage"],
            ..Self::default()
        }
    }

    /// The same with another value for a key of `config.yaml`.
    #[must_use]
    pub fn key(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(name.to_owned(), value.into());
        self
    }

    /// The same without replication.
    #[must_use]
    pub fn without_replication(mut self) -> Self {
        self.replicate = false;
        self
    }

    /// Starts it.
    pub async fn start(self) -> Universe {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        fs::create_dir(directory.path().join("data"))
            .expect("a temporary directory can be written to");
        let faults = LOCATIONS
            .map(|name| (name.to_owned(), Faults::new(Arc::new(SystemClock))))
            .into();
        let mut universe = Universe {
            directory,
            faults,
            regions: Vec::new(),
            options: self,
            leftovers_expected: false,
        };
        for region in 0..universe.options.preferences.len() {
            let running = universe.start_region(region).await;
            universe.regions.push(Some(running));
        }
        universe
    }
}

/// A registry that runs in this process. It is to be ended by [`Universe::finish`], which looks at what is left.
#[derive(Debug)]
pub struct Universe {
    directory: TempDir,
    faults: BTreeMap<String, Faults>,
    regions: Vec<Option<Running>>,
    options: UniverseOptions,
    leftovers_expected: bool,
}

impl Universe {
    /// A registry of one region, as it is without a configuration.
    pub async fn start() -> Self {
        UniverseOptions::default().start().await
    }

    async fn start_region(&self, region: usize) -> Running {
        let mut variables = vec![(
            env::QUAY_DISTRIBUTED_STORAGE_PREFERENCE.to_owned(),
            self.options.preferences[region].to_owned(),
        )];
        if !self.options.keys.is_empty() {
            let keys = Value::Object(self.options.keys.clone());
            variables.push((env::QUAY_OVERRIDE_CONFIG.to_owned(), keys.to_string()));
        }
        let source = Source::Standalone {
            data_dir: self.data_dir(),
        };
        let loaded = roadstead_config::load(&source, &Variables::from_iter(variables))
            .unwrap_or_else(|errors| panic!("the test's configuration is wrong: {errors}"));
        let faults = self.faults.clone();
        let settings = Settings {
            metrics: MetricsOptions {
                listen: Some((Ipv4Addr::LOCALHOST, 0).into()),
                ..MetricsOptions::default()
            },
            replicate: self.options.replicate,
            open_local: Some(Arc::new(move |name, root, options| {
                match faults.get(name.as_str()) {
                    Some(faults) => Location::local_with_faults(name, root, options, faults),
                    None => Location::local(name, root, options),
                }
            })),
            ..Settings::new(loaded.config, (Ipv4Addr::LOCALHOST, 0).into())
        };
        Running::start(settings)
            .await
            .unwrap_or_else(|error| panic!("the registry does not start: {error:?}"))
    }

    /// The data directory, which all regions share.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A region, the first being 0.
    pub fn region(&self, region: usize) -> &Running {
        self.regions[region].as_ref().expect("the region runs")
    }

    /// Stops a region and starts it again, on another port.
    pub async fn restart(&mut self, region: usize) {
        let running = self.regions[region].take().expect("the region runs");
        assert!(
            running.stop().await,
            "region {region} does not stop in time"
        );
        self.regions[region] = Some(self.start_region(region).await);
    }

    /// Where a region listens.
    pub fn address(&self, region: usize) -> SocketAddr {
        self.region(region).address
    }

    /// The password of `admin`.
    pub fn password(&self) -> String {
        read_password(&self.data_dir())
    }

    /// A client of the first region that says it is `admin`.
    pub fn client(&self) -> Client {
        self.client_of(0)
    }

    /// A client of a region that says it is `admin`.
    pub fn client_of(&self, region: usize) -> Client {
        self.client_as(region, Some(Credentials::new("admin", self.password())))
    }

    /// A client of a region with other credentials, or none.
    pub fn client_as(&self, region: usize, credentials: Option<Credentials>) -> Client {
        let address = format!("http://{}", self.address(region));
        Client::with_options(&address, credentials, ClientOptions::default())
            .expect("a socket address is one")
    }

    /// A client of the address where a region tells metrics.
    pub fn metrics(&self, region: usize) -> Client {
        let address = self
            .region(region)
            .metrics_address
            .expect("every region tells metrics");
        Client::with_options(&format!("http://{address}"), None, ClientOptions::default())
            .expect("a socket address is one")
    }

    /// Controls how a location fails, in every region.
    pub fn faults(&self, location: &str) -> &Faults {
        self.faults
            .get(location)
            .unwrap_or_else(|| panic!("there is no location {location}"))
    }

    /// What lies in a location's directory.
    pub fn files(&self, location: &str) -> StoreFiles {
        StoreFiles::new(self.data_dir().join(location))
    }

    /// How complete the replication is, by the database and, if asked for, by what lies in the stores.
    pub async fn status(&self, store_check: bool) -> StatusReport {
        let replication = &self.region(0).replication;
        let status = replication.status(StatusOptions { store_check }).await;
        status.unwrap_or_else(|error| panic!("there is no replication status: {error:?}"))
    }

    /// Confines a repository to a location, as `admin placement set REPOSITORY --in LOCATION --only` does.
    pub async fn confine(&self, repository: &str, location: &str) {
        let rule = RuleWording {
            place: Place::parse(repository),
            tags: None,
            locations: vec![location.to_owned()],
            copies: 0,
            only: true,
        };
        let set = self.region(0).replication.set_rule(&rule).await;
        set.unwrap_or_else(|error| panic!("the rule cannot be set: {error:?}"));
    }

    /// Waits until every blob is at every location and nothing is queued. Then the stores are asked whether that is true.
    pub async fn wait_until_replicated(&self) {
        let mut last = None;
        let replicated = async || {
            let status = self.status(false).await;
            let done = status.complete && status.jobs == 0;
            last = Some(status);
            done.then_some(())
        };
        let replicated = attempt(CHECKS_MAX, replicated).await;
        assert!(
            replicated.is_some(),
            "not every blob has come to every location: {last:?}"
        );
        let status = self.status(true).await;
        assert!(
            status.complete,
            "the stores lack what the database promises: {status:?}"
        );
    }

    /// Lets [`Universe::finish`] find unfinished uploads and blobs that are not everywhere.
    pub fn expect_leftovers(&mut self) {
        self.leftovers_expected = true;
    }

    /// Ends it in good order: faults are healed, replication catches up, the regions stop; then nothing is staged in any location
    /// and every object hashes to its name.
    pub async fn finish(mut self) {
        self.faults.values().for_each(Faults::heal);
        if self.options.replicate && !self.leftovers_expected {
            // Blobs without a manifest are found by the periodic comparison only; it is not waited for here.
            let reconciled = self.region(0).replication.reconcile(|_| ()).await;
            reconciled
                .unwrap_or_else(|error| panic!("missing copies cannot be looked for: {error:?}"));
            self.wait_until_replicated().await;
        }
        for region in std::mem::take(&mut self.regions).into_iter().flatten() {
            assert!(region.stop().await, "a region does not stop in time");
        }
        for location in LOCATIONS {
            let files = self.files(location);
            assert_eq!(files.damaged(), [], "{location} has damaged objects");
            if !self.leftovers_expected {
                assert_eq!(
                    files.staged(),
                    Vec::<PathBuf>::new(),
                    "{location} has unfinished uploads"
                );
            }
        }
    }
}

impl Drop for Universe {
    fn drop(&mut self) {
        assert!(
            self.regions.is_empty() || std::thread::panicking(),
            "a universe is ended by `finish`, which looks at what is left"
        );
    }
}

/// The password that the first start left in the data directory.
pub(crate) fn read_password(data_dir: &Path) -> String {
    let path = data_dir.join("admin-password");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageKind, TestImage};

    #[tokio::test]
    async fn a_whole_registry_in_three_lines() {
        let universe = UniverseOptions::two_regions().start().await;
        let image = TestImage::new(1, ImageKind::Oci, &[1000, 0, 70_000]);
        let (repository, reference) = ("team/app".parse().unwrap(), "latest".parse().unwrap());
        image
            .push(&universe.client(), &repository, &reference)
            .await
            .unwrap();
        image
            .pull(&universe.client_of(1), &repository, &reference)
            .await
            .unwrap();
        universe.finish().await;
    }
}
