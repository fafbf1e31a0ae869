//! Every environment variable that Roadstead's configuration looks at, and the only code that reads them.
//!
//! Nothing else in the workspace reads the process environment: [`Environment::process`] takes a copy once, at the top of
//! a program, and tests hand in their own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

/// The directory above `stack/`, which holds `config.yaml`. Unset or empty: `/conf`.
pub const QUAYCONF: &str = "QUAYCONF";

/// A JSON object whose keys replace those of `config.yaml`, each as a whole: an object in it is not merged into the
/// object it replaces.
pub const QUAY_OVERRIDE_CONFIG: &str = "QUAY_OVERRIDE_CONFIG";

/// Storage location ids separated by whitespace. When there is at least one, they replace `DISTRIBUTED_STORAGE_PREFERENCE`:
/// this is what differs from region to region.
pub const QUAY_DISTRIBUTED_STORAGE_PREFERENCE: &str = "QUAY_DISTRIBUTED_STORAGE_PREFERENCE";

/// Start although numbers of the configuration cannot be used: any value does it.
pub const IGNORE_VALIDATION: &str = "IGNORE_VALIDATION";

/// `true`: log what is otherwise left out.
pub const DEBUGLOG: &str = "DEBUGLOG";

/// `true`: log in JSON.
pub const JSONLOG: &str = "JSONLOG";

/// The only ones of Quay's worker processes that shall run, separated by commas.
pub const QUAY_SERVICES: &str = "QUAY_SERVICES";

/// Which of Quay's worker processes shall run, as `name=true` or `name=false`, separated by commas.
pub const QUAY_OVERRIDE_SERVICES: &str = "QUAY_OVERRIDE_SERVICES";

/// Where traces and metrics are sent: the address of a collector that takes OTLP over HTTP, without `/v1/traces`.
pub const OTEL_EXPORTER_OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Header fields for the collector: `name=value`, separated by commas. May hold secrets.
pub const OTEL_EXPORTER_OTLP_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// What traces and metrics call this service.
pub const OTEL_SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// Which traces are kept, such as `parentbased_traceidratio`.
pub const OTEL_TRACES_SAMPLER: &str = "OTEL_TRACES_SAMPLER";

/// The share of them, from 0 to 1.
pub const OTEL_TRACES_SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";

/// A variable that there is, whatever reads it.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Whether it counts.
    pub used: bool,
    /// What it does; of one without effect: why it has none.
    pub about: &'static str,
}

const fn used(name: &'static str, about: &'static str) -> Variable {
    Variable {
        name,
        used: true,
        about,
    }
}

const fn idle(name: &'static str, about: &'static str) -> Variable {
    Variable {
        name,
        used: false,
        about,
    }
}

/// Every variable that Quay's containers or this registry know.
#[rustfmt::skip]
pub const VARIABLES: &[Variable] = &[
    used(QUAYCONF, "The directory above `stack/`, which holds `config.yaml` (default: `/conf`)."),
    used(QUAY_OVERRIDE_CONFIG, "A JSON object whose keys replace those of `config.yaml`, each as a whole."),
    used(QUAY_DISTRIBUTED_STORAGE_PREFERENCE, "Location ids separated by whitespace: they replace DISTRIBUTED_STORAGE_PREFERENCE. This is what differs from region to region."),
    used(IGNORE_VALIDATION, "Any value: numbers, sizes and durations that cannot be used are warnings, and their defaults count. What says where things are and who may do what stops a start all the same."),
    used(DEBUGLOG, "`true`: debug lines of the registry are logged too, whatever --log says."),
    used(JSONLOG, "`true`: lines are JSON, where neither --log-format nor ROADSTEAD_LOG_FORMAT says how they look."),
    used(QUAY_SERVICES, "The only services that run: without `storagereplication` among them this process makes no copies. Other names are without effect."),
    used(QUAY_OVERRIDE_SERVICES, "`storagereplication=false`: this process makes no copies. Other names are without effect."),
    used("QUAYENTRY", "`registry`, or `registry-nomigrate` for --no-migrate."),
    used("ROADSTEAD_LISTEN", "As --listen."),
    used("ROADSTEAD_LISTEN_TLS", "As --listen-tls."),
    used("ROADSTEAD_LISTEN_TLS_PROXY", "As --listen-tls-proxy."),
    used("ROADSTEAD_METRICS_LISTEN", "As --metrics-listen."),
    used("ROADSTEAD_LOG", "As --log."),
    used("ROADSTEAD_LOG_FORMAT", "As --log-format."),
    used(OTEL_EXPORTER_OTLP_ENDPOINT, "The collector to which traces and metrics are sent by OTLP over HTTP, without `/v1/traces`."),
    used(OTEL_EXPORTER_OTLP_HEADERS, "Header fields for it, as `name=value` separated by commas."),
    used(OTEL_SERVICE_NAME, "What traces and metrics call this service."),
    used(OTEL_TRACES_SAMPLER, "Which traces are kept, such as `parentbased_traceidratio`."),
    used(OTEL_TRACES_SAMPLER_ARG, "The share of them, from 0 to 1."),
    used("HTTP_PROXY", "The proxy through which stores with `http` addresses are reached. Webhooks and the database are reached without one."),
    used("HTTPS_PROXY", "The proxy through which stores with `https` addresses are reached."),
    used("NO_PROXY", "The hosts that are reached without a proxy, separated by commas."),
    idle("QUAY_LOGGING", "Lines go to standard error: `stdout` and `syslog` are for whoever runs the process."),
    idle("DB_CONNECTION_POOLING", "Connections are pooled whatever it says."),
    idle("WORKER_COUNT", "One process serves with all its processors; the same with `_REGISTRY`, `_WEB`, `_SECSCAN` and `_UNSUPPORTED_MINIMUM` behind it."),
    idle("WORKER_CONNECTION_COUNT", "A process takes thousands of connections; the same with `_REGISTRY`, `_WEB` and `_SECSCAN` behind it."),
    idle("USERS_DEBUG", "--log says what is logged."),
    idle("QUAY_VERSION", "Programs know their own: --version."),
    idle("QUAY_REGION", "A region is known by the first location of its preference."),
    idle("MIGRATION_VERSION", "The schema is brought to this program's own."),
    idle("ENSURE_NO_MIGRATION", "As --no-migrate, which is said by QUAYENTRY=registry-nomigrate."),
    idle("QUAYPATH", "Programs are one file each."),
    idle("QUAYDIR", "Programs are one file each."),
    idle("QUAYCONFIG", "QUAYCONF says where the configuration is."),
    idle("CERTDIR", "Certificates are read from the configuration's directory."),
    idle("KUBERNETES_SERVICE_HOST", "The configuration is read from its directory on Kubernetes too; nothing is asked of the cluster."),
    idle("QE_K8S_CONFIG_SECRET", "Nothing is asked of the cluster."),
    idle("QE_K8S_NAMESPACE", "Nothing is asked of the cluster."),
    idle("FORCE_INDEX_TEMPLATE_UPDATE", "Actions are logged in the database, not in Elasticsearch."),
    idle("TEST", "Of Quay's own tests."),
];

