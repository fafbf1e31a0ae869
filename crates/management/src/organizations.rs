//! Organisations, their members and their teams.

use std::collections::BTreeMap;

use roadstead_metadata::{
    AccountChanges, AccountRecord, Actor, Belonging, GrantedRepository, NewOrganization,
    RepositoryRole, TeamRecord, TeamRole, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avatar::Avatar;
use crate::error::ManagementError;
use crate::forms::{self, NAME_PATTERN};
use crate::management::{Management, WHOLE_LIST_MAX, done};
use crate::quotas::{QuotaDocument, QuotaReport};
use crate::users::invoice_address;

/// The most characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 4096;

/// A new organisation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewOrganizationDocument {
    /// The name.
    #[schemars(length(min = 2, max = 255), regex(pattern = NAME_PATTERN))]
    pub name: String,
    /// The e-mail address.
    #[schemars(length(max = 254))]
    pub email: Option<String>,
    /// The same; it goes before the other.
    #[schemars(length(max = 254))]
    pub contact_email: Option<String>,
}

/// What is to be another in an organisation.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct OrganizationChanges {
    /// Another e-mail address; an empty one takes it away.
    #[schemars(length(max = 254))]
    pub email: Option<String>,
    /// The same; it goes before the other.
    #[schemars(length(max = 254))]
    pub contact_email: Option<String>,
    /// For how many seconds deleted tags are kept: one of the durations that the operator allows.
    #[schemars(range(min = 0))]
    pub tag_expiration_s: Option<i64>,
    /// Whether invoices are sent.
    pub invoice_email: Option<bool>,
    /// Where they are sent.
    #[schemars(length(max = 254))]
    pub invoice_email_address: Option<String>,
}

/// How much of an organisation somebody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Who looks.
    pub viewer: Option<UserId>,
    /// Whether they belong to it.
    pub member: bool,
    /// Whether they administer it, or see everything.
    pub admin: bool,
}

/// An organisation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct OrganizationDocument {
    /// The name.
    pub name: String,
    /// The e-mail address, for administrators; empty if there is none.
    pub email: String,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether the one who looks administers it.
    pub is_admin: bool,
    /// Whether the one who looks belongs to it.
    pub is_member: bool,
    /// Its teams by name, for members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teams: Option<BTreeMap<String, TeamInOrganization>>,
    /// Their names, oldest first, for members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordered_teams: Option<Vec<String>>,
    /// Whether invoices are sent, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice_email: Option<bool>,
    /// Where they are sent, for administrators.
    pub invoice_email_address: Option<String>,
    /// For how many seconds deleted tags are kept, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_expiration_s: Option<i64>,
    /// Whether nobody pays for it, for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_free_account: Option<bool>,
    /// Its quota, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Vec<QuotaDocument>>,
    /// What it holds, where quotas are managed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_report: Option<QuotaReport>,
}

/// A team, as its organisation shows it.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TeamInOrganization {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What its members may do in the organisation: `member`, `creator` or `admin`.
    pub role: &'static str,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether the one who looks may see its members.
    pub can_view: bool,
    /// How many repositories it has a role in.
    pub repo_count: i64,
    /// How many members it has.
    pub member_count: i64,
    /// Whether its members are those of a group elsewhere.
    pub is_synced: bool,
}

/// What a team is to be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct TeamChanges {
    /// What its members may do in the organisation.
    pub role: TeamRoleName,
    /// What it is for.
    #[schemars(length(max = 4096))]
    pub description: Option<String>,
}

/// What members of a team may do in their organisation.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TeamRoleName {
    /// What the permissions of single repositories say.
    Member,
    /// Make repositories too.
    Creator,
    /// Everything.
    Admin,
}

impl From<TeamRoleName> for TeamRole {
    fn from(name: TeamRoleName) -> Self {
        match name {
            TeamRoleName::Member => Self::Member,
            TeamRoleName::Creator => Self::Creator,
            TeamRoleName::Admin => Self::Admin,
        }
    }
}

/// A team.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TeamDocument {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether the one who looks may see its members.
    pub can_view: bool,
    /// What its members may do in the organisation: `member`, `creator` or `admin`.
    pub role: &'static str,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether it has just been made.
    pub new_team: bool,
}

/// The members of a team.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TeamMembers {
    /// The team's name.
    pub name: String,
    /// Its members, by name.
    pub members: Vec<TeamMember>,
    /// Whether the one who looks may change them.
    pub can_edit: bool,
}

