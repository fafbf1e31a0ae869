//! What a running server takes of a configuration that has changed: read again every few seconds when its file holds something else, and whenever
//! it is asked for.
//!
//! What counts at once is what the table of keys says; the rest is named. A configuration that cannot be used changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use roadstead_auth::Names;
use roadstead_config::env::Environment as Variables;
use roadstead_config::schema::{self, Key};
use roadstead_config::{Checked, Config, RawKeys, Source, check, differences};
use roadstead_distribution::Registry;
use roadstead_runtime::{Clock, Shutdown};
use tokio::sync::{Notify, watch};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Where the configuration came from, to be read again.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its directory.
    pub source: Source,
    /// The environment, which does not change.
    pub variables: Variables,
    /// The keys as they were read for the start.
    pub raw: RawKeys,
}

/// What of a running server follows the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// `SUPER_USERS` with `FEATURE_SUPER_USERS`.
    pub(crate) superusers: Names,
    /// `GLOBAL_READONLY_SUPER_USERS`.
    pub(crate) readonly_superusers: Names,
    /// `DISABLE_PUSHES`.
    pub(crate) registry: Registry,
}

impl Live {
    fn follow(&self, config: &Config) {
        let names = |names: &[String]| names.iter().cloned().collect();
        self.superusers.replace(names(&config.accounts.super_users));
        self.readonly_superusers
            .replace(names(&config.accounts.global_readonly_super_users));
        self.registry.take_pushes(!config.registry.disable_pushes);
    }
}

/// Reads the configuration again for as long as the process lives.
pub(crate) struct Reloading {
    origin: Origin,
    live: Live,
    /// What counts now.
    in_effect: watch::Sender<RawKeys>,
    /// What the file held when it was last looked at. Nothing at first: it may have changed since it was read for the start.
    content: Option<Vec<u8>>,
}

impl Reloading {
    pub(crate) fn new(origin: Origin, live: Live) -> Self {
        Self {
            content: None,
            in_effect: watch::Sender::new(origin.raw.clone()),
            origin,
            live,
        }
    }

    /// The keys as they count, whenever they change.
    pub(crate) fn in_effect(&self) -> watch::Receiver<RawKeys> {
        self.in_effect.subscribe()
    }

    /// Looks at the file until the shutdown, and reads it whenever `asked` is notified.
    pub(crate) async fn keep_current(
        mut self,
        asked: Arc<Notify>,
        clock: &dyn Clock,
        shutdown: &Shutdown,
    ) {
        loop {
            let is_asked = tokio::select! {
                () = shutdown.wait() => return,
                () = asked.notified() => true,
                () = clock.sleep(EVERY) => false,
            };
            let source = self.origin.source.clone();
            let found = tokio::task::spawn_blocking(move || content(&source)).await;
            let found = found.unwrap_or_default();
            if is_asked || found != self.content {
                self.content = found;
                self.read(is_asked).await;
            }
        }
    }

    /// Who asked for it hears of it in any case.
    async fn read(&mut self, is_asked: bool) {
        let (source, variables) = (self.origin.source.clone(), self.origin.variables.clone());
        let checked = tokio::task::spawn_blocking(move || check(&source, &variables)).await;
        let Ok(checked) = checked else { return };
        let Checked {
            config: Some(config),
            raw,
            ..
        } = checked
        else {
            for finding in &checked.errors {
                tracing::error!(
                    "The configuration that was changed cannot be used, and nothing of it counts: {finding}"
                );
            }
            return;
        };
        let live = changed(&self.in_effect.borrow(), &raw, Key::is_live);
        let waiting = changed(&self.origin.raw, &raw, |key| {
            key.is_used() && !key.is_live()
        });
        self.live.follow(&config);
        self.in_effect
            .send_replace(self.origin.raw.with_live_keys_of(&raw));
        if is_asked && live.is_empty() && waiting.is_empty() {
            tracing::info!("The configuration was read again and says what it said at the start");
        }
        if !live.is_empty() {
            tracing::info!(
                "The configuration was read again: {} count as they are now",
                live.join(", ")
            );
        }
        if !waiting.is_empty() {
            tracing::warn!(
                "The configuration was read again: {} were changed since the start and count after a restart",
                waiting.join(", ")
            );
        }
    }
}

/// The names of the keys of a kind in which two configurations differ.
fn changed(before: &RawKeys, after: &RawKeys, of_kind: impl Fn(&Key) -> bool) -> Vec<String> {
    let names: BTreeSet<String> = differences(before, after)
        .into_iter()
        .filter_map(|difference| {
            let name = difference.path.split(['.', '[']).next()?;
            let key = schema::key(name)?;
            of_kind(key).then(|| name.to_owned())
        })
        .collect();
    names.into_iter().collect()
}

/// What the file holds; `None` while it cannot be read. More than a configuration may hold is not read.
fn content(source: &Source) -> Option<Vec<u8>> {
    source.file_content()
}

#[cfg(test)]
mod tests;
