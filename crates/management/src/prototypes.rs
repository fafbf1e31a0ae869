//! Default permissions: the roles that people, robots and teams get in every new repository of an organisation.

use roadstead_metadata::{AccountRecord, Actor, Delegate, PrototypeRecord, RepositoryRole};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avatar::Avatar;
use crate::error::ManagementError;
use crate::forms;
use crate::management::{Management, WHOLE_LIST_MAX, done};
use crate::organizations::role_name;

/// A role in repositories.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Pull.
    Read,
    /// Push.
    Write,
    /// Everything.
    Admin,
}

impl From<RoleName> for RepositoryRole {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Read => Self::Read,
            RoleName::Write => Self::Write,
            RoleName::Admin => Self::Admin,
        }
    }
}

/// A new default permission.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewPrototype {
    /// The role.
    pub role: RoleName,
    /// Whose new repositories it is for; without: everybody's.
    pub activating_user: Option<ActivatingUser>,
    /// Who gets the role.
    pub delegate: NewDelegate,
}

/// Whose new repositories something is for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ActivatingUser {
    /// The name of a person or a robot.
    #[schemars(length(min = 1, max = 511))]
    pub name: String,
}

/// Who gets a role.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewDelegate {
    /// The name.
    #[schemars(length(min = 1, max = 511))]
    pub name: String,
    /// What it is.
    pub kind: DelegateKind,
}

/// What may get a role.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DelegateKind {
    /// A person or a robot.
    User,
    /// A team of the organisation.
    Team,
}

/// Another role for a default permission.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub struct PrototypeChanges {
    /// The role.
    pub role: RoleName,
}

/// The default permissions of an organisation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Prototypes {
    /// Them, oldest first.
    pub prototypes: Vec<PrototypeDocument>,
}

/// A default permission.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PrototypeDocument {
    /// Whose new repositories it is for; null: everybody's.
    pub activating_user: Option<DelegateDocument>,
    /// Who gets the role.
    pub delegate: DelegateDocument,
    /// The role: `read`, `write` or `admin`.
    pub role: &'static str,
    /// Its identifier.
    pub id: String,
}

/// Somebody or a team that gets a role.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct DelegateDocument {
    /// The name.
    pub name: String,
    /// What it is: `user` or `team`.
    pub kind: &'static str,
    /// Whether it is a robot; not of teams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_robot: Option<bool>,
    /// Whether it belongs to the organisation; not of teams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_org_member: Option<bool>,
    /// What stands for it.
    pub avatar: Avatar,
}

impl Management {
    /// The default permissions of an organisation.
    pub async fn prototypes(&self, organization: &str) -> Result<Prototypes, ManagementError> {
        let organization = self.organization_account(organization).await?;
        let found = self
            .database
            .prototypes(organization.id, WHOLE_LIST_MAX)
            .await?;
        Ok(Prototypes {
            prototypes: found.into_iter().map(document).collect(),
        })
    }

    /// Makes a default permission. Repositories that are there do not change.
    pub async fn create_prototype(
        &self,
        organization: &str,
        new: &NewPrototype,
        actor: &Actor,
    ) -> Result<PrototypeDocument, ManagementError> {
        let name = forms::known("organization", organization)?;
        let maker = match &new.activating_user {
            Some(maker) => Some(forms::known("user", &maker.name)?),
            None => None,
        };
        let delegate = match new.delegate.kind {
            DelegateKind::User => {
                Delegate::User(forms::known("user", &new.delegate.name)?.to_owned())
            }
            DelegateKind::Team => {
                Delegate::Team(forms::known("team", &new.delegate.name)?.to_owned())
            }
        };
        let uuid = done(
            self.database
                .create_prototype(name, maker, &delegate, new.role.into(), &self.change(actor))
                .await,
        )?;
        self.prototype(name, &uuid).await
    }

    /// Gives a default permission another role.
    pub async fn change_prototype(
        &self,
        organization: &str,
        uuid: &str,
        changes: PrototypeChanges,
        actor: &Actor,
    ) -> Result<PrototypeDocument, ManagementError> {
        let name = forms::known("organization", organization)?;
        let uuid = forms::known("default permission", uuid)?;
        done(
            self.database
                .change_prototype(name, uuid, changes.role.into(), &self.change(actor))
                .await,
        )?;
        self.prototype(name, uuid).await
    }

    /// Removes a default permission. Repositories that are there do not change.
    pub async fn delete_prototype(
        &self,
        organization: &str,
        uuid: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let name = forms::known("organization", organization)?;
        let uuid = forms::known("default permission", uuid)?;
        done(
            self.database
                .delete_prototype(name, uuid, &self.change(actor))
                .await,
        )
    }

    async fn prototype(
        &self,
        organization: &str,
        uuid: &str,
    ) -> Result<PrototypeDocument, ManagementError> {
        let all = self.prototypes(organization).await?;
        let found = all
            .prototypes
            .into_iter()
            .find(|prototype| prototype.id == uuid);
        found.ok_or_else(|| ManagementError::unknown("default permission", uuid))
    }
}

fn document(prototype: PrototypeRecord) -> PrototypeDocument {
    PrototypeDocument {
        activating_user: prototype.maker.map(account_document),
        delegate: match prototype.delegate {
            Delegate::User(account) => account_document(account),
            Delegate::Team(name) => DelegateDocument {
                avatar: Avatar::of_team(&name),
                name,
                kind: "team",
                is_robot: None,
                is_org_member: None,
            },
        },
        role: role_name(prototype.role),
        id: prototype.uuid,
    }
}

fn account_document((account, member): (AccountRecord, bool)) -> DelegateDocument {
    DelegateDocument {
        avatar: Avatar::of_account(&account),
        name: account.username,
        kind: "user",
        is_robot: Some(account.robot),
        is_org_member: Some(member),
    }
}
