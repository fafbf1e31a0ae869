//! What the operator decides about accounts and rights. Reading it from a configuration is `config`'s work.

use std::collections::BTreeSet;
use std::time::Duration;

use roadstead_metadata::{RepositoryPath, TAG_WINDOW};
use roadstead_oci::RepositoryName;
use roadstead_secrets::{FieldKey, PasswordKey};

use crate::names::Names;

/// Settings of an [`Authenticator`](crate::Authenticator). Every region of a registry must have the same.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// Who issues tokens, and the service that the keys in `servicekey` belong to: `INSTANCE_SERVICE_KEY_SERVICE`.
    pub service: String,
    /// The registry's own name, with the port if it has one: `SERVER_HOSTNAME`. The audience that tokens must be for, and what may
    /// stand before a repository's name in a scope.
    pub hostname: String,
    /// `SUPER_USERS`.
    pub superusers: Names,
    /// `FEATURE_SUPERUSERS_FULL_ACCESS`: whether superusers may do everything in every namespace. Without it they are users like others here.
    pub superusers_full_access: bool,
    /// `GLOBAL_READONLY_SUPER_USERS`: who may read everything, and has no superuser's powers besides, whatever `SUPER_USERS` says.
    pub readonly_superusers: Names,
    /// Whether robots may sign in: the reverse of `ROBOTS_DISALLOW`.
    pub robots: bool,
    /// `ROBOTS_WHITELIST`: robots that may sign in all the same.
    pub robots_allowed: BTreeSet<String>,
    /// `FEATURE_APP_SPECIFIC_TOKENS`: whether app tokens are taken.
    pub app_tokens: bool,
    /// `FEATURE_PROXY_CACHE`: whether organisations may be caches of other registries, which their members may pull from.
    pub proxy_cache: bool,
    /// `FEATURE_USER_LAST_ACCESSED`: whether it is noted when robots and tokens were last used.
    pub note_use: bool,
    /// Decrypts what the database holds encrypted: made of `DATABASE_SECRET_KEY`. Without it neither robots nor app tokens can sign in.
    pub field_key: Option<FieldKey>,
    /// Decrypts the passwords that clients hold encrypted: made of `SECRET_KEY`. Without it a password is taken as it comes.
    pub password_key: Option<PasswordKey>,
    /// `FEATURE_REQUIRE_ENCRYPTED_BASIC_AUTH`: whether people's passwords are taken encrypted only.
    pub encrypted_passwords_only: bool,
    /// `FEATURE_USER_CREATION`: whether people may make accounts for themselves. Superusers may make them in any case.
    pub user_creation: bool,
    /// `FEATURE_SUPERUSERS_ORG_CREATION_ONLY`: whether superusers alone make organisations, also by pushing.
    pub superusers_create_organizations: bool,
    /// `FEATURE_RESTRICTED_USERS`: whether those who are not in [`AuthOptions::unrestricted_users`] make neither organisations nor repositories
    /// of their own.
    pub restricted_users: bool,
    /// `RESTRICTED_USERS_WHITELIST`: who is not restricted. Superusers never are.
    pub unrestricted_users: BTreeSet<String>,
    /// `FEATURE_ANONYMOUS_ACCESS`: whether public repositories can be pulled without an account.
    pub anonymous_access: bool,
    /// `FEATURE_PUBLIC_CATALOG`: whether listings show public repositories to those without an account.
    pub public_catalog: bool,
    /// `CREATE_NAMESPACE_ON_PUSH`: whether a push into a namespace that does not exist makes it.
    pub create_namespace_on_push: bool,
    /// `DEFAULT_TAG_EXPIRATION`: for how long a namespace that is made keeps deleted tags.
    pub tag_window: Duration,
    /// `CREATE_PRIVATE_REPO_ON_PUSH`: whether repositories that a push makes are private.
    pub private_on_push: bool,
    /// `LIBRARY_NAMESPACE`, the namespace of names with one segment; none when `FEATURE_LIBRARY_SUPPORT` is off: such names are nobody's then.
    pub library_namespace: Option<String>,
    /// `REGISTRY_JWT_AUTH_MAX_FRESH_S`: the longest life, from `iat` to `exp`, of a token that is accepted.
    pub token_life_max: Duration,
}

