//! `admin token`: app-specific tokens and OAuth access tokens of people.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use roadstead_management::{
    ManagementError, NewAppTokenDocument, NewApplicationDocument, OAUTH_TOKEN_LIFE,
};
use serde_json::json;

use super::accounts::{operator, print_json};
use crate::console::Console;
use crate::open::Opened;
use crate::table::table;

/// The most tokens of a list.
const LIST_MAX: u32 = 10_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a token of a user, and print it this once
    ///
    /// With --title an app token, which is good for pushing and pulling as the user whose name is `$app`. With --org, --application and --scope an
    /// OAuth access token, which is good for the API within its scopes; an application that is not there is made.
    Create(CreateArguments),
    /// List tokens, without what proves anything
    List(ListArguments),
    /// End a token
    Revoke {
        /// Its identifier, which `list` says
        uuid: String,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CreateArguments {
    /// Whose token it is
    #[arg(long)]
    pub(crate) user: String,
    /// Of an app token: what it is called
    #[arg(long, conflicts_with_all = ["org", "application", "scope"], required_unless_present = "org")]
    pub(crate) title: Option<String>,
    /// Of an OAuth token: the organisation of the application
    #[arg(long, requires_all = ["application", "scope"])]
    pub(crate) org: Option<String>,
    /// Of an OAuth token: the application, by its name or its client id
    #[arg(long, requires = "org")]
    pub(crate) application: Option<String>,
    /// Of an OAuth token: what it is good for, such as `"repo:read repo:write"`; of repo:read, repo:write, repo:admin, repo:create, org:admin,
    /// user:read, user:admin, super:user
    #[arg(long, requires = "org")]
    pub(crate) scope: Option<String>,
    /// Of an OAuth token: for how many days it is good (default: 3650)
    #[arg(long, requires = "org", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub(crate) days: Option<u64>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ListArguments {
    /// Only those of this user
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(arguments) => match (&arguments.title, &arguments.org) {
            (Some(title), _) => create_app_token(arguments, title, opened, console).await,
            (None, Some(org)) => create_oauth_token(arguments, org, opened, console).await,
            (None, None) => bail!("give --title, or --org with --application and --scope"),
        },
        Command::List(arguments) => list(arguments, opened, console).await,
        Command::Revoke { uuid } => revoke(uuid, opened, console).await,
    }
}

async fn create_app_token(
    arguments: &CreateArguments,
    title: &str,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let new = NewAppTokenDocument {
        title: title.to_owned(),
    };
    let made = opened
        .management
        .create_app_token(&arguments.user, &new, &operator())
        .await?;
    if arguments.json {
        print_json(&made.token, console)?;
    } else {
        console.line(&format!("created: app token {}", made.token.uuid));
        if let Some(code) = &made.token.token_code {
            console.line(&format!("token: {}", code.expose()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create_oauth_token(
    arguments: &CreateArguments,
    org: &str,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let application = arguments.application.as_deref().unwrap_or_default();
    let scope = arguments.scope.as_deref().unwrap_or_default();
    let life = arguments
        .days
        .map_or(OAUTH_TOKEN_LIFE, |days| Duration::from_hours(24 * days));
    let management = &opened.management;
    let create = async || {
        management
            .create_oauth_token(
                (org, application),
                &arguments.user,
                scope,
                life,
                &operator(),
            )
            .await
    };
    let made = match create().await {
        Err(ManagementError::Unknown {
            what: "application",
            ..
        }) => {
            let new = NewApplicationDocument {
                name: application.to_owned(),
                redirect_uri: String::new(),
                application_uri: String::new(),
                description: String::new(),
                avatar_email: None,
            };
            management
                .create_application(org, &new, &operator())
                .await?;
            console.note(&format!("made the application {application} of {org}"));
            create().await?
        }
        made => made?,
    };
    if arguments.json {
        print_json(&made, console)?;
    } else {
        console.line(&format!("created: OAuth token {}", made.uuid));
        console.line(&format!("token: {}", made.token.expose()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    arguments: &ListArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let management = &opened.management;
    let user = arguments.user.as_deref();
    let app = match user {
        Some(user) => management.app_tokens(user, false).await?,
        None => management.all_app_tokens(false, None, LIST_MAX).await?,
    };
    let oauth = management.oauth_tokens(user, None, LIST_MAX).await?;
    if arguments.json {
        print_json(
            &json!({ "app_tokens": app.tokens, "oauth_tokens": oauth }),
            console,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let ends = |moment: Option<roadstead_management::Moment>| {
        moment.map_or_else(|| "never".to_owned(), |moment| moment.to_string())
    };
    let app = app.tokens.into_iter().map(|token| {
        let owner = token.username.or_else(|| arguments.user.clone());
        [
            token.uuid,
            "app".to_owned(),
            owner.unwrap_or_default(),
            token.title,
            ends(token.expiration),
        ]
    });
    let oauth = oauth.into_iter().map(|token| {
        [
            token.uuid,
            "OAuth".to_owned(),
            token.username,
            format!(
                "{} of {}: {}",
                token.application, token.organization, token.scope
            ),
            ends(Some(token.expiration)),
        ]
    });
    let rows: Vec<_> = app.chain(oauth).collect();
    for line in table(["identifier", "sort", "user", "what for", "ends"], &rows) {
        console.line(&line);
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(uuid: &str, opened: &Opened, console: &mut Console) -> anyhow::Result<ExitCode> {
    let management = &opened.management;
    let unknown =
        |ended: &Result<(), ManagementError>| matches!(ended, Err(ManagementError::Unknown { .. }));
    let mut ended = management.revoke_app_token(None, uuid, &operator()).await;
    if unknown(&ended) {
        ended = management.revoke_oauth_token(uuid, &operator()).await;
    }
    if unknown(&ended) {
        bail!("there is no token `{uuid}`; `admin token list` says which there are");
    }
    ended?;
    console.line(&format!("revoked: token {uuid}"));
    Ok(ExitCode::SUCCESS)
}
