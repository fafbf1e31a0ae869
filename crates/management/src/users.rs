//! People: the first account, one's own, those that superusers look after.

use roadstead_metadata::{
    AccountChanges, AccountRecord, AccountsOf, Actor, NewUser, TeamRole, UserId,
};
use roadstead_secrets::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avatar::Avatar;
use crate::error::ManagementError;
use crate::forms::{self, NAME_PATTERN, Password, Shown};
use crate::management::{Management, WHOLE_LIST_MAX, done};
use crate::quotas::{QuotaDocument, QuotaReport};

/// The length of a password that is made for somebody else, Quay's.
const MADE_PASSWORD_LETTERS: usize = 32;

/// The most characters of what a person says of themselves.
const ABOUT_CHARS_MAX: usize = 255;

/// A new account.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewUserDocument {
    /// The name.
    #[schemars(length(min = 2, max = 255), regex(pattern = NAME_PATTERN))]
    pub username: String,
    /// The password.
    pub password: Password,
    /// The e-mail address.
    #[schemars(length(max = 254))]
    pub email: Option<String>,
}

/// The first account of a registry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Initialization {
    /// The account.
    #[serde(flatten)]
    pub user: NewUserDocument,
    /// Whether an OAuth access token for it is wanted.
    #[serde(default)]
    pub access_token: bool,
}

/// What came of an initialization.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Initialized {
    /// An OAuth access token with every scope, good for two and a half hours, if it was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<Shown>,
    /// The name.
    pub username: String,
    /// The e-mail address.
    pub email: Option<String>,
    /// The password in the form in which a client may keep it; null without `SECRET_KEY`.
    pub encrypted_password: Option<Shown>,
}

/// An account that a superuser makes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct InstallUser {
    /// The name.
    #[schemars(length(min = 2, max = 255), regex(pattern = NAME_PATTERN))]
    pub username: String,
    /// The e-mail address.
    #[schemars(length(max = 254))]
    pub email: Option<String>,
}

/// An account that a superuser made, with the password that was made for it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstalledUser {
    /// The name.
    pub username: String,
    /// The e-mail address.
    pub email: Option<String>,
    /// The password. It is shown this once.
    pub password: Shown,
    /// The password in the form in which a client may keep it; null without `SECRET_KEY`.
    pub encrypted_password: Option<Shown>,
}

/// What is to be another in one's own account.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct OwnChanges {
    /// Another password. Tokens that were handed out end.
    pub password: Option<Password>,
    /// Another e-mail address.
    #[schemars(length(max = 254))]
    pub email: Option<String>,
    /// For how many seconds deleted tags are kept: one of the durations that the operator allows.
    #[schemars(range(min = 0))]
    pub tag_expiration_s: Option<i64>,
    /// Whether invoices are sent.
    pub invoice_email: Option<bool>,
    /// Where they are sent.
    #[schemars(length(max = 254))]
    pub invoice_email_address: Option<String>,
    /// The given name.
    #[schemars(length(max = 255))]
    pub given_name: Option<String>,
    /// The family name.
    #[schemars(length(max = 255))]
    pub family_name: Option<String>,
    /// The company.
    #[schemars(length(max = 255))]
    pub company: Option<String>,
    /// The place.
    #[schemars(length(max = 255))]
    pub location: Option<String>,
}

/// What is to be another in an account that a superuser changes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct InstallUserChanges {
    /// Another password. Tokens that were handed out end.
    pub password: Option<Password>,
    /// Another e-mail address.
    #[schemars(length(max = 254))]
    pub email: Option<String>,
    /// Whether the account may be used.
    pub enabled: Option<bool>,
}