impl AuthOptions {
    /// Quay's defaults, for the registry of this name.
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            service: "quay".to_owned(),
            hostname: hostname.into(),
            superusers: Names::default(),
            superusers_full_access: false,
            readonly_superusers: Names::default(),
            robots: true,
            robots_allowed: BTreeSet::new(),
            app_tokens: true,
            proxy_cache: false,
            note_use: true,
            field_key: None,
            password_key: None,
            encrypted_passwords_only: false,
            user_creation: true,
            superusers_create_organizations: false,
            restricted_users: false,
            unrestricted_users: BTreeSet::new(),
            anonymous_access: true,
            public_catalog: false,
            create_namespace_on_push: false,
            tag_window: TAG_WINDOW,
            private_on_push: true,
            library_namespace: Some("library".to_owned()),
            token_life_max: Duration::from_mins(61),
        }
    }

    /// Quay's defaults, but `superuser` may do everything and namespaces spring into being on its pushes: one machine, one account.
    pub fn standalone(hostname: impl Into<String>, superuser: impl Into<String>) -> Self {
        Self {
            superusers: Names::from([superuser.into()]),
            superusers_full_access: true,
            create_namespace_on_push: true,
            ..Self::new(hostname)
        }
    }

    /// Where the repository of this name is: names with one segment are in the library. None when there is no library.
    pub fn path(&self, name: &RepositoryName) -> Option<RepositoryPath> {
        let namespace = name.namespace().or(self.library_namespace.as_deref())?;
        Some(RepositoryPath {
            namespace: namespace.to_owned(),
            name: name.rest().to_owned(),
        })
    }

    /// Whether the user of this name administers the registry. Those who may only read everything do not, as in Quay.
    pub(crate) fn is_superuser(&self, username: &str) -> bool {
        self.superusers.contains(username) && !self.reads_all(username)
    }

    /// Whether the user of this name may do everything.
    pub(crate) fn has_full_access(&self, username: &str) -> bool {
        self.superusers_full_access && self.is_superuser(username)
    }

    /// Whether the user of this name may read everything.
    pub(crate) fn reads_all(&self, username: &str) -> bool {
        self.readonly_superusers.contains(username)
    }

    /// Whether the account of this name makes neither organisations nor repositories in the namespace that is its own. A robot is restricted as the
    /// one is whom it belongs to.
    pub fn is_restricted(&self, username: &str) -> bool {
        let name = username.split('+').next().unwrap_or_default();
        self.restricted_users
            && !self.is_superuser(username)
            && !self.unrestricted_users.contains(name)
    }

    /// Whether the account of this name may make organisations. Robots never do.
    pub fn creates_organizations(&self, username: &str) -> bool {
        let superuser = self.is_superuser(username);
        !username.contains('+')
            && !self.is_restricted(username)
            && (superuser || !self.superusers_create_organizations)
    }

    /// Whether the robot of this name may sign in.
    pub(crate) fn admits_robot(&self, username: &str) -> bool {
        self.robots || self.robots_allowed.contains(username)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_one_segment_are_in_the_library_if_there_is_one() {
        let mut options = AuthOptions::new("registry.example");
        let path = |options: &AuthOptions, name: &str| {
            options
                .path(&name.parse().unwrap())
                .map(|path| path.to_string())
        };
        assert_eq!(
            path(&options, "busybox").as_deref(),
            Some("library/busybox")
        );
        assert_eq!(
            path(&options, "library/busybox").as_deref(),
            Some("library/busybox")
        );
        assert_eq!(
            path(&options, "acme/deep/app").as_deref(),
            Some("acme/deep/app")
        );
        options.library_namespace = None;
        assert_eq!(path(&options, "busybox"), None);
        assert_eq!(path(&options, "acme/app").as_deref(), Some("acme/app"));
    }

    #[test]
    fn restricted_are_all_but_superusers_and_those_who_are_named_with_their_robots() {
        let options = AuthOptions {
            restricted_users: true,
            unrestricted_users: BTreeSet::from(["alice".to_owned()]),
            ..AuthOptions::standalone("registry.example", "admin")
        };
        for (username, restricted, organizations) in [
            ("admin", false, true),
            ("alice", false, true),
            ("bob", true, false),
            ("alice+ci", false, false),
            ("bob+ci", true, false),
        ] {
            assert_eq!(options.is_restricted(username), restricted, "{username}");
            let makes = options.creates_organizations(username);
            assert_eq!(makes, organizations, "{username}");
        }
        let by_superusers = AuthOptions {
            restricted_users: false,
            superusers_create_organizations: true,
            ..options
        };
        assert!(!by_superusers.is_restricted("bob"));
        assert!(!by_superusers.creates_organizations("alice"));
        assert!(by_superusers.creates_organizations("admin"));
    }

    #[test]
    fn superusers_have_full_access_only_where_that_is_switched_on() {
        let standalone = AuthOptions::standalone("registry.example", "admin");
        assert!(standalone.has_full_access("admin"));
        assert!(!standalone.has_full_access("Admin"));
        let listed = AuthOptions {
            superusers_full_access: false,
            ..standalone
        };
        assert!(!listed.has_full_access("admin"));
    }
}
