//! `admin user`.

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use roadstead_management::{InstallUser, InstallUserChanges, InstallUserDocument, NewUserDocument};
use roadstead_secrets::Secret;
use serde_json::json;

use super::accounts::{PasswordArguments, agreed, operator, print_json};
use crate::console::Console;
use crate::open::Opened;
use crate::table::table;

/// How many accounts are asked for at a time.
const PAGE: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an account
    ///
    /// Without --password-file a password is drawn, and printed this once.
    Create(CreateArguments),
    /// List the accounts of people
    List(ListArguments),
    /// Show an account
    Show(ShowArguments),
    /// Give an account another password; tokens that were handed out for it end
    ///
    /// Without --password-file a password is drawn, and printed this once.
    Password(PasswordOfArguments),
    /// Let an account be used that was disabled
    Enable {
        /// The name
        username: String,
    },
    /// Close an account and its namespace; nothing is deleted
    Disable {
        /// The name
        username: String,
    },
    /// Delete an account with everything in its namespace
    Delete(DeleteArguments),
    /// Read a password from standard input and print it in the form in which a client may keep it
    ///
    /// It is encrypted under `SECRET_KEY`, and signs in as the password does until that is changed.
    EncryptPassword,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CreateArguments {
    /// The name: 2 to 255 lower-case letters and digits, with single `.`, `_` or `-` between them
    pub(crate) username: String,
    /// The e-mail address
    #[arg(long)]
    pub(crate) email: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArguments,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
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
    pub(crate) username: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PasswordOfArguments {
    /// The name
    pub(crate) username: String,
    #[command(flatten)]
    pub(crate) password: PasswordArguments,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DeleteArguments {
    /// The name
    pub(crate) username: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

pub(crate) async fn run(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(arguments) => create(arguments, opened, console).await,
        Command::List(arguments) => list(arguments, opened, console).await,
        Command::Show(arguments) => {
            let user = opened.management.install_user(&arguments.username).await?;
            if arguments.json {
                print_json(&user, console)?;
            } else {
                print(&[user], console);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Password(arguments) => password(arguments, opened, console).await,
        Command::Enable { username } => enable(username, true, opened, console).await,
        Command::Disable { username } => enable(username, false, opened, console).await,
        Command::Delete(arguments) => delete(arguments, opened, console).await,
        Command::EncryptPassword => encrypt_password(opened, console),
    }
}

async fn create(
    arguments: &CreateArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let (username, email) = (arguments.username.clone(), arguments.email.clone());
    let drawn = if let Some(password) = arguments.password.read(console)? {
        let new = NewUserDocument {
            username: username.clone(),
            password,
            email,
        };
        opened.management.create_user(&new, &operator()).await?;
        None
    } else {
        let new = InstallUser {
            username: username.clone(),
            email,
        };
        let made = opened
            .management
            .create_install_user(&new, &operator())
            .await?;
        Some(Secret::new(made.password.expose()))
    };
    said(
        "created",
        &username,
        drawn.as_ref(),
        arguments.json,
        console,
    )
}

async fn password(
    arguments: &PasswordOfArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let username = &arguments.username;
    let (password, drawn) = if let Some(password) = arguments.password.read(console)? {
        (password, None)
    } else {
        let (password, drawn) = opened.management.draw_password()?;
        (password, Some(drawn))
    };
    let changes = InstallUserChanges {
        password: Some(password),
        ..InstallUserChanges::default()
    };
    opened
        .management
        .change_install_user(username, &changes, &operator())
        .await?;
    said("changed", username, drawn.as_ref(), arguments.json, console)
}

/// What was done, and the password that was drawn for it.
fn said(
    deed: &str,
    username: &str,
    drawn: Option<&Secret>,
    json: bool,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let password = drawn.map(Secret::expose);
    if json {
        print_json(
            &json!({ "username": username, "password": password }),
            console,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    console.line(&format!("{deed}: user {username}"));
    if let Some(password) = password {
        console.line(&format!("password: {password}"));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    arguments: &ListArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let mut users = Vec::new();
    let mut after = None;
    loop {
        let page = opened.management.install_users(true, after, PAGE).await?;
        users.extend(page.users);
        after = page.next_page.and_then(|next| next.parse().ok());
        if after.is_none() {
            break;
        }
    }
    if arguments.json {
        print_json(&json!({ "users": users }), console)?;
    } else {
        print(&users, console);
    }
    Ok(ExitCode::SUCCESS)
}

fn encrypt_password(opened: &Opened, console: &mut Console) -> anyhow::Result<ExitCode> {
    let password = match console.ask("")? {
        Some(password) if !password.is_empty() => Secret::new(password),
        _ => bail!("there is no password on standard input"),
    };
    let Some(encrypted) = opened.management.encrypted_password(&password) else {
        bail!("this needs SECRET_KEY in config.yaml, the same in every region");
    };
    console.line(encrypted.expose());
    Ok(ExitCode::SUCCESS)
}

async fn enable(
    username: &str,
    enabled: bool,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let changes = InstallUserChanges {
        enabled: Some(enabled),
        ..InstallUserChanges::default()
    };
    opened
        .management
        .change_install_user(username, &changes, &operator())
        .await?;
    let deed = if enabled { "enabled" } else { "disabled" };
    console.line(&format!("{deed}: user {username}"));
    Ok(ExitCode::SUCCESS)
}

async fn delete(
    arguments: &DeleteArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let username = &arguments.username;
    let user = opened.management.install_user(username).await?;
    let question = format!(
        "Delete the user {} with every repository of the namespace?",
        user.username
    );
    if !agreed(arguments.yes, &question, console)? {
        return Ok(ExitCode::FAILURE);
    }
    opened.management.delete_user(username, &operator()).await?;
    console.line(&format!("deleted: user {username}"));
    Ok(ExitCode::SUCCESS)
}

fn print(users: &[InstallUserDocument], console: &mut Console) {
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let rows: Vec<_> = users
        .iter()
        .map(|user| {
            let superuser = if user.global_readonly_super_user {
                "read-only".to_owned()
            } else {
                yes(user.super_user)
            };
            [
                user.username.clone(),
                user.email.clone(),
                yes(user.enabled),
                superuser,
            ]
        })
        .collect();
    for line in table(["name", "e-mail", "enabled", "superuser"], &rows) {
        console.line(&line);
    }
}