/// A member of a team.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct TeamMember {
    /// The name.
    pub name: String,
    /// What it is: `user`.
    pub kind: &'static str,
    /// Whether it is a robot.
    pub is_robot: bool,
    /// What stands for it.
    pub avatar: Avatar,
    /// Whether it is only invited: false.
    pub invited: bool,
}

/// Roles in repositories.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct GrantedPermissions {
    /// Them, by the repositories' names.
    pub permissions: Vec<GrantedPermission>,
}

/// A role in a repository.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct GrantedPermission {
    /// The repository.
    pub repository: PermittedRepository,
    /// The role: `read`, `write` or `admin`.
    pub role: &'static str,
}

/// A repository that somebody has a role in.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct PermittedRepository {
    /// Its name, without the namespace.
    pub name: String,
    /// Whether everybody may pull from it.
    pub is_public: bool,
}

/// The members of an organisation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Members {
    /// People who are in its teams, by name.
    pub members: Vec<Member>,
}

/// Somebody who is in teams of an organisation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Member {
    /// The name.
    pub name: String,
    /// What it is: `user` or `robot`.
    pub kind: &'static str,
    /// What stands for it.
    pub avatar: Avatar,
    /// The teams.
    pub teams: Vec<MemberTeam>,
    /// The repositories that they have a role in of their own.
    pub repositories: Vec<String>,
}

/// A team that somebody is in.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct MemberTeam {
    /// Its name.
    pub name: String,
    /// What stands for it.
    pub avatar: Avatar,
}

/// Those who are in no team of an organisation but have a role in some of its repositories.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Collaborators {
    /// Them, by name.
    pub collaborators: Vec<Collaborator>,
}

/// Somebody who has a role in repositories of an organisation.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Collaborator {
    /// What it is: `user`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// What stands for it.
    pub avatar: Avatar,
    /// The repositories.
    pub repositories: Vec<String>,
}

impl Management {
    /// Makes an organisation that `owner` administers.
    pub async fn create_organization(
        &self,
        document: &NewOrganizationDocument,
        owner: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let name = forms::name("name", &document.name)?;
        let owner = forms::known("user", owner)?;
        let contact = forms::email("contact_email", document.contact_email.as_deref())?;
        let email = forms::email("email", document.email.as_deref())?;
        let new = NewOrganization {
            name,
            email: contact.or(email),
            owner,
            tag_window_s: self.tag_window_s(),
        };
        done(
            self.database
                .create_organization(&new, &self.change(actor))
                .await,
        )?;
        Ok(())
    }

    /// An organisation, as much of it as the one who looks may see.
    pub async fn organization(
        &self,
        name: &str,
        sight: Sight,
    ) -> Result<OrganizationDocument, ManagementError> {
        let organization = self.organization_account(name).await?;
        let sees = sight.member || sight.admin;
        let teams = if sees {
            let teams = self
                .database
                .teams(organization.id, sight.viewer, WHOLE_LIST_MAX)
                .await?;
            Some(teams)
        } else {
            None
        };
        let (quotas, quota_report) = if sees {
            self.quota_members(organization.id).await?
        } else {
            (None, None)
        };
        let avatar = Avatar::of_account(&organization);
        let admin = |value| sight.admin.then_some(value);
        // Accounts without an address have an identifier in its place.
        let email = forms::email("email", Some(&organization.email))
            .ok()
            .flatten()
            .filter(|_| sight.admin)
            .unwrap_or_default()
            .to_owned();
        Ok(OrganizationDocument {
            email,
            avatar,
            is_admin: sight.admin,
            is_member: sees,
            ordered_teams: teams
                .as_ref()
                .map(|teams| teams.iter().map(|team| team.name.clone()).collect()),
            teams: teams.map(|teams| {
                let shown = teams.into_iter().map(|team| team_in(team, sight.admin));
                shown.map(|team| (team.name.clone(), team)).collect()
            }),
            invoice_email: admin(organization.invoice_email),
            tag_expiration_s: sight.admin.then_some(organization.tag_window_s),
            is_free_account: admin(organization.free),
            invoice_email_address: organization.invoice_email_address.filter(|_| sight.admin),
            quotas,
            quota_report,
            name: organization.username,
        })
    }

