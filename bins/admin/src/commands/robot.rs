//! `admin robot`.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use roadstead_management::{NewRobotDocument, RobotDocument, RobotSight};

use super::accounts::{agreed, operator, print_json};
use crate::console::Console;
use crate::open::Opened;
use crate::table::table;

/// The most robots of a list.
const LIST_MAX: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a robot, and print its token
    Create(CreateArguments),
    /// List the robots of a user or an organisation, without their tokens
    List(ListArguments),
    /// Show a robot, with its token
    Show(RobotArguments),
    /// Give a robot another token, and print it; the one that it had ends
    Regenerate(RobotArguments),
    /// Delete a robot, with its roles
    Delete(DeleteArguments),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CreateArguments {
    /// The robot, as `owner+name`
    pub(crate) robot: String,
    /// What it is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ListArguments {
    /// The user or the organisation
    pub(crate) owner: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct RobotArguments {
    /// The robot, as `owner+name`
    pub(crate) robot: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArguments {
    /// The robot, as `owner+name`
    pub(crate) robot: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

pub(crate) async fn run(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let management = &opened.management;
    match command {
        Command::Create(arguments) => {
            let (owner, short) = named(&arguments.robot)?;
            let new = NewRobotDocument {
                description: arguments.description.clone(),
                unstructured_metadata: None,
            };
            let robot = management
                .create_robot(owner, short, &new, &operator())
                .await?;
            print("created", &robot, arguments.json, console)?;
        }
        Command::List(arguments) => {
            let sight = RobotSight {
                token: false,
                permissions: true,
            };
            let robots = management.robots(&arguments.owner, sight, LIST_MAX).await?;
            if arguments.json {
                print_json(&robots, console)?;
                return Ok(ExitCode::SUCCESS);
            }
            let moment = |moment: Option<roadstead_management::Moment>| {
                moment.map_or_else(|| "-".to_owned(), |moment| moment.to_string())
            };
            let rows: Vec<_> = robots
                .robots
                .iter()
                .map(|robot| {
                    [
                        robot.name.clone(),
                        moment(robot.last_accessed),
                        robot.repositories.len().to_string(),
                        robot.description.clone(),
                    ]
                })
                .collect();
            for line in table(["robot", "last used", "repositories", "description"], &rows) {
                console.line(&line);
            }
        }
        Command::Show(arguments) => {
            let (owner, short) = named(&arguments.robot)?;
            let robot = management.robot(owner, short, true).await?;
            print("robot", &robot, arguments.json, console)?;
        }
        Command::Regenerate(arguments) => {
            let (owner, short) = named(&arguments.robot)?;
            let robot = management
                .regenerate_robot(owner, short, &operator())
                .await?;
            print("changed", &robot, arguments.json, console)?;
        }
        Command::Delete(arguments) => {
            let (owner, short) = named(&arguments.robot)?;
            let robot = management.robot(owner, short, false).await?;
            let question = format!("Delete the robot {}?", robot.name);
            if !agreed(arguments.yes, &question, console)? {
                return Ok(ExitCode::FAILURE);
            }
            management.delete_robot(owner, short, &operator()).await?;
            console.line(&format!("deleted: robot {}", robot.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn named(robot: &str) -> anyhow::Result<(&str, &str)> {
    robot
        .split_once('+')
        .context("a robot is named as `owner+name`, such as `acme+ci`")
}

fn print(
    deed: &str,
    robot: &RobotDocument,
    json: bool,
    console: &mut Console,
) -> anyhow::Result<()> {
    if json {
        return print_json(robot, console);
    }
    console.line(&format!("{deed}: {}", robot.name));
    match &robot.token {
        Some(token) => console.line(&format!("token: {}", token.expose())),
        None => console.note("its token cannot be shown: it was encrypted under another DATABASE_SECRET_KEY, or there is none"),
    }
    Ok(())
}
