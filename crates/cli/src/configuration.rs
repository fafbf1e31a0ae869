//! Where the configuration is.

use std::path::{Path, PathBuf};

use clap::Args;
use roadstead_config::env::{Environment, QUAYCONF};
use roadstead_config::{ConfigErrors, Loaded, Source, default_directory, load};

/// The file in a configuration directory.
const FILE: &str = "config.yaml";

/// Where everything is kept without a configuration.
const DATA_DIRECTORY: &str = "roadstead-data";

/// Where to find the configuration.
#[derive(Args, Clone, Debug, Default)]
pub struct ConfigurationArgs {
    /// The directory of config.yaml. Without this and --data-dir: $QUAYCONF/stack or /conf/stack, where there is a config.yaml
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "data_dir")]
    config_dir: Option<PathBuf>,
    /// Run without a configuration and keep everything in this directory [default: ./roadstead-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// It says what cannot be.
    #[error("the configuration cannot be used:\n{errors}")]
    Invalid {
        /// Everything that is wrong.
        errors: ConfigErrors,
    },
    /// The data directory cannot be made.
    #[error("could not make the directory `{}`: make it yourself, or choose another with --data-dir", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl ConfigurationArgs {
    /// As [`ConfigurationArgs::read`], and makes the data directory when there is no configuration: for the program whose first
    /// start begins a registry.
    ///
    /// Logs nothing: see [`ConfigurationArgs::announce`].
    pub fn read_or_begin(&self) -> Result<Loaded, ConfigurationError> {
        if let Source::Standalone { data_dir } = self.source_in(&Environment::process()) {
            std::fs::create_dir_all(&data_dir).map_err(|source| {
                ConfigurationError::DataDirectory {
                    path: data_dir,
                    source,
                }
            })?;
        }
        self.read()
    }

    /// Finds and reads the configuration and logs its warnings. Makes nothing.
    pub fn load(&self) -> Result<Loaded, ConfigurationError> {
        let loaded = self.read()?;
        self.announce(&loaded);
        Ok(loaded)
    }

    /// Finds and reads the configuration. Makes and logs nothing: how to log may stand in it.
    pub fn read(&self) -> Result<Loaded, ConfigurationError> {
        let environment = Environment::process();
        let source = self.source_in(&environment);
        load(&source, &environment).map_err(|errors| ConfigurationError::Invalid { errors })
    }

    /// Logs where the configuration was found, and its warnings.
    pub fn announce(&self, loaded: &Loaded) {
        match &self.source_in(&Environment::process()) {
            Source::Directory(directory) => {
                tracing::info!(directory = %directory.display(), "Read the configuration in {}", directory.display());
            }
            Source::Standalone { data_dir } => {
                tracing::info!(directory = %data_dir.display(), "No configuration: everything is kept in {}", data_dir.display());
            }
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
    }

    /// Whether the environment wants copies made by this process, and says in one line what else it says of Quay's worker processes.
    pub fn copying() -> bool {
        let services = Environment::process().services();
        if !services.without_effect.is_empty() {
            tracing::info!(
                "QUAY_SERVICES and QUAY_OVERRIDE_SERVICES switch `storagereplication` here, and nothing else: without effect are {}",
                services.without_effect.join(", ")
            );
        }
        services.copying
    }

    /// Where the configuration is, as far as the command line and the environment say.
    pub fn source_in(&self, environment: &Environment) -> Source {
        self.source(
            &default_directory(environment),
            environment.get(QUAYCONF).is_some(),
        )
    }

    /// What was asked for comes first; then a directory that the environment names, whether or not there is a file in it; then
    /// the usual directory, if there is a file in it.
    fn source(&self, default_directory: &Path, named_by_environment: bool) -> Source {
        match (&self.config_dir, &self.data_dir) {
            (Some(directory), _) => Source::Directory(directory.clone()),
            (None, Some(data_dir)) => Source::Standalone {
                data_dir: data_dir.clone(),
            },
            (None, None) if named_by_environment || default_directory.join(FILE).exists() => {
                Source::Directory(default_directory.to_owned())
            }
            (None, None) => Source::Standalone {
                data_dir: PathBuf::from(DATA_DIRECTORY),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_wins_and_the_usual_directory_counts_only_with_a_file_in_it() {
        let usual = tempfile::tempdir().unwrap();
        let asked = |config_dir: Option<&str>, data_dir: Option<&str>| ConfigurationArgs {
            config_dir: config_dir.map(PathBuf::from),
            data_dir: data_dir.map(PathBuf::from),
        };
        assert_eq!(
            asked(Some("/c"), None).source(usual.path(), true),
            Source::Directory("/c".into())
        );
        assert_eq!(
            asked(None, Some("/d")).source(usual.path(), true),
            Source::Standalone {
                data_dir: "/d".into()
            }
        );
        assert_eq!(
            asked(None, None).source(usual.path(), false),
            Source::Standalone {
                data_dir: DATA_DIRECTORY.into()
            }
        );
        assert_eq!(
            asked(None, None).source(usual.path(), true),
            Source::Directory(usual.path().into()),
            "a directory that the environment names must be there"
        );
        std::fs::write(usual.path().join(FILE), "").unwrap();
        assert_eq!(
            asked(None, None).source(usual.path(), false),
            Source::Directory(usual.path().into())
        );
    }
}
