//! What the methods work with.

use std::time::Duration;

use roadstead_auth::{Authenticator, HashError, Secret};
use roadstead_metadata::{Actor, Change, Changed, Database, Unchanged};
use roadstead_runtime::Environment;

use crate::error::ManagementError;
use crate::forms::{Password, Shown};

/// The most entries of a list that is given as a whole: teams, members, robots, tokens of one namespace or user.
pub(crate) const WHOLE_LIST_MAX: u32 = 10_000;

/// The methods of this crate. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Management {
    pub(crate) database: Database,
    /// Hashes passwords, encrypts tokens, and knows the operator's settings.
    pub(crate) authenticator: Authenticator,
    pub(crate) environment: Environment,
    pub(crate) options: ManagementOptions,
}

/// What the operator decides about accounts and quotas. Reading it from a configuration is `config`'s work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagementOptions {
    /// `FEATURE_USER_INITIALIZE`: whether the first account of an empty registry may be made through the API.
    pub initialize: bool,
    /// The durations that a namespace may keep deleted tags for; none: they cannot be changed (`FEATURE_CHANGE_TAG_EXPIRATION`).
    pub tag_windows: Option<Vec<Duration>>,
    /// `FEATURE_QUOTA_MANAGEMENT` and `FEATURE_EDIT_QUOTA`: whether quotas are shown and changed.
    pub quotas: bool,
    /// `DEFAULT_SYSTEM_REJECT_QUOTA_BYTES`: what a namespace without a quota may hold; none: whatever it likes.
    pub default_quota_bytes: Option<i64>,
    /// `APP_SPECIFIC_TOKEN_EXPIRATION`: for how long new app tokens are good; none: for ever.
    pub app_token_life: Option<Duration>,
}

impl Default for ManagementOptions {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            initialize: false,
            tag_windows: Some([0, 1, 7, 14, 28].map(days).to_vec()),
            quotas: false,
            default_quota_bytes: None,
            app_token_life: None,
        }
    }
}

impl Management {
    /// Takes what it works with; asks nobody yet. The options are Quay's defaults.
    pub fn new(database: Database, authenticator: Authenticator, environment: Environment) -> Self {
        Self {
            database,
            authenticator,
            environment,
            options: ManagementOptions::default(),
        }
    }

    /// With these options.
    #[must_use]
    pub fn with_options(mut self, options: ManagementOptions) -> Self {
        self.options = options;
        self
    }

    /// The options.
    pub const fn options(&self) -> &ManagementOptions {
        &self.options
    }

    /// Somebody's change, now.
    pub(crate) fn change<'a>(&'a self, actor: &'a Actor) -> Change<'a> {
        Change {
            actor,
            ids: &*self.environment.ids,
            now: self.environment.now(),
        }
    }

    /// For how many seconds a new namespace keeps deleted tags.
    pub(crate) fn tag_window_s(&self) -> i64 {
        let window = self.authenticator.options().tag_window;
        window.as_secs().try_into().unwrap_or(i64::MAX)
    }

    pub(crate) async fn hash(&self, password: &Password) -> Result<String, ManagementError> {
        self.hash_secret(password.secret()).await
    }

    pub(crate) async fn hash_secret(&self, secret: &Secret) -> Result<String, ManagementError> {
        let hashed = self.authenticator.hash_password(secret).await;
        hashed.map_err(|error| match error {
            HashError::Busy | HashError::CutOff => ManagementError::Busy,
        })
    }

    /// What a column holds for a secret that is shown once more when somebody asks.
    pub(crate) fn encrypted(&self, secret: &Secret) -> Result<String, ManagementError> {
        self.authenticator
            .encrypt_field(secret)
            .ok_or(ManagementError::NotConfigured {
                key: "DATABASE_SECRET_KEY",
            })
    }

    /// The secret of a column. None: it cannot be decrypted, which is in the log.
    pub(crate) fn decrypted(&self, field: &str) -> Option<Shown> {
        match self.authenticator.decrypt_field(field)? {
            Ok(secret) => Some(Shown(secret)),
            Err(error) => {
                tracing::error!(%error, "A stored token cannot be shown");
                None
            }
        }
    }

    /// Whether a name is a superuser's.
    pub(crate) fn is_superuser(&self, username: &str) -> bool {
        let options = self.authenticator.options();
        options.superusers.contains(username) && !self.reads_all(username)
    }

    /// Whether a name is one of somebody who may read everything.
    pub(crate) fn reads_all(&self, username: &str) -> bool {
        let options = self.authenticator.options();
        options.readonly_superusers.contains(username)
    }
}

/// What a change gave, or why it was not made, in words for the one who asked.
pub(crate) fn done<T>(changed: Changed<T>) -> Result<T, ManagementError> {
    let refused = |reason: &str| ManagementError::Refused {
        reason: reason.to_owned(),
    };
    changed?.map_err(|unchanged| match unchanged {
        Unchanged::Unknown { what, name } => ManagementError::Unknown { what, name },
        Unchanged::Taken { what, name } => ManagementError::Taken { what, name },
        Unchanged::LastAdmin => refused(
            "nobody would be left who administers the organization; make somebody else a member of a team with the role `admin` first",
        ),
        Unchanged::UsedByMirror => refused(
            "the robot is used by a mirror; give the mirror another robot first",
        ),
        Unchanged::ForeignRobot => {
            refused("a robot can only be in teams of the organization that it belongs to")
        }
        Unchanged::NotEmpty => refused("there are accounts already, so the registry cannot be initialized"),
    })
}