/// One's own account.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OwnAccount {
    /// Whether nobody is signed in: false.
    pub anonymous: bool,
    /// The name.
    pub username: String,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether repositories may be made.
    pub can_create_repo: bool,
    /// Whether it is one's own: true.
    pub is_me: bool,
    /// Whether the address was confirmed.
    pub verified: bool,
    /// The e-mail address.
    pub email: String,
    /// Accounts elsewhere: none.
    pub logins: Vec<String>,
    /// Whether invoices are sent.
    pub invoice_email: bool,
    /// Where they are sent.
    pub invoice_email_address: Option<String>,
    /// Whether somebody pays for it.
    pub preferred_namespace: bool,
    /// For how many seconds deleted tags are kept.
    pub tag_expiration_s: i64,
    /// What it has to be asked: nothing.
    pub prompts: Vec<String>,
    /// The company.
    pub company: Option<String>,
    /// The family name.
    pub family_name: Option<String>,
    /// The given name.
    pub given_name: Option<String>,
    /// The place.
    pub location: Option<String>,
    /// Whether nobody pays for it.
    pub is_free_account: bool,
    /// Whether it has a password.
    pub has_password_set: bool,
    /// Its quota, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Vec<QuotaDocument>>,
    /// What it holds, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_report: Option<QuotaReport>,
    /// The organisations in whose teams it is.
    pub organizations: Vec<OwnOrganization>,
    /// Whether it is a superuser's.
    pub super_user: bool,
    /// Whether it may read everything.
    pub global_readonly_super_user: bool,
}

/// An organisation that somebody belongs to.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OwnOrganization {
    /// Its name.
    pub name: String,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether they may make repositories in it.
    pub can_create_repo: bool,
    /// Whether everybody sees it: false.
    pub public: bool,
    /// Whether they administer it.
    pub is_org_admin: bool,
    /// Whether somebody pays for it.
    pub preferred_namespace: bool,
}

/// What everybody may know of an account.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PublicAccount {
    /// Whether nobody is signed in: false.
    pub anonymous: bool,
    /// The name.
    pub username: String,
    /// What stands for it.
    pub avatar: Avatar,
}

/// An account as superusers see it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstallUserDocument {
    /// What it is: `user`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The same.
    pub username: String,
    /// The e-mail address.
    pub email: String,
    /// Whether the address was confirmed.
    pub verified: bool,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether it is a superuser's.
    pub super_user: bool,
    /// Whether it may read everything.
    pub global_readonly_super_user: bool,
    /// Whether it may be used.
    pub enabled: bool,
    /// Its quota, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Vec<QuotaDocument>>,
    /// What it holds, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_report: Option<QuotaReport>,
}

/// A page of accounts.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstallUsers {
    /// The accounts, oldest first.
    pub users: Vec<InstallUserDocument>,
    /// What to ask for the next page with, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page: Option<String>,
}

/// An organisation as superusers see it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstallOrganization {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
    /// What stands for it.
    pub avatar: Avatar,
    /// Its quota, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Vec<QuotaDocument>>,
    /// What it holds, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_report: Option<QuotaReport>,
}

/// A page of organisations.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct InstallOrganizations {
    /// The organisations, oldest first.
    pub organizations: Vec<InstallOrganization>,
    /// What to ask for the next page with, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page: Option<String>,
}

/// Another name for an organisation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Renaming {
    /// The name.
    #[schemars(length(min = 2, max = 255), regex(pattern = NAME_PATTERN))]
    pub name: String,
}

/// The namespace that somebody has taken over.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TakenOver {
    /// Its name.
    pub namespace: String,
}

impl Management {
    /// Makes the first account of a registry, and an OAuth access token for it if that is wanted. Of several that try at once one does.
    pub async fn initialize(
        &self,
        document: &Initialization,
        actor: &Actor,
    ) -> Result<Initialized, ManagementError> {
        if !self.options.initialize {
            return Err(ManagementError::NotConfigured {
                key: "FEATURE_USER_INITIALIZE",
            });
        }
        let user = &document.user;
        let username = forms::name("username", &user.username)?;
        let email = forms::email("email", user.email.as_deref())?;
        // Before a password is hashed: everybody may ask.
        if self.database.has_accounts().await? {
            return done(Ok(Err(roadstead_metadata::Unchanged::NotEmpty)));
        }
        let hash = self.hash(&user.password).await?;
        let drawn = if document.access_token {
            let scope = crate::applications::EVERY_SCOPE;
            Some(self.draw_oauth_token(scope, None).await?)
        } else {
            None
        };
        let secret = self.authenticator.draw_secret(40);
        let client_secret = self.authenticator.encrypt_field(&secret);
        let application = roadstead_metadata::NewApplication {
            client_id: username,
            client_secret: client_secret.as_deref(),
            about: roadstead_metadata::ApplicationAbout {
                name: "automation",
                description: "Made when the registry was initialized",
                ..roadstead_metadata::ApplicationAbout::default()
            },
        };
        let token = drawn.as_ref().map(crate::applications::DrawnToken::row);
        let new = NewUser {
            username,
            email,
            password_hash: &hash,
            tag_window_s: self.tag_window_s(),
        };
        let made = self
            .database
            .initialize(
                &new,
                token.as_ref().map(|token| (&application, token)),
                &self.change(actor),
            )
            .await;
        done(made)?;
        Ok(Initialized {
            access_token: drawn.map(|drawn| drawn.token),
            username: username.to_owned(),
            email: email.map(str::to_owned),
            encrypted_password: self.encrypted_password(user.password.secret()),
        })
    }

