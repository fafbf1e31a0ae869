//! `admin`: what an operator does to a registry from the command line. The work itself is `roadstead_replication`'s.
//!
//! Standard output has what scripts read: Quay's lines where Quay has the command, tables and JSON elsewhere. Everything else,
//! progress, hints and errors, goes to standard error. Exit status 0: done, and for `replication status` nothing is missing;
//! 1: failed, refused, or something is missing; 2: the command line cannot be understood.

mod commands;
mod console;
mod open;
mod table;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use roadstead_cli::{ConfigurationArgs, LogArgs, failed};
use roadstead_runtime::Environment;

use crate::commands::{
    backfill, config, drain, gc, location_add, location_list, org, placement, remove_location,
    replication_at_risk, replication_control, replication_failed, replication_status,
    replication_webhook, robot, site, token, user, verify_placements,
};
use crate::console::Console;
use crate::open::Opened;

/// Operates a registry: what is missing or damaged where, backfill, removal of a location, garbage
#[derive(Debug, Parser)]
#[command(name = "admin", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    configuration: ConfigurationArgs,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Queue the copy of every blob that a location lacks, as Quay's util.backfillreplication does
    ///
    /// Prints one line for each blob that gets a job. It may be run at any time and as often as you like: what is queued
    /// already is not queued again. That nothing is printed does not mean that everything has arrived: ask
    /// `admin replication status`, or give --wait. What each location lacks is said first, on standard error.
    Backfillreplication(backfill::Arguments),
    /// Remove a location from the registry, as Quay's util.removelocation does
    ///
    /// Asks first. Refuses while any blob is known to be at this location only, and names the images. Pushes go on meanwhile, to
    /// the other locations. The objects in the location's store are left alone. Interrupted, it goes on when it is run again;
    /// answered with no, an interrupted removal is taken back.
    Removelocation(remove_location::Arguments),
    /// Read back every object that a placement promises, and have copied again what is missing or damaged
    ///
    /// Registries and replicators do it all the time, slowly. The only copy of a blob is never given up, however damaged: it is told and
    /// stays noted. Exit status 0 if nothing was found, 1 if something was, also when it is repaired meanwhile.
    Verifyplacements(verify_placements::Arguments),
    /// Locations
    #[command(subcommand)]
    Location(LocationCommand),
    /// Regions, as balancers see them
    #[command(subcommand)]
    Site(site::Command),
    /// What must be where: rules of namespaces and repositories, regions, and pushes that wait for copies
    #[command(subcommand)]
    Placement(placement::Command),
    /// Replication
    #[command(subcommand)]
    Replication(ReplicationCommand),
    /// The configuration: what is wrong with it, what a key does, in what regions differ
    #[command(subcommand)]
    Config(config::Command),
    /// Garbage collection
    #[command(subcommand)]
    Gc(GcCommand),
    /// Accounts of people
    #[command(subcommand)]
    User(user::Command),
    /// Organisations
    #[command(subcommand)]
    Org(org::Command),
    /// Robots of people and organisations
    #[command(subcommand)]
    Robot(robot::Command),
    /// App-specific tokens and OAuth access tokens of people
    #[command(subcommand)]
    Token(token::Command),
}

#[derive(Debug, Subcommand)]
enum LocationCommand {
    /// List the locations with their state, whether their stores work, and what is there
    List(location_list::Arguments),
    /// Try a location that the configuration names, and say what will be copied there and what to do next; changes nothing
    Add(location_add::Arguments),
    /// Close a location for new bytes and copy elsewhere what only it holds, that first; nothing is deleted
    Drain(drain::Arguments),
    /// Let a location take part again that was drained, or whose removal has not ended
    Undrain {
        /// The name of the location
        location: String,
    },
}

#[derive(Debug, Subcommand)]
enum GcCommand {
    /// Say what a collection would remove now, what waits to be deleted where, and what the last one removed
    ///
    /// Reads the registry as a whole. Exit status 0 if nothing waits that could not be deleted.
    Status(gc::StatusArguments),
    /// Collect everything that can be collected now, as every registry does by itself a little at a time
    ///
    /// It may be run at any time, beside registries too. Exit status 0 if nothing is left that could not be deleted.
    Run(gc::RunArguments),
}

