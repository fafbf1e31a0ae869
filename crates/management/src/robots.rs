//! Robots of organisations and people, and their tokens.

use std::collections::HashMap;

use roadstead_metadata::{Actor, NewRobot, RobotPlace, RobotRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::avatar::Avatar;
use crate::error::ManagementError;
use crate::forms::{self, Moment, Shown};
use crate::management::{Management, WHOLE_LIST_MAX, done};
use crate::organizations::{GrantedPermissions, MemberTeam, granted_permissions};

/// The length of a robot's token, Quay's.
const TOKEN_LETTERS: usize = 64;

/// The most characters of a description, the column's.
const DESCRIPTION_CHARS_MAX: usize = 255;

/// The most bytes of what is noted of a robot, as JSON.
const METADATA_BYTES_MAX: usize = 16 << 10;

/// What is said of a new robot.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct NewRobotDocument {
    /// What it is for.
    #[schemars(length(max = 255))]
    pub description: Option<String>,
    /// What else is to be noted of it: at most 16 KiB.
    pub unstructured_metadata: Option<Map<String, Value>>,
}

/// What of a robot is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RobotSight {
    /// Its token, for those who administer its owner.
    pub token: bool,
    /// In which teams and repositories it is.
    pub permissions: bool,
}

/// A robot.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RobotDocument {
    /// Its name, `owner+short`.
    pub name: String,
    /// When it was made.
    pub created: Option<Moment>,
    /// When it was used last, as far as that has been noted.
    pub last_accessed: Option<Moment>,
    /// What it is for.
    pub description: String,
    /// Its token, for those who may see it; missing where it cannot be decrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Shown>,
    /// What else is noted of it.
    pub unstructured_metadata: Map<String, Value>,
}

/// Robots.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Robots {
    /// Them, by name.
    pub robots: Vec<RobotInList>,
}

/// A robot in a list.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct RobotInList {
    /// Its name, `owner+short`.
    pub name: String,
    /// When it was made.
    pub created: Option<Moment>,
    /// When it was used last, as far as that has been noted.
    pub last_accessed: Option<Moment>,
    /// The teams that it is in, if that was asked.
    pub teams: Vec<MemberTeam>,
    /// The repositories that it has a role in of its own, if that was asked.
    pub repositories: Vec<String>,
    /// What it is for.
    pub description: String,
    /// Its token, for those who may see it; missing where it cannot be decrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Shown>,
}

impl Management {
    /// The robots of a namespace. At most `limit`.
    pub async fn robots(
        &self,
        owner: &str,
        sight: RobotSight,
        limit: u32,
    ) -> Result<Robots, ManagementError> {
        let owner = forms::known("namespace", owner)?;
        let robots = self
            .database
            .robots(owner, limit.min(WHOLE_LIST_MAX))
            .await?;
        let mut places: HashMap<String, Vec<RobotPlace>> = HashMap::new();
        if sight.permissions {
            let ids: Vec<_> = robots.iter().map(|robot| robot.id).collect();
            for place in self.database.robot_places(ids, WHOLE_LIST_MAX).await? {
                places.entry(place.robot.clone()).or_default().push(place);
            }
        }
        let robots = robots
            .into_iter()
            .map(|robot| {
                let places = places.remove(&robot.username).unwrap_or_default();
                let (mut teams, mut repositories) = (Vec::new(), Vec::new());
                for place in places {
                    teams.extend(place.team.map(|name| MemberTeam {
                        avatar: Avatar::of_team(&name),
                        name,
                    }));
                    repositories.extend(place.repository);
                }
                RobotInList {
                    token: sight.token.then(|| self.token_of(&robot)).flatten(),
                    created: robot.created.map(Moment),
                    last_accessed: robot.last_used.map(Moment),
                    teams,
                    repositories,
                    name: robot.username,
                    description: robot.description,
                }
            })
            .collect();
        Ok(Robots { robots })
    }

