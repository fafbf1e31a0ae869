//! The permissions of repositories: of users and robots, and of teams.

use std::collections::BTreeMap;

use roadstead_metadata::{
    AccountPermission, Actor, ChangePermission, Grantee, PermissionChange, Repository,
    RepositoryRole, TeamPermission,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avatar::Avatar;
use crate::error::ManagementError;
use crate::management::{Management, WHOLE_LIST_MAX};
use crate::prototypes::RoleName;

/// A permission to be given.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ChangePermission")]
pub struct PermissionDocument {
    /// What it allows.
    pub role: RoleName,
}

/// A permission of a user or a robot.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserPermissionView {
    /// What it allows: `read`, `write` or `admin`.
    pub role: String,
    /// Whose it is.
    pub name: String,
    /// Whether that is a robot.
    pub is_robot: bool,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether it belongs to the organisation; not told in a user's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_org_member: Option<bool>,
}

/// A permission of a team.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TeamPermissionView {
    /// What it allows: `read`, `write` or `admin`.
    pub role: String,
    /// The team.
    pub name: String,
    /// What stands for it.
    pub avatar: Avatar,
}

/// The permissions of users and robots, by their names.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct UserPermissions {
    /// The permissions; at most 10,000.
    pub permissions: BTreeMap<String, UserPermissionView>,
}

/// The permissions of teams, by their names.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TeamPermissions {
    /// The permissions; at most 10,000.
    pub permissions: BTreeMap<String, TeamPermissionView>,
}

/// What somebody may do by all permissions together.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TransitivePermissions {
    /// The roles, each once.
    pub permissions: Vec<RoleView>,
}

/// A role.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RoleView {
    /// `read`, `write` or `admin`.
    pub role: String,
}

impl From<AccountPermission> for UserPermissionView {
    fn from(permission: AccountPermission) -> Self {
        Self {
            role: permission.role.name().to_owned(),
            avatar: Avatar::of_user(&permission.username, &permission.email, permission.robot),
            name: permission.username,
            is_robot: permission.robot,
            is_org_member: permission.in_organization,
        }
    }
}

impl From<TeamPermission> for TeamPermissionView {
    fn from(permission: TeamPermission) -> Self {
        Self {
            role: permission.role.name().to_owned(),
            avatar: Avatar::of_team(&permission.team),
            name: permission.team,
        }
    }
}

impl Management {
    /// Lists the permissions of users and robots.
    pub async fn permissions_of_users(
        &self,
        repository: &Repository,
    ) -> Result<UserPermissions, ManagementError> {
        let found = self
            .database
            .account_permissions(repository.id, None, WHOLE_LIST_MAX)
            .await?;
        Ok(UserPermissions {
            permissions: found
                .into_iter()
                .map(|one| (one.username.clone(), one.into()))
                .collect(),
        })
    }

    /// Lists the permissions of teams.
    pub async fn permissions_of_teams(
        &self,
        repository: &Repository,
    ) -> Result<TeamPermissions, ManagementError> {
        let found = self
            .database
            .team_permissions(repository.id, None, WHOLE_LIST_MAX)
            .await?;
        Ok(TeamPermissions {
            permissions: found
                .into_iter()
                .map(|one| (one.team.clone(), one.into()))
                .collect(),
        })
    }

    /// The permission of one user or robot.
    pub async fn user_permission(
        &self,
        repository: &Repository,
        username: &str,
    ) -> Result<UserPermissionView, ManagementError> {
        let found = self
            .database
            .account_permissions(repository.id, Some(username), 1)
            .await?;
        let found = found.into_iter().next();
        found
            .map(UserPermissionView::from)
            .ok_or_else(|| no_permission(username))
    }

    /// The permission of one team.
    pub async fn team_permission(
        &self,
        repository: &Repository,
        team: &str,
    ) -> Result<TeamPermissionView, ManagementError> {
        let found = self
            .database
            .team_permissions(repository.id, Some(team), 1)
            .await?;
        let found = found.into_iter().next();
        found
            .map(TeamPermissionView::from)
            .ok_or_else(|| no_permission(team))
    }

