//! Who there is, and how they prove it.

use std::time::Duration;

use crate::reader::{Keys, Remark, did_you_mean};
use crate::secret::Secret;

/// Who there is, and how they prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// `SUPER_USERS`: the accounts that may administer the registry, the same in all regions (default: none; `admin` for a
    /// registry without a configuration).
    pub super_users: Vec<String>,
    /// `SECRET_KEY`: what Quay signs and encrypts with outside the database; the same in every region.
    pub secret_key: Option<Secret<String>>,
    /// `INSTANCE_SERVICE_KEY_SERVICE`: the issuer of tokens and the service under which their keys are published (default:
    /// `quay`).
    pub token_service: String,
    /// `REGISTRY_JWT_AUTH_MAX_FRESH_S`: the longest time for which a token may be issued (default: 3660 s).
    pub token_lifetime_max: Duration,
}

impl Accounts {
    pub(super) fn read(keys: &mut Keys) -> Self {
        let standalone = keys.data_dir().is_some();
        refuse_other_authentication(keys);
        Self {
            super_users: keys.texts("SUPER_USERS", "user names").unwrap_or_else(|| {
                if standalone {
                    vec!["admin".to_owned()]
                } else {
                    Vec::new()
                }
            }),
            secret_key: keys.text("SECRET_KEY").map(Secret::new),
            token_service: keys
                .text("INSTANCE_SERVICE_KEY_SERVICE")
                .unwrap_or_else(|| "quay".to_owned()),
            // Tokens are issued for 3600 s; anything less would refuse all of them.
            token_lifetime_max: keys.seconds("REGISTRY_JWT_AUTH_MAX_FRESH_S", 3660, 3600..=604_800),
        }
    }
}

/// `AUTHENTICATION_TYPE`: where passwords are checked. Only `Database` (the default).
fn refuse_other_authentication(keys: &mut Keys) {
    const KEY: &str = "AUTHENTICATION_TYPE";
    const QUAYS: [&str; 6] = ["Database", "LDAP", "JWT", "Keystone", "OIDC", "AppToken"];
    let Some(text) = keys.text(KEY).filter(|text| text != "Database") else {
        return;
    };
    let remark = if QUAYS.contains(&text.as_str()) {
        Remark::new(
            format!("{text} is not in this version"),
            "Database",
            "keep accounts in the database",
        )
    } else {
        Remark::new("unknown value", "Database", did_you_mean(&text, QUAYS))
    };
    let value = keys.value(KEY);
    keys.refuse(KEY, value.as_ref(), remark);
}
