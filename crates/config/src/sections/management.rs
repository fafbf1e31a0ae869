//! What owners may do to their accounts and namespaces through the API.

use std::time::Duration;

use crate::reader::Keys;

/// What owners may do to their accounts and namespaces through the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// `FEATURE_USER_INITIALIZE`: whether the first account of an empty registry may be made through the API (default: false).
    pub user_initialize: bool,
    /// `FEATURE_CHANGE_TAG_EXPIRATION`: whether a namespace may choose for how long it keeps deleted tags (default: true).
    pub change_tag_expiration: bool,
    /// `APP_SPECIFIC_TOKEN_EXPIRATION`: for how long new app tokens are good, such as `90d`; none: for ever (the default).
    pub app_token_life: Option<Duration>,
}

const APP_TOKEN_LIFE: &str = "APP_SPECIFIC_TOKEN_EXPIRATION";

impl Management {
    pub(super) fn read(keys: &mut Keys) -> Self {
        // Without it, and with none: for ever.
        let app_token_life = Some(keys.duration(APP_TOKEN_LIFE, Duration::ZERO));
        Self {
            user_initialize: keys.flag("FEATURE_USER_INITIALIZE", false),
            change_tag_expiration: keys.flag("FEATURE_CHANGE_TAG_EXPIRATION", true),
            app_token_life: app_token_life.filter(|life| !life.is_zero()),
        }
    }
}