    /// Changes an organisation.
    pub async fn change_organization(
        &self,
        name: &str,
        document: &OrganizationChanges,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let organization = self.organization_account(name).await?;
        let (contact, email) = (document.contact_email.as_deref(), document.email.as_deref());
        forms::email("contact_email", contact)?;
        forms::email("email", email)?;
        let changes = AccountChanges {
            email: contact.or(email),
            tag_window_s: self.tag_window_of(document.tag_expiration_s)?,
            invoice_email: document.invoice_email,
            invoice_email_address: invoice_address(document.invoice_email_address.as_deref())?,
            ..AccountChanges::default()
        };
        self.change_account(&organization.username, &changes, actor)
            .await
    }

    /// Deletes an organisation with everything in it. The name is not free before all of that is gone.
    pub async fn delete_organization(
        &self,
        name: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let name = forms::known("organization", name)?;
        done(
            self.database
                .delete_account(name, true, &self.change(actor))
                .await,
        )
    }

    /// The people who are in teams of an organisation.
    pub async fn members(&self, name: &str) -> Result<Members, ManagementError> {
        let members = self.belonging(name, None).await?;
        let members = members
            .into_values()
            .filter(|member| !member.teams.is_empty() && member.kind == "user")
            .collect();
        Ok(Members { members })
    }

    /// Somebody who is in teams of an organisation, or a robot of it.
    pub async fn member(&self, name: &str, member: &str) -> Result<Member, ManagementError> {
        let member = forms::known("member", member)?;
        let found = self.belonging(name, Some(member)).await?.remove(member);
        if let Some(found) = found
            && (!found.teams.is_empty() || found.kind == "robot")
        {
            return Ok(found);
        }
        let own_robot = member
            .split_once('+')
            .is_some_and(|(owner, _)| owner == name);
        let robot = if own_robot {
            self.database.account(member).await?
        } else {
            None
        };
        robot
            .map(|robot| member_of(&robot))
            .ok_or_else(|| ManagementError::unknown("member", member))
    }

    /// Takes somebody out of every team and every repository of an organisation.
    pub async fn remove_member(
        &self,
        name: &str,
        member: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let name = forms::known("organization", name)?;
        let member = forms::known("user", member)?;
        done(
            self.database
                .remove_member(name, member, &self.change(actor))
                .await,
        )
    }

    /// Those who are in no team of an organisation but have a role in some of its repositories.
    pub async fn collaborators(&self, name: &str) -> Result<Collaborators, ManagementError> {
        let found = self.belonging(name, None).await?;
        let collaborators = found
            .into_values()
            .filter(|member| member.teams.is_empty())
            .map(|member| Collaborator {
                kind: "user",
                name: member.name,
                avatar: member.avatar,
                repositories: member.repositories,
            })
            .collect();
        Ok(Collaborators { collaborators })
    }

    /// Makes a team, or changes it.
    pub async fn put_team(
        &self,
        organization: &str,
        team: &str,
        document: &TeamChanges,
        actor: &Actor,
    ) -> Result<TeamDocument, ManagementError> {
        let organization = self.organization_account(organization).await?;
        let description = forms::optional(
            "description",
            document.description.as_deref(),
            DESCRIPTION_CHARS_MAX,
        )?;
        let known = self
            .database
            .find_team(&organization.username, forms::known("team", team)?)
            .await?;
        if known.is_none() {
            forms::name("teamname", team)?;
        }
        let role = TeamRole::from(document.role);
        let (id, new_team) = done(
            self.database
                .put_team(
                    &organization.username,
                    team,
                    role,
                    description,
                    &self.change(actor),
                )
                .await,
        )?;
        let teams = self
            .database
            .teams(organization.id, None, WHOLE_LIST_MAX)
            .await?;
        let stored = teams.into_iter().find(|team| team.id == id);
        Ok(TeamDocument {
            name: team.to_owned(),
            description: stored.map_or_else(String::new, |team| team.description),
            can_view: true,
            role: role.as_str(),
            avatar: Avatar::of_team(team),
            new_team,
        })
    }

    /// Removes a team, with its roles in repositories.
    pub async fn delete_team(
        &self,
        organization: &str,
        team: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let organization = forms::known("organization", organization)?;
        let team = forms::known("team", team)?;
        done(
            self.database
                .delete_team(organization, team, &self.change(actor))
                .await,
        )
    }

    /// The members of a team.
    pub async fn team_members(
        &self,
        organization: &str,
        team: &str,
        can_edit: bool,
    ) -> Result<TeamMembers, ManagementError> {
        let id = self.team(organization, team).await?;
        let members = self.database.team_members(id, WHOLE_LIST_MAX).await?;
        Ok(TeamMembers {
            name: team.to_owned(),
            members: members.iter().map(team_member).collect(),
            can_edit,
        })
    }