    /// What a user or robot may do by its own permission and by those of its teams.
    pub async fn transitive_permissions(
        &self,
        repository: &Repository,
        username: &str,
    ) -> Result<TransitivePermissions, ManagementError> {
        let mut roles = self
            .database
            .transitive_roles(repository.id, username)
            .await?;
        if roles.is_empty() {
            return Err(ManagementError::unknown("permission of", username));
        }
        roles.sort_unstable();
        Ok(TransitivePermissions {
            permissions: roles
                .into_iter()
                .map(|role| RoleView {
                    role: role.name().to_owned(),
                })
                .collect(),
        })
    }

    /// Gives a user or a robot a permission, or changes it.
    pub async fn set_user_permission(
        &self,
        repository: &Repository,
        username: &str,
        document: PermissionDocument,
        actor: &Actor,
    ) -> Result<UserPermissionView, ManagementError> {
        require_changeable(repository, username)?;
        self.change_permission(
            repository,
            Grantee::Account(username),
            Some(document.role.into()),
            actor,
        )
        .await?;
        self.user_permission(repository, username).await
    }

    /// Takes the permission of a user or a robot.
    pub async fn delete_user_permission(
        &self,
        repository: &Repository,
        username: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        require_changeable(repository, username)?;
        self.change_permission(repository, Grantee::Account(username), None, actor)
            .await
    }

    /// Gives a team of the organisation a permission, or changes it.
    pub async fn set_team_permission(
        &self,
        repository: &Repository,
        team: &str,
        document: PermissionDocument,
        actor: &Actor,
    ) -> Result<TeamPermissionView, ManagementError> {
        self.change_permission(
            repository,
            Grantee::Team(team),
            Some(document.role.into()),
            actor,
        )
        .await?;
        self.team_permission(repository, team).await
    }

    /// Takes the permission of a team.
    pub async fn delete_team_permission(
        &self,
        repository: &Repository,
        team: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        self.change_permission(repository, Grantee::Team(team), None, actor)
            .await
    }

    async fn change_permission(
        &self,
        repository: &Repository,
        grantee: Grantee<'_>,
        role: Option<RepositoryRole>,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let changed = self
            .database
            .change_permission(&ChangePermission {
                repository,
                grantee,
                role,
                actor,
                now: self.environment.now(),
            })
            .await?;
        let namespace = &repository.path.namespace;
        match (changed, grantee) {
            (PermissionChange::Changed, _) => Ok(()),
            (PermissionChange::NoPermission, Grantee::Account(name) | Grantee::Team(name)) => {
                Err(no_permission(name))
            }
            // Quay says so of every name that it does not know, with 400.
            (PermissionChange::NoGrantee, Grantee::Account(name)) => Err(ManagementError::invalid(
                "username",
                format!("is no user and no robot: `{name}`"),
            )),
            (PermissionChange::NoGrantee, Grantee::Team(name)) => Err(ManagementError::invalid(
                "teamname",
                format!("is no team of organization `{namespace}`: `{name}`"),
            )),
        }
    }
}

/// Quay's answer, with 400, where there is no permission to be shown or taken.
fn no_permission(name: &str) -> ManagementError {
    ManagementError::Refused {
        reason: format!("`{name}` has no permission of its own in this repository"),
    }
}

/// Whether the account can have a permission in the repository at all.
fn require_changeable(repository: &Repository, username: &str) -> Result<(), ManagementError> {
    let namespace = &repository.path.namespace;
    if username == namespace {
        return Err(ManagementError::Refused {
            reason: format!("`{namespace}` owns the namespace and administers everything in it"),
        });
    }
    match username.split_once('+') {
        Some((owner, _)) if owner != namespace => Err(ManagementError::Refused {
            reason: format!(
                "robot `{username}` belongs to `{owner}`, and only robots of `{namespace}` have permissions here"
            ),
        }),
        _ => Ok(()),
    }
}