    /// A password in the form in which a client may keep it, and sign in with it. None without `SECRET_KEY`.
    pub fn encrypted_password(&self, password: &Secret) -> Option<Shown> {
        self.authenticator.encrypted_password(password).map(Shown)
    }

    /// Makes an account, with the password that its owner chose.
    pub async fn create_user(
        &self,
        document: &NewUserDocument,
        actor: &Actor,
    ) -> Result<UserId, ManagementError> {
        let username = forms::name("username", &document.username)?;
        let email = forms::email("email", document.email.as_deref())?;
        self.insert_user(username, email, &document.password, actor)
            .await
    }

    /// Makes an account with a password that is made for it.
    pub async fn create_install_user(
        &self,
        document: &InstallUser,
        actor: &Actor,
    ) -> Result<InstalledUser, ManagementError> {
        let username = forms::name("username", &document.username)?;
        let email = forms::email("email", document.email.as_deref())?;
        let (password, secret) = self.draw_password()?;
        self.insert_user(username, email, &password, actor).await?;
        Ok(InstalledUser {
            username: username.to_owned(),
            email: email.map(str::to_owned),
            encrypted_password: self.encrypted_password(&secret),
            password: Shown(secret),
        })
    }

    /// A password for somebody else, to be shown once: 32 letters of 5.2 bits of chance.
    pub fn draw_password(&self) -> Result<(Password, Secret), ManagementError> {
        let secret = self.authenticator.draw_secret(MADE_PASSWORD_LETTERS);
        Ok((Password::new(secret.expose())?, secret))
    }

    async fn insert_user(
        &self,
        username: &str,
        email: Option<&str>,
        password: &Password,
        actor: &Actor,
    ) -> Result<UserId, ManagementError> {
        // Before the password is hashed, which costs more than looking.
        if self.database.account(username).await?.is_some() {
            return Err(ManagementError::Taken {
                what: "a user or an organization",
                name: username.to_owned(),
            });
        }
        let hash = self.hash(password).await?;
        let new = NewUser {
            username,
            email,
            password_hash: &hash,
            tag_window_s: self.tag_window_s(),
        };
        done(self.database.create_user(&new, &self.change(actor)).await)
    }

    /// One's own account.
    pub async fn own_account(&self, username: &str) -> Result<OwnAccount, ManagementError> {
        let account = self.person(username).await?;
        let roles = self
            .database
            .organizations_of(account.id, WHOLE_LIST_MAX)
            .await?;
        let (quotas, quota_report) = self.quota_members(account.id).await?;
        let organizations = roles
            .into_iter()
            .map(|(organization, role)| OwnOrganization {
                avatar: Avatar::of_account(&organization),
                can_create_repo: role >= TeamRole::Creator,
                public: false,
                is_org_admin: role == TeamRole::Admin,
                preferred_namespace: !organization.free,
                name: organization.username,
            })
            .collect();
        Ok(OwnAccount {
            anonymous: false,
            avatar: Avatar::of_account(&account),
            can_create_repo: true,
            is_me: true,
            verified: account.verified,
            logins: Vec::new(),
            invoice_email: account.invoice_email,
            invoice_email_address: account.invoice_email_address,
            preferred_namespace: !account.free,
            tag_expiration_s: account.tag_window_s,
            prompts: Vec::new(),
            company: account.about.company,
            family_name: account.about.family_name,
            given_name: account.about.given_name,
            location: account.about.location,
            is_free_account: account.free,
            has_password_set: account.has_password,
            quotas,
            quota_report,
            organizations,
            super_user: self.is_superuser(&account.username),
            global_readonly_super_user: self.reads_all(&account.username),
            username: account.username,
            email: account.email,
        })
    }

