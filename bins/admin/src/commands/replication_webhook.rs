//! `admin replication webhook`.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use roadstead_secrets::Secret;
use roadstead_webhooks::NewHook;
use serde_json::json;

use crate::console::Console;
use crate::open::Opened;
use crate::table::{number, table};

/// The most bytes of a file with a secret.
const FILE_BYTES_MAX: u64 = 4 << 10;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Have an address told of every image that becomes complete at a location, from now on
    ///
    /// It is sent a POST with a JSON document, for a day until it answers with a status of 200 to 299. Prints the number of the webhook.
    Add(AddArguments),
    /// List the webhooks, and how they fare; exit status 0 if none failed last
    List(ListArguments),
    /// Remove a webhook; what it has still to be told is not sent
    Remove {
        /// Its number, which `list` says
        id: i64,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct AddArguments {
    /// http://... or https://..., or `-` to read it from standard input: others can read a command line
    #[arg(value_name = "URL", value_parser = secret)]
    pub(crate) url: Secret,
    /// Only images that are complete at this location
    #[arg(long, value_name = "NAME")]
    pub(crate) location: Option<String>,
    /// Only images of this namespace
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// A file with a secret of 16 bytes or more that everything sent is signed with, or `-` to read it from standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ListArguments {
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
        Command::Add(arguments) => add(arguments, opened, console).await,
        Command::List(arguments) => list(arguments, opened, console).await,
        Command::Remove { id } => {
            if !opened.webhooks.remove(*id).await? {
                bail!(
                    "there is no webhook {id}; `admin replication webhook list` says which there are"
                );
            }
            console.line(&format!("removed: webhook {id}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn add(
    arguments: &AddArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let url = match arguments.url.expose() {
        "-" => from_input(console, "address")?,
        _ => arguments.url.clone(),
    };
    let secret = match arguments.secret_file.as_deref() {
        None => None,
        Some(path) if path == Path::new("-") => Some(from_input(console, "secret")?),
        Some(path) => Some(from_file(path)?),
    };
    let location = match &arguments.location {
        None => None,
        Some(name) => Some(opened.replication.find_location(name).await?),
    };
    let new = NewHook {
        url,
        secret,
        location,
        namespace: arguments.namespace.clone(),
    };
    let signed = new.secret.is_some();
    let id = opened.webhooks.add(&new).await?;
    console.line(&format!("added: webhook {id}"));
    if !signed {
        console.note(
            "what it is sent is not signed, so that anybody could send it; --secret-file changes that",
        );
    }
    if opened.queue.is_none() {
        console.note("replication is switched off: it is told nothing until FEATURE_STORAGE_REPLICATION is on");
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    arguments: &ListArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let webhooks = opened.webhooks.list().await?;
    let failing = |webhook: &roadstead_webhooks::WebhookDocument| {
        webhook.last_failed.is_some() && webhook.last_failed >= webhook.last_delivered
    };
    let code = ExitCode::from(u8::from(webhooks.iter().any(failing)));
    if arguments.json {
        let document = json!({ "webhooks": webhooks });
        console.line(&serde_json::to_string_pretty(&document)?);
        return Ok(code);
    }
    if webhooks.is_empty() {
        console.line("no webhooks");
        return Ok(code);
    }
    let all = || "all".to_owned();
    let rows: Vec<_> = webhooks
        .iter()
        .map(|webhook| {
            [
                webhook.id.to_string(),
                webhook.address.clone(),
                webhook
                    .location
                    .as_ref()
                    .map_or_else(all, ToString::to_string),
                webhook.namespace.clone().unwrap_or_else(all),
                if webhook.signed { "yes" } else { "no" }.to_owned(),
                number(webhook.pending),
                number(webhook.delivered),
                number(webhook.given_up),
                match (&webhook.last_failed, &webhook.last_failure) {
                    (Some(at), Some(failure)) => {
                        format!("{}: {failure}", at.format("%F %T"))
                    }
                    _ => "-".to_owned(),
                },
            ]
        })
        .collect();
    let headings = [
        "id",
        "address",
        "location",
        "namespace",
        "signed",
        "pending",
        "delivered",
        "given up",
        "last failure (UTC)",
    ];
    for line in table(headings, &rows) {
        console.line(&line);
    }
    Ok(code)
}

/// Takes an address without a look at it, so that no message of the command line repeats it.
fn secret(text: &str) -> Result<Secret, &'static str> {
    if text.is_empty() {
        return Err("an address is not empty");
    }
    Ok(Secret::new(text))
}

fn from_input(console: &mut Console, what: &str) -> anyhow::Result<Secret> {
    match console.ask("")? {
        Some(line) if !line.is_empty() => Ok(Secret::new(line)),
        _ => bail!("there is no {what} on standard input"),
    }
}

/// The text of a file without the end of its last line.
fn from_file(path: &Path) -> anyhow::Result<Secret> {
    let read = || -> std::io::Result<String> {
        let mut text = String::new();
        File::open(path)?
            .take(FILE_BYTES_MAX)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    let text =
        read().with_context(|| format!("could not read a secret from {}", path.display()))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}
