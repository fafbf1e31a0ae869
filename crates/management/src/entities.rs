//! Looking for people, robots and teams by how their names begin.

use schemars::JsonSchema;
use serde::Serialize;

use crate::avatar::Avatar;
use crate::error::ManagementError;
use crate::management::{Management, WHOLE_LIST_MAX};

/// The most accounts that a search gives.
const FOUND_MAX: u32 = 10;

/// What a search for people, robots and teams found.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Entities {
    /// What was found: teams, then people and robots, then the organisation.
    pub results: Vec<Entity>,
}

/// Somebody or a team.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Entity {
    /// The name.
    pub name: String,
    /// What it is: `user`, `team` or `org`.
    pub kind: &'static str,
    /// Whether it is a robot; of people and robots only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_robot: Option<bool>,
    /// Whether it belongs to the organisation that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_org_member: Option<bool>,
    /// What stands for it.
    pub avatar: Avatar,
}

/// What a search looks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct EntitySearch<'a> {
    /// How the names begin.
    pub prefix: &'a str,
    /// The namespace whose robots and teams are looked through too, if the asker may see them.
    pub namespace: Option<&'a str>,
    /// Whether teams are wanted.
    pub teams: bool,
    /// Whether the organisation itself is wanted.
    pub organization: bool,
}

impl Management {
    /// Looks for people, robots and teams: at most ten of each.
    pub async fn entities(&self, search: EntitySearch<'_>) -> Result<Entities, ManagementError> {
        let prefix = search.prefix.replace(' ', "").to_lowercase();
        let mut results = Vec::new();
        let mut organization = None;
        if let Some(namespace) = search.namespace {
            let found = self.database.account(namespace).await?;
            organization = found.filter(|account| account.organization);
        }
        if let Some(organization) = organization.as_ref().filter(|_| search.teams) {
            let teams = self
                .database
                .teams(organization.id, None, WHOLE_LIST_MAX)
                .await?;
            let fitting = teams
                .into_iter()
                .filter(|team| team.name.starts_with(&prefix));
            results.extend(fitting.take(FOUND_MAX as usize).map(|team| Entity {
                avatar: Avatar::of_team(&team.name),
                name: team.name,
                kind: "team",
                is_robot: None,
                is_org_member: Some(true),
            }));
        }
        let accounts = self
            .database
            .accounts_like(&prefix, search.namespace, FOUND_MAX)
            .await?;
        let members = match &organization {
            Some(organization) => {
                let ids = accounts.iter().map(|account| account.id);
                self.database.members_among(organization.id, ids).await?
            }
            None => Vec::new(),
        };
        results.extend(accounts.into_iter().map(|account| {
            Entity {
                avatar: Avatar::of_account(&account),
                is_org_member: organization
                    .as_ref()
                    .map(|_| account.robot || members.contains(&account.id)),
                is_robot: Some(account.robot),
                name: account.username,
                kind: "user",
            }
        }));
        if let Some(organization) = organization
            && search.organization
            && organization.username.starts_with(&prefix)
        {
            results.push(Entity {
                avatar: Avatar::of_account(&organization),
                name: organization.username,
                kind: "org",
                is_robot: None,
                is_org_member: Some(true),
            });
        }
        Ok(Entities { results })
    }
}
