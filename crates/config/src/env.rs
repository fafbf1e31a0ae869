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

/// Every variable above.
const VARIABLES: [&str; 8] = [
    QUAYCONF,
    QUAY_OVERRIDE_CONFIG,
    QUAY_DISTRIBUTED_STORAGE_PREFERENCE,
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_HEADERS,
    OTEL_SERVICE_NAME,
    OTEL_TRACES_SAMPLER,
    OTEL_TRACES_SAMPLER_ARG,
];

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
            .into_iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)))
            .collect()
    }

    /// The value of `name`; a variable that is set but empty counts as unset, as it does for Quay.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(name)
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }
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
    fn debug_output_names_variables_and_hides_values() {
        let environment: Environment = [(QUAY_OVERRIDE_CONFIG, r#"{"SECRET_KEY":"s3cret"}"#)]
            .into_iter()
            .collect();
        assert_eq!(format!("{environment:?}"), r#"{"QUAY_OVERRIDE_CONFIG"}"#);
    }
}