    /// Takes a person, or a robot of the organisation, into a team.
    pub async fn add_team_member(
        &self,
        organization: &str,
        team: &str,
        member: &str,
        actor: &Actor,
    ) -> Result<TeamMember, ManagementError> {
        let organization = forms::known("organization", organization)?;
        let team = forms::known("team", team)?;
        let member = forms::known("user", member)?;
        done(
            self.database
                .add_team_member(organization, team, member, &self.change(actor))
                .await,
        )?;
        let account = self.database.account(member).await?;
        account
            .as_ref()
            .map(team_member)
            .ok_or_else(|| ManagementError::unknown("user", member))
    }

    /// Takes somebody out of a team.
    pub async fn remove_team_member(
        &self,
        organization: &str,
        team: &str,
        member: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let organization = forms::known("organization", organization)?;
        let team = forms::known("team", team)?;
        let member = forms::known("user", member)?;
        done(
            self.database
                .remove_team_member(organization, team, member, &self.change(actor))
                .await,
        )
    }

    /// In which repositories a team has which role.
    pub async fn team_permissions(
        &self,
        organization: &str,
        team: &str,
    ) -> Result<GrantedPermissions, ManagementError> {
        let id = self.team(organization, team).await?;
        let granted = self.database.team_repositories(id, WHOLE_LIST_MAX).await?;
        Ok(granted_permissions(granted))
    }

    async fn team(
        &self,
        organization: &str,
        team: &str,
    ) -> Result<roadstead_metadata::TeamId, ManagementError> {
        let organization = forms::known("organization", organization)?;
        let team = forms::known("team", team)?;
        let found = self.database.find_team(organization, team).await?;
        found.ok_or_else(|| ManagementError::unknown("team", team))
    }

    /// The account of an organisation.
    pub(crate) async fn organization_account(
        &self,
        name: &str,
    ) -> Result<AccountRecord, ManagementError> {
        let found = self
            .database
            .account(forms::known("organization", name)?)
            .await?;
        found
            .filter(|account| account.organization)
            .ok_or_else(|| ManagementError::unknown("organization", name))
    }

    /// Who has to do with an organisation, by name.
    async fn belonging(
        &self,
        name: &str,
        only: Option<&str>,
    ) -> Result<BTreeMap<String, Member>, ManagementError> {
        let organization = self.organization_account(name).await?;
        let found = self
            .database
            .belongings(organization.id, only, WHOLE_LIST_MAX)
            .await?;
        let mut members: BTreeMap<String, Member> = BTreeMap::new();
        for Belonging {
            account,
            team,
            repository,
        } in found
        {
            let member = members
                .entry(account.username.clone())
                .or_insert_with(|| member_of(&account));
            member.teams.extend(team.map(|name| MemberTeam {
                avatar: Avatar::of_team(&name),
                name,
            }));
            member.repositories.extend(repository);
        }
        Ok(members)
    }
}

fn member_of(account: &AccountRecord) -> Member {
    Member {
        name: account.username.clone(),
        kind: if account.robot { "robot" } else { "user" },
        avatar: Avatar::of_account(account),
        teams: Vec::new(),
        repositories: Vec::new(),
    }
}

fn team_member(account: &AccountRecord) -> TeamMember {
    TeamMember {
        name: account.username.clone(),
        kind: "user",
        is_robot: account.robot,
        avatar: Avatar::of_account(account),
        invited: false,
    }
}

fn team_in(team: TeamRecord, all: bool) -> TeamInOrganization {
    TeamInOrganization {
        avatar: Avatar::of_team(&team.name),
        can_view: all || team.includes_viewer,
        role: team.role.as_str(),
        repo_count: team.repositories,
        member_count: team.members,
        is_synced: team.synced,
        name: team.name,
        description: team.description,
    }
}

pub(crate) const fn role_name(role: RepositoryRole) -> &'static str {
    match role {
        RepositoryRole::Read => "read",
        RepositoryRole::Write => "write",
        RepositoryRole::Admin => "admin",
    }
}

pub(crate) fn granted_permissions(granted: Vec<GrantedRepository>) -> GrantedPermissions {
    let permissions = granted
        .into_iter()
        .map(|granted| GrantedPermission {
            repository: PermittedRepository {
                name: granted.name,
                is_public: granted.public,
            },
            role: role_name(granted.role),
        })
        .collect();
    GrantedPermissions { permissions }
}
