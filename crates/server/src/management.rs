//! What owners and operators look up and change, as a configuration has it.

use roadstead_auth::{Authenticator, SigningKeyOptions, SigningKeys};
use roadstead_config::Config;
use roadstead_management::{Management, ManagementOptions};
use roadstead_runtime::Tasks;

use crate::deployment::Deployment;
use crate::error::StartError;
use crate::options::auth_options;

impl Deployment {
    /// What owners and operators look up and change, for a program that serves nobody: it signs no tokens and checks no passwords.
    pub fn management(&self, config: &Config) -> Result<Management, StartError> {
        let tasks = Tasks::new();
        let keys = SigningKeys::new(
            self.database.clone(),
            self.environment.clone(),
            tasks.clone(),
            SigningKeyOptions {
                service: config.accounts.token_service.clone(),
                name: "admin".to_owned(),
            },
        );
        let authenticator = Authenticator::new(
            self.database.clone(),
            self.environment.clone(),
            tasks,
            keys,
            auth_options(config, self)?,
        );
        Ok(Management::new(
            self.database.clone(),
            authenticator,
            self.environment.clone(),
        )
        .with_options(management_options(config)))
    }
}

/// What the configuration says of accounts and quotas.
pub(crate) fn management_options(config: &Config) -> ManagementOptions {
    let management = &config.management;
    ManagementOptions {
        initialize: management.user_initialize,
        tag_windows: management
            .change_tag_expiration
            .then(|| config.tags.expiration_options.clone()),
        quotas: config.quota.enabled && config.quota.editable,
        default_quota_bytes: config
            .quota
            .default_bytes
            .and_then(|bytes| i64::try_from(bytes).ok()),
        app_token_life: management.app_token_life,
    }
}
