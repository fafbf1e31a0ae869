//! Who there is, and how they prove it.

use std::time::Duration;

use crate::reader::{Keys, Remark, did_you_mean};
use crate::secret::Secret;

/// Who there is, and how they prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// `SUPER_USERS`: the accounts that may administer the registry, the same in all regions (default: none; `admin` for a
    /// registry without a configuration). With `FEATURE_SUPER_USERS` (default: true) off: none.
    pub super_users: Vec<String>,
    /// `FEATURE_SUPERUSERS_FULL_ACCESS`: whether they may do everything in every namespace (default: false; true for a registry
    /// without a configuration).
    pub super_users_full_access: bool,
    /// `GLOBAL_READONLY_SUPER_USERS`: the accounts that may read everything; `SUPER_USERS` does not count for them (default: none).
    pub global_readonly_super_users: Vec<String>,
    /// `ROBOTS_DISALLOW`: whether robots may not sign in (default: false).
    pub robots_disallow: bool,
    /// `ROBOTS_WHITELIST`: robots that may sign in all the same, as `namespace+name` (default: none).
    pub robots_whitelist: Vec<String>,
    /// `FEATURE_APP_SPECIFIC_TOKENS`: whether app tokens are taken (default: true).
    pub app_specific_tokens: bool,
    /// `FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH`: whether people's passwords are taken encrypted with `SECRET_KEY` only (default: false).
    pub encrypted_passwords_only: bool,
    /// `FEATURE_USER_CREATION`: whether people may make accounts for themselves (default: true), unless `FEATURE_DIRECT_LOGIN` is off (default:
    /// true) or `FEATURE_INVITE_ONLY_USER_CREATION` is on (default: false).
    pub user_creation: bool,
    /// `FEATURE_SUPERUSERS_ORG_CREATION_ONLY`: whether superusers alone make organisations, also by pushing (default: false).
    pub superusers_create_organizations: bool,
    /// `FEATURE_RESTRICTED_USERS`: whether all but the listed and superusers make neither organisations nor repositories of their own
    /// (default: false).
    pub restricted_users: bool,
    /// `RESTRICTED_USERS_WHITELIST`: who is not restricted (default: none).
    pub restricted_users_whitelist: Vec<String>,
    /// `FEATURE_USER_LAST_ACCESSED`: whether the database is told when robots and tokens were last used (default: true).
    pub user_last_accessed: bool,
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
        let secret_key = keys.text("SECRET_KEY");
        Self {
            super_users: super_users(keys, standalone),
            super_users_full_access: keys.flag("FEATURE_SUPERUSERS_FULL_ACCESS", standalone),
            global_readonly_super_users: keys
                .texts("GLOBAL_READONLY_SUPER_USERS", "user names")
                .unwrap_or_default(),
            robots_disallow: keys.flag("ROBOTS_DISALLOW", false),
            robots_whitelist: keys
                .texts("ROBOTS_WHITELIST", "names of robots")
                .unwrap_or_default(),
            app_specific_tokens: keys.flag("FEATURE_APP_SPECIFIC_TOKENS", true),
            encrypted_passwords_only: encrypted_passwords_only(keys, secret_key.is_some()),
            user_creation: user_creation(keys),
            superusers_create_organizations: keys
                .flag("FEATURE_SUPERUSERS_ORG_CREATION_ONLY", false),
            restricted_users: keys.flag("FEATURE_RESTRICTED_USERS", false),
            restricted_users_whitelist: keys
                .texts("RESTRICTED_USERS_WHITELIST", "user names")
                .unwrap_or_default(),
            user_last_accessed: keys.flag("FEATURE_USER_LAST_ACCESSED", true),
            secret_key: secret_key.map(Secret::new),
            token_service: keys
                .text("INSTANCE_SERVICE_KEY_SERVICE")
                .unwrap_or_else(|| "quay".to_owned()),
            // Tokens are issued for 3600 s; anything less would refuse all of them.
            token_lifetime_max: keys.seconds("REGISTRY_JWT_AUTH_MAX_FRESH_S", 3660, 3600..=604_800),
        }
    }
}

fn super_users(keys: &mut Keys, standalone: bool) -> Vec<String> {
    let names = keys.texts("SUPER_USERS", "user names");
    let default = || standalone.then(|| "admin".to_owned()).into_iter().collect();
    if keys.flag("FEATURE_SUPER_USERS", true) {
        names.unwrap_or_else(default)
    } else {
        Vec::new()
    }
}

fn user_creation(keys: &mut Keys) -> bool {
    let [allowed, with_passwords, invited_only] = [
        ("FEATURE_USER_CREATION", true),
        ("FEATURE_DIRECT_LOGIN", true),
        ("FEATURE_INVITE_ONLY_USER_CREATION", false),
    ]
    .map(|(key, default)| keys.flag(key, default));
    // Nobody is invited here.
    allowed && with_passwords && !invited_only
}

/// `FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH`, which needs a `SECRET_KEY`: without it nobody could sign in.
fn encrypted_passwords_only(keys: &mut Keys, has_key: bool) -> bool {
    const KEY: &str = "FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH";
    let wanted = keys.flag(KEY, false);
    if wanted && !has_key {
        let value = keys.value(KEY);
        let remark = Remark::new(
            "nothing can be decrypted",
            "a SECRET_KEY",
            "set SECRET_KEY to that of Quay, or leave this out",
        );
        keys.refuse(KEY, value.as_ref(), remark);
    }
    wanted
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