    /// A robot. `token`: whether the asker may see its token.
    pub async fn robot(
        &self,
        owner: &str,
        short: &str,
        token: bool,
    ) -> Result<RobotDocument, ManagementError> {
        let robot = self.robot_record(owner, short).await?;
        let token = token.then(|| self.token_of(&robot)).flatten();
        Ok(RobotDocument {
            created: robot.created.map(Moment),
            last_accessed: robot.last_used.map(Moment),
            unstructured_metadata: serde_json::from_str(&robot.metadata).unwrap_or_default(),
            name: robot.username,
            description: robot.description,
            token,
        })
    }

    /// Makes a robot with a token.
    pub async fn create_robot(
        &self,
        owner: &str,
        short: &str,
        document: &NewRobotDocument,
        actor: &Actor,
    ) -> Result<RobotDocument, ManagementError> {
        let owner = forms::known("namespace", owner)?;
        let short = forms::name("robot_shortname", short)?;
        if owner.len() + 1 + short.len() > 255 {
            return Err(ManagementError::invalid(
                "robot_shortname",
                "is too long: with the owner's name a robot's has at most 255 characters",
            ));
        }
        if !self.authenticator.options().robots {
            return Err(ManagementError::Refused {
                reason: "robots are switched off by ROBOTS_DISALLOW; ask the operator".to_owned(),
            });
        }
        let description = forms::text(
            "description",
            document.description.as_deref().unwrap_or_default(),
            DESCRIPTION_CHARS_MAX,
        )?;
        let metadata = Value::Object(document.unstructured_metadata.clone().unwrap_or_default());
        let written = metadata.to_string();
        if written.len() > METADATA_BYTES_MAX {
            return Err(ManagementError::invalid(
                "unstructured_metadata",
                format!("has more than {METADATA_BYTES_MAX} bytes as JSON"),
            ));
        }
        let token = self.authenticator.draw_secret(TOKEN_LETTERS);
        let encrypted = self.encrypted(&token)?;
        let new = NewRobot {
            owner,
            short,
            token: &encrypted,
            description,
            metadata: &metadata,
        };
        done(self.database.create_robot(&new, &self.change(actor)).await)?;
        self.robot(owner, short, true).await
    }

    /// Removes a robot, with its roles.
    pub async fn delete_robot(
        &self,
        owner: &str,
        short: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let owner = forms::known("namespace", owner)?;
        let short = forms::known("robot", short)?;
        done(
            self.database
                .delete_robot(owner, short, &self.change(actor))
                .await,
        )
    }

    /// Gives a robot another token. The one that it had ends.
    pub async fn regenerate_robot(
        &self,
        owner: &str,
        short: &str,
        actor: &Actor,
    ) -> Result<RobotDocument, ManagementError> {
        let owner = forms::known("namespace", owner)?;
        let short = forms::known("robot", short)?;
        let token = self.authenticator.draw_secret(TOKEN_LETTERS);
        let encrypted = self.encrypted(&token)?;
        done(
            self.database
                .regenerate_robot(owner, short, &encrypted, &self.change(actor))
                .await,
        )?;
        self.robot(owner, short, true).await
    }

    /// In which repositories a robot has which role of its own.
    pub async fn robot_permissions(
        &self,
        owner: &str,
        short: &str,
    ) -> Result<GrantedPermissions, ManagementError> {
        let robot = self.robot_record(owner, short).await?;
        let granted = self
            .database
            .robot_repositories(robot.id, WHOLE_LIST_MAX)
            .await?;
        Ok(granted_permissions(granted))
    }

    async fn robot_record(&self, owner: &str, short: &str) -> Result<RobotRecord, ManagementError> {
        let owner = forms::known("namespace", owner)?;
        let short = forms::known("robot", short)?;
        let found = self.database.robot(owner, short).await?;
        found.ok_or_else(|| ManagementError::unknown("robot", format!("{owner}+{short}")))
    }

    fn token_of(&self, robot: &RobotRecord) -> Option<Shown> {
        let token = robot.token.as_deref()?;
        self.decrypted(token)
    }
}