/// The worker of Quay that copies between locations.
const COPYING: &str = "storagereplication";

/// The environment variables that a configuration is loaded with.
///
/// Its `Debug` form has names only: an override may hold passwords.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// No variable is set.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The variables of this process, as they are now: those of this module, no others.
    #[must_use]
    pub fn process() -> Self {
        VARIABLES
            .iter()
            .filter_map(|variable| Some((variable.name, std::env::var_os(variable.name)?)))
            .collect()
    }

    /// The value of `name`; a variable that is set but empty counts as unset, as it does for Quay.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(name)
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// Whether `name` is `true`, in any case.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// What is said about Quay's worker processes.
    pub fn services(&self) -> Services {
        let mut services = Services {
            copying: true,
            without_effect: Vec::new(),
        };
        let names = |variable| {
            let text = self.get(variable).map(OsStr::to_string_lossy);
            let text = text.unwrap_or_default().into_owned();
            let names = text.split(',').map(|name| name.trim().to_owned());
            names
                .filter(|name| !name.is_empty())
                .collect::<Vec<String>>()
        };
        let only = names(QUAY_SERVICES);
        if !only.is_empty() {
            services.copying = only.iter().any(|name| name == COPYING);
            services
                .without_effect
                .extend(only.into_iter().filter(|name| name != COPYING));
        }
        for entry in names(QUAY_OVERRIDE_SERVICES) {
            match entry.split_once('=') {
                Some((COPYING, "true")) => services.copying = true,
                Some((COPYING, "false")) => services.copying = false,
                _ => services.without_effect.push(entry),
            }
        }
        services
    }
}

/// What the environment says about Quay's worker processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// Whether this process copies between locations.
    pub copying: bool,
    /// What has no effect here.
    pub without_effect: Vec<String>,
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(
            variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// Where `config.yaml` is looked for when no directory is named: `$QUAYCONF/stack`, else `/conf/stack`, as in Quay's image.
#[must_use]
pub fn default_directory(environment: &Environment) -> PathBuf {
    environment
        .get(QUAYCONF)
        .map_or_else(|| PathBuf::from("/conf"), PathBuf::from)
        .join("stack")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_comes_from_quayconf_and_else_is_that_of_quays_image() {
        let directory = |value: &str| default_directory(&[(QUAYCONF, value)].into_iter().collect());
        assert_eq!(directory("/srv/quay"), PathBuf::from("/srv/quay/stack"));
        assert_eq!(directory(""), PathBuf::from("/conf/stack"));
        assert_eq!(
            default_directory(&Environment::empty()),
            PathBuf::from("/conf/stack")
        );
    }

    #[test]
    fn of_quays_workers_only_the_copying_one_is_known() {
        let services = |only: &str, but: &str| {
            let environment: Environment = [(QUAY_SERVICES, only), (QUAY_OVERRIDE_SERVICES, but)]
                .into_iter()
                .collect();
            let services = environment.services();
            (services.copying, services.without_effect.join(" "))
        };
        assert_eq!(services("", ""), (true, String::new()));
        assert_eq!(
            services("", "storagereplication=false"),
            (false, String::new())
        );
        assert_eq!(
            services("", "gcworker=false, storagereplication = false"),
            (true, "gcworker=false storagereplication = false".to_owned())
        );
        assert_eq!(
            services("web,gcworker", ""),
            (false, "web gcworker".to_owned())
        );
        assert_eq!(
            services("web", "storagereplication=true"),
            (true, "web".to_owned())
        );
        assert_eq!(services("storagereplication", ",,"), (true, String::new()));
    }

    #[test]
    fn every_variable_is_listed_once() {
        for (index, variable) in VARIABLES.iter().enumerate() {
            let rest = VARIABLES.get(index + 1..).unwrap_or_default();
            assert!(
                rest.iter().all(|other| other.name != variable.name),
                "{}",
                variable.name
            );
        }
    }

    #[test]
    fn debug_output_names_variables_and_hides_values() {
        let environment: Environment = [(QUAY_OVERRIDE_CONFIG, r#"{"SECRET_KEY":"s3cret"}"#)]
            .into_iter()
            .collect();
        assert_eq!(format!("{environment:?}"), r#"{"QUAY_OVERRIDE_CONFIG"}"#);
    }
}