    /// Changes one's own account.
    pub async fn change_own_account(
        &self,
        username: &str,
        document: &OwnChanges,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let about = |field, value: &'_ Option<String>| {
            forms::optional(field, value.as_deref(), ABOUT_CHARS_MAX).map(drop)
        };
        about("given_name", &document.given_name)?;
        about("family_name", &document.family_name)?;
        about("company", &document.company)?;
        about("location", &document.location)?;
        let hash = match &document.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let changes = AccountChanges {
            password_hash: hash.as_deref(),
            email: forms::email("email", document.email.as_deref())?,
            tag_window_s: self.tag_window_of(document.tag_expiration_s)?,
            invoice_email: document.invoice_email,
            invoice_email_address: invoice_address(document.invoice_email_address.as_deref())?,
            about: [
                document.given_name.as_deref(),
                document.family_name.as_deref(),
                document.company.as_deref(),
                document.location.as_deref(),
            ],
            ..AccountChanges::default()
        };
        self.change_account(username, &changes, actor).await
    }

    /// What everybody may know of an account.
    pub async fn public_account(&self, username: &str) -> Result<PublicAccount, ManagementError> {
        let account = self.person(username).await?;
        Ok(PublicAccount {
            anonymous: false,
            avatar: Avatar::of_account(&account),
            username: account.username,
        })
    }

    /// A page of accounts behind `after`, for superusers.
    pub async fn install_users(
        &self,
        with_disabled: bool,
        after: Option<i32>,
        limit: u32,
    ) -> Result<InstallUsers, ManagementError> {
        let (accounts, next_page) = self.accounts(false, with_disabled, after, limit).await?;
        let (mut quotas, mut reports) = self.quotas_of(&accounts).await?;
        let users = accounts
            .into_iter()
            .map(|account| {
                let members = (quotas.remove(&account.id), reports.remove(&account.id));
                self.install_user_document(account, members)
            })
            .collect();
        Ok(InstallUsers { users, next_page })
    }

    /// An account, for superusers.
    pub async fn install_user(
        &self,
        username: &str,
    ) -> Result<InstallUserDocument, ManagementError> {
        let account = self.person(username).await?;
        let members = self.quota_members(account.id).await?;
        Ok(self.install_user_document(account, members))
    }

    /// Changes somebody's account. A superuser's own is changed in the configuration's sense only by the operator.
    pub async fn change_install_user(
        &self,
        username: &str,
        document: &InstallUserChanges,
        actor: &Actor,
    ) -> Result<InstallUserDocument, ManagementError> {
        self.person(username).await?;
        self.refuse_superuser(username, "update", actor)?;
        let hash = match &document.password {
            Some(password) => Some(self.hash(password).await?),
            None => None,
        };
        let changes = AccountChanges {
            password_hash: hash.as_deref(),
            email: forms::email("email", document.email.as_deref())?,
            enabled: document.enabled,
            by_superuser: true,
            ..AccountChanges::default()
        };
        self.change_account(username, &changes, actor).await?;
        self.install_user(username).await
    }

    /// Deletes somebody's account with everything in its namespace. The name is not free before all of that is gone.
    pub async fn delete_user(&self, username: &str, actor: &Actor) -> Result<(), ManagementError> {
        let username = forms::known("user", username)?;
        self.refuse_superuser(username, "delete", actor)?;
        done(
            self.database
                .delete_account(username, false, &self.change(actor))
                .await,
        )
    }

    /// A page of organisations behind `after`, for superusers.
    pub async fn install_organizations(
        &self,
        after: Option<i32>,
        limit: u32,
    ) -> Result<InstallOrganizations, ManagementError> {
        let (accounts, next_page) = self.accounts(true, true, after, limit).await?;
        let (mut quotas, mut reports) = self.quotas_of(&accounts).await?;
        let organizations = accounts
            .into_iter()
            .map(|account| InstallOrganization {
                avatar: Avatar::of_account(&account),
                quotas: quotas.remove(&account.id),
                quota_report: reports.remove(&account.id),
                name: account.username,
                email: account.email,
            })
            .collect();
        Ok(InstallOrganizations {
            organizations,
            next_page,
        })
    }

    /// Gives an organisation another name. What its members hold is theirs still; clients have to be told.
    pub async fn rename_organization(
        &self,
        name: &str,
        document: &Renaming,
        actor: &Actor,
    ) -> Result<InstallOrganization, ManagementError> {
        let name = forms::known("organization", name)?;
        let new_name = forms::name("name", &document.name)?;
        done(
            self.database
                .rename_organization(name, new_name, &self.change(actor))
                .await,
        )?;
        let account = self.organization_account(new_name).await?;
        let (quotas, quota_report) = self.quota_members(account.id).await?;
        Ok(InstallOrganization {
            avatar: Avatar::of_account(&account),
            quotas,
            quota_report,
            name: account.username,
            email: account.email,
        })
    }

    /// Makes `owner` an administrator of an organisation, or of a person's namespace, which becomes an organisation.
    pub async fn take_ownership(
        &self,
        namespace: &str,
        owner: &str,
        actor: &Actor,
    ) -> Result<TakenOver, ManagementError> {
        let namespace = forms::known("namespace", namespace)?;
        self.refuse_superuser(namespace, "take ownership of", actor)?;
        done(
            self.database
                .take_ownership(namespace, owner, &self.change(actor))
                .await,
        )?;
        Ok(TakenOver {
            namespace: namespace.to_owned(),
        })
    }

    /// Changes an account for its owner, or for the operator.
    pub(crate) async fn change_account(
        &self,
        username: &str,
        changes: &AccountChanges<'_>,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let username = forms::known("user", username)?;
        done(
            self.database
                .change_account(username, changes, &self.change(actor))
                .await,
        )
    }

    /// A person's account.
    pub(crate) async fn person(&self, username: &str) -> Result<AccountRecord, ManagementError> {
        let found = self
            .database
            .account(forms::known("user", username)?)
            .await?;
        found
            .filter(|account| !account.organization && !account.robot)
            .ok_or_else(|| ManagementError::unknown("user", username))
    }

    /// One of the durations that the operator allows.
    pub(crate) fn tag_window_of(
        &self,
        seconds: Option<i64>,
    ) -> Result<Option<i64>, ManagementError> {
        let Some(seconds) = seconds else {
            return Ok(None);
        };
        let Some(allowed) = &self.options.tag_windows else {
            return Err(ManagementError::NotConfigured {
                key: "FEATURE_CHANGE_TAG_EXPIRATION",
            });
        };
        let fits = u64::try_from(seconds)
            .is_ok_and(|seconds| allowed.iter().any(|window| window.as_secs() == seconds));
        if fits {
            return Ok(Some(seconds));
        }
        let allowed: Vec<String> = allowed
            .iter()
            .map(|window| window.as_secs().to_string())
            .collect();
        Err(ManagementError::invalid(
            "tag_expiration_s",
            format!(
                "has to be one of the durations of TAG_EXPIRATION_OPTIONS, in seconds: {}",
                allowed.join(", ")
            ),
        ))
    }

    fn install_user_document(
        &self,
        account: AccountRecord,
        (quotas, quota_report): (Option<Vec<QuotaDocument>>, Option<QuotaReport>),
    ) -> InstallUserDocument {
        InstallUserDocument {
            kind: "user",
            avatar: Avatar::of_account(&account),
            name: account.username.clone(),
            email: account.email,
            verified: account.verified,
            super_user: self.is_superuser(&account.username),
            global_readonly_super_user: self.reads_all(&account.username),
            enabled: account.enabled,
            username: account.username,
            quotas,
            quota_report,
        }
    }

    async fn accounts(
        &self,
        organizations: bool,
        disabled: bool,
        after: Option<i32>,
        limit: u32,
    ) -> Result<(Vec<AccountRecord>, Option<String>), ManagementError> {
        let of = AccountsOf {
            organizations,
            disabled,
            after: after.map(UserId),
            limit: limit.saturating_add(1),
        };
        let mut accounts = self.database.accounts(of).await?;
        let more = accounts.len() > limit as usize;
        accounts.truncate(limit as usize);
        let next = accounts
            .last()
            .filter(|_| more)
            .map(|last| last.id.to_string());
        Ok((accounts, next))
    }

    /// Superusers do not change each other: only the operator, who is nobody to the log, does.
    fn refuse_superuser(
        &self,
        username: &str,
        deed: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        if actor.username().is_some() && self.is_superuser(username) {
            return Err(ManagementError::Refused {
                reason: format!("cannot {deed} a superuser"),
            });
        }
        Ok(())
    }
}

/// Where invoices go. An empty address takes it away.
pub(crate) fn invoice_address(address: Option<&str>) -> Result<Option<&str>, ManagementError> {
    forms::email("invoice_email_address", address)?;
    Ok(address)
}
