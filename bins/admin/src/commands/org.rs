//! `admin org`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use roadstead_management::{NewOrganizationDocument, OrganizationDocument, Sight};
use serde_json::json;

use super::accounts::{agreed, operator, print_json};
use crate::console::Console;
use crate::open::Opened;
use crate::table::table;

/// How many organisations are asked for at a time.
const PAGE: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an organisation that somebody administers
    Create(CreateArguments),
    /// List the organisations
    List(ListArguments),
    /// Show an organisation with its teams
    Show(ShowArguments),
    /// Take a person, or a robot of the organisation, into one of its teams
    AddMember(AddMemberArguments),
    /// Delete an organisation with every repository of it
    Delete(DeleteArguments),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CreateArguments {
    /// The name: 2 to 255 lower-case letters and digits, with single `.`, `_` or `-` between them
    pub(crate) name: String,
    /// The user who administers it
    #[arg(long, value_name = "USER")]
    pub(crate) owner: String,
    /// The e-mail address
    #[arg(long)]
    pub(crate) email: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ListArguments {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ShowArguments {
    /// The name
    pub(crate) name: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct AddMemberArguments {
    /// The organisation
    pub(crate) name: String,
    /// The person, or the robot
    pub(crate) member: String,
    /// The team
    #[arg(long, default_value = "owners")]
    pub(crate) team: String,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArguments {
    /// The name
    pub(crate) name: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// What the operator sees: everything.
const EVERYTHING: Sight = Sight {
    viewer: None,
    member: true,
    admin: true,
};

pub(crate) async fn run(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let management = &opened.management;
    match command {
        Command::Create(arguments) => {
            let new = NewOrganizationDocument {
                name: arguments.name.clone(),
                email: arguments.email.clone(),
                contact_email: None,
            };
            management
                .create_organization(&new, &arguments.owner, &operator())
                .await?;
            console.line(&format!("created: organization {}", arguments.name));
        }
        Command::List(arguments) => return list(arguments, opened, console).await,
        Command::Show(arguments) => {
            let shown = management.organization(&arguments.name, EVERYTHING).await?;
            if arguments.json {
                print_json(&shown, console)?;
            } else {
                print(&shown, console);
            }
        }
        Command::AddMember(arguments) => {
            let (name, team) = (&arguments.name, &arguments.team);
            management
                .add_team_member(name, team, &arguments.member, &operator())
                .await?;
            console.line(&format!(
                "added: {} to team {team} of organization {name}",
                arguments.member
            ));
        }
        Command::Delete(arguments) => {
            let shown = management.organization(&arguments.name, EVERYTHING).await?;
            let question = format!(
                "Delete the organization {} with every repository of it?",
                shown.name
            );
            if !agreed(arguments.yes, &question, console)? {
                return Ok(ExitCode::FAILURE);
            }
            management
                .delete_organization(&arguments.name, &operator())
                .await?;
            console.line(&format!("deleted: organization {}", arguments.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    arguments: &ListArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let mut organizations = Vec::new();
    let mut after = None;
    loop {
        let page = opened.management.install_organizations(after, PAGE).await?;
        organizations.extend(page.organizations);
        after = page.next_page.and_then(|next| next.parse().ok());
        if after.is_none() {
            break;
        }
    }
    if arguments.json {
        print_json(&json!({ "organizations": organizations }), console)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = organizations
        .iter()
        .map(|one| [one.name.clone(), one.email.clone()])
        .collect();
    for line in table(["name", "e-mail"], &rows) {
        console.line(&line);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(organization: &OrganizationDocument, console: &mut Console) {
    console.line(&format!("organization: {}", organization.name));
    if !organization.email.is_empty() {
        console.line(&format!("e-mail: {}", organization.email));
    }
    let teams = organization.teams.iter().flatten();
    let rows: Vec<_> = teams
        .map(|(name, team)| {
            [
                name.clone(),
                team.role.to_owned(),
                team.member_count.to_string(),
                team.repo_count.to_string(),
            ]
        })
        .collect();
    for line in table(["team", "role", "members", "repositories"], &rows) {
        console.line(&line);
    }
}