#[derive(Debug, Subcommand)]
enum ReplicationCommand {
    /// Say what is missing where; exit status 0 if nothing is
    Status(replication_status::Arguments),
    /// Name every image that would be lost if a location were lost now; exit status 0 if there is none
    ///
    /// By what the database says: the location need not answer.
    AtRisk(replication_at_risk::Arguments),
    /// List the copies whose last attempt failed, and why; exit status 0 if there are none
    Failed(replication_failed::FailedArguments),
    /// Try copies again at once that failed and were put off
    Retry(replication_failed::RetryArguments),
    /// Have copying rest, everywhere or from and to one location, until it is resumed
    ///
    /// It is kept in the database and counts for every registry and replicator. Pushes and pulls go on.
    Pause(replication_control::PauseArguments),
    /// End a pause
    Resume(replication_control::PauseArguments),
    /// Limit how fast copies are, or list the limits
    ///
    /// It is kept in the database and counts for every registry and replicator, those that are running too. Of several limits that
    /// hold at once the tightest decides.
    Limit(replication_control::LimitArguments),
    /// Who is told that images have become complete at a location
    #[command(subcommand)]
    Webhook(replication_webhook::Command),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match arguments() {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match run(cli, &mut Console::of_process()).await {
        Ok(code) => code,
        Err(error) => failed(error.as_ref()),
    }
}

/// The command line. What a server logs as a matter of course, and what it has said about its configuration, would only be in the way here.
fn arguments() -> Result<Cli, clap::Error> {
    let command =
        Cli::command().mut_arg("log", |log| log.default_value("warn,roadstead_cli=error"));
    Cli::from_arg_matches(&command.get_matches())
}

async fn run(cli: Cli, console: &mut Console) -> anyhow::Result<ExitCode> {
    cli.log.init()?;
    if let Command::Config(command) = &cli.command
        && let Some(code) = config::look(command, &cli.configuration, console).await?
    {
        console.finish()?;
        return Ok(code);
    }
    let loaded = cli.configuration.load()?;
    let opened = Opened::open(&loaded.config, Environment::system()).await?;
    let code = dispatch(&cli.command, &opened, console).await?;
    console.finish()?;
    Ok(code)
}

async fn dispatch(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Backfillreplication(arguments) => backfill::run(arguments, opened, console).await,
        Command::Removelocation(arguments) => {
            remove_location::run(arguments, opened, console).await
        }
        Command::Verifyplacements(arguments) => {
            verify_placements::run(arguments, opened, console).await
        }
        Command::Location(LocationCommand::Add(arguments)) => {
            location_add::run(arguments, opened, console).await
        }
        Command::Location(LocationCommand::Drain(arguments)) => {
            drain::run(arguments, opened, console).await
        }
        Command::Location(LocationCommand::Undrain { location }) => {
            drain::undrain(location, opened, console).await
        }
        Command::Location(LocationCommand::List(arguments)) => {
            location_list::run(arguments, opened, console).await
        }
        Command::Site(command) => site::run(command, opened, console).await,
        Command::Placement(command) => placement::run(command, opened, console).await,
        Command::Replication(ReplicationCommand::Status(arguments)) => {
            replication_status::run(arguments, opened, console).await
        }
        Command::Replication(ReplicationCommand::AtRisk(arguments)) => {
            replication_at_risk::run(arguments, opened, console).await
        }
        Command::Replication(ReplicationCommand::Failed(arguments)) => {
            replication_failed::failed(arguments, opened, console).await
        }
        Command::Replication(ReplicationCommand::Retry(arguments)) => {
            replication_failed::retry(arguments, opened, console).await
        }
        Command::Replication(ReplicationCommand::Pause(arguments)) => {
            replication_control::pause(arguments, opened, console).await
        }
        Command::Replication(ReplicationCommand::Resume(arguments)) => {
            replication_control::resume(arguments, opened, console).await
        }
        Command::Replication(ReplicationCommand::Limit(arguments)) => {
            replication_control::limit(arguments, opened, console).await
        }
        Command::Replication(ReplicationCommand::Webhook(command)) => {
            replication_webhook::run(command, opened, console).await
        }
        Command::Config(command) => config::drift(command, opened, console).await,
        Command::Gc(GcCommand::Status(arguments)) => gc::status(arguments, opened, console).await,
        Command::Gc(GcCommand::Run(arguments)) => gc::run(arguments, opened, console).await,
        Command::User(command) => user::run(command, opened, console).await,
        Command::Org(command) => org::run(command, opened, console).await,
        Command::Robot(command) => robot::run(command, opened, console).await,
        Command::Token(command) => token::run(command, opened, console).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
