//! `admin config`: what is wrong with a configuration, what a key does, and in what configurations and processes differ.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use roadstead_cli::ConfigurationArgs;
use roadstead_config::env::{self, Environment as Variables};
use roadstead_config::schema::{self, Key};
use roadstead_config::{Checked, Finding, Source, check, differences, nearest};
use roadstead_runtime::Environment;
use roadstead_server::{Outcome, Verdict, check_online};
use serde_json::json;

use crate::console::Console;
use crate::open::Opened;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say everything that is wrong with a configuration, and what to do about it
    ///
    /// Starts nothing and needs no database. Exit status 0 if a registry would start with it, 1 if something stops it, or with --online does not
    /// work from here. The environment counts as it does for a registry.
    Check(CheckArguments),
    /// Say in what two configurations differ, by key
    ///
    /// Values of secrets are not shown. Exit status 0 if they differ in nothing but what regions may differ in.
    Diff(DiffArguments),
    /// Say in what the running processes of all regions differ, by key
    ///
    /// They tell each other by keyed hashes in the database, so that no value is known. Exit status 0 if in nothing.
    Drift(DriftArguments),
    /// Say what a key or an environment variable does, and what counts of it here
    Explain(ExplainArguments),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArguments {
    /// The directory of config.yaml [default: that of --config-dir]
    #[arg(value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Also write, read and delete an object at every location, and ask the database and Redis, from here
    #[arg(long)]
    pub(crate) online: bool,
    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DiffArguments {
    /// The directory of one region's config.yaml
    pub(crate) first: PathBuf,
    /// The directory of the other's
    pub(crate) second: PathBuf,
    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct DriftArguments {
    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArguments {
    /// The name of the key or variable
    pub(crate) key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Carries out what needs no registry; `None`: this command does.
pub(crate) async fn look(
    command: &Command,
    configuration: &ConfigurationArgs,
    console: &mut Console,
) -> anyhow::Result<Option<ExitCode>> {
    let variables = Variables::process();
    let source = configuration.source_in(&variables);
    Ok(match command {
        Command::Check(arguments) => Some(run_check(arguments, source, &variables, console).await?),
        Command::Diff(arguments) => Some(diff(arguments, console)?),
        Command::Explain(arguments) => Some(explain(arguments, &source, &variables, console)?),
        Command::Drift(_) => None,
    })
}

async fn run_check(
    arguments: &CheckArguments,
    source: Source,
    variables: &Variables,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let source = arguments.directory.as_deref().map_or(source, of_directory);
    let checked = check(&source, variables);
    let outcomes = match &checked.config {
        Some(config) if arguments.online => check_online(config, &Environment::system()).await?,
        _ => Vec::new(),
    };
    let is_broken = |outcome: &Outcome| outcome.verdict == Verdict::Broken;
    let works = checked.errors.is_empty() && !outcomes.iter().any(is_broken);
    match arguments.format {
        Format::Json => {
            let report = as_json(&checked, &outcomes, works);
            console.line(&serde_json::to_string_pretty(&report)?);
        }
        Format::Text => tell(&checked, &outcomes, arguments.online, console),
    }
    Ok(status(works))
}

/// A directory, or the one around a file that was named in its place.
fn of_directory(path: &Path) -> Source {
    let around = path.parent().filter(|_| path.is_file());
    Source::Directory(around.unwrap_or(path).to_owned())
}

fn status(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn as_json(checked: &Checked, outcomes: &[Outcome], works: bool) -> serde_json::Value {
    let online: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            json!({
                "subject": outcome.subject,
                "verdict": word(outcome.verdict),
                "says": outcome.says,
            })
        })
        .collect();
    json!({
        "works": works,
        "errors": checked.errors,
        "warnings": checked.warnings,
        "notes": checked.notes,
        "online": online,
    })
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Works => "works",
        Verdict::Worrying => "warning",
        Verdict::Broken => "error",
    }
}

fn tell(checked: &Checked, outcomes: &[Outcome], online: bool, console: &mut Console) {
    for (word, findings) in [
        ("error", &checked.errors),
        ("warning", &checked.warnings),
        ("note", &checked.notes),
    ] {
        for finding in findings {
            console.line(&format!("{word}: {finding}"));
        }
    }
    for outcome in outcomes {
        let Outcome {
            subject,
            verdict,
            says,
        } = outcome;
        console.line(&format!("{}: {subject}: {says}", word(*verdict)));
    }
    if online && checked.config.is_none() {
        console.note("Nothing was asked online: correct the errors first.");
    }
    let of = |verdict| {
        let found = outcomes.iter().filter(|outcome| outcome.verdict == verdict);
        found.count()
    };
    let errors = checked.errors.len() + of(Verdict::Broken);
    let warnings = checked.warnings.len() + of(Verdict::Worrying);
    let warned = counted(warnings, "warning");
    console.note(&match (errors, warnings) {
        (0, 0) => "Nothing is wrong.".to_owned(),
        (0, _) => format!("A registry would start: {warned}."),
        _ => format!("{}, {warned}.", counted(errors, "error")),
    });
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn diff(arguments: &DiffArguments, console: &mut Console) -> anyhow::Result<ExitCode> {
    let [first, second] = [&arguments.first, &arguments.second].map(|directory| {
        // What the environment of this process says is said of neither region.
        check(&of_directory(directory), &Variables::empty())
    });
    for (directory, checked) in [(&arguments.first, &first), (&arguments.second, &second)] {
        let unreadable = |finding: &&Finding| finding.key.is_empty();
        if let Some(finding) = checked.errors.iter().find(unreadable) {
            bail!("could not compare {}: {finding}", directory.display());
        }
    }
    let differences = differences(&first.raw, &second.raw);
    match arguments.format {
        Format::Json => console.line(&serde_json::to_string_pretty(&differences)?),
        Format::Text => {
            for difference in &differences {
                let shown = |value: &Option<String>| value.clone().unwrap_or("nothing".to_owned());
                let remark = match (difference.expected, difference.used) {
                    (true, _) => " (regions may differ in it)",
                    (false, true) => "",
                    (false, false) => " (without effect here)",
                };
                console.line(&format!(
                    "{}: {} / {}{remark}",
                    difference.path,
                    shown(&difference.first),
                    shown(&difference.second)
                ));
            }
        }
    }
    let matters = differences
        .iter()
        .any(|difference| difference.used && !difference.expected);
    Ok(status(!matters))
}

fn explain(
    arguments: &ExplainArguments,
    source: &Source,
    variables: &Variables,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let name = arguments.key.as_str();
    if let Some(key) = schema::key(name) {
        explain_key(key, &check(source, variables), console);
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(variable) = env::VARIABLES.iter().find(|variable| variable.name == name) {
        let effect = if variable.used {
            "used"
        } else {
            "without effect"
        };
        console.line(&format!(
            "{name}: an environment variable\n  {}",
            variable.about
        ));
        console.line(&format!("  effect     {effect}"));
        return Ok(ExitCode::SUCCESS);
    }
    let known = schema::names().chain(env::VARIABLES.iter().map(|variable| variable.name));
    let hint =
        nearest(name, known).map_or_else(String::new, |near| format!(": did you mean {near}?"));
    bail!("there is no key or variable {name}{hint}");
}

fn explain_key(key: &Key, checked: &Checked, console: &mut Console) {
    let name = key.name;
    console.line(&format!("{name}\n  {}", key.about));
    let default = match key.default {
        "" => "none",
        default => default,
    };
    // A file that cannot be read says neither that the key is given nor that it is not.
    let unreadable = checked
        .errors
        .iter()
        .find(|finding| finding.key.is_empty())
        .filter(|_| checked.raw.iter().next().is_none());
    let in_effect = match (checked.shown(name), checked.origin(name)) {
        (Some(value), Some(origin)) => format!("{value}, from {origin}"),
        _ => match unreadable {
            Some(finding) => format!("unknown: {finding}"),
            None => format!("not given: {default}"),
        },
    };
    for (what, text) in [
        ("allowed", key.kind.allowed()),
        ("default", default.to_owned()),
        ("effect", key.effect_in_words()),
        ("here", in_effect),
    ] {
        console.line(&format!("  {what:9}  {text}"));
    }
    if key.regional {
        console.line("  Regions may differ in it.");
    }
    let of_key = |finding: &&Finding| {
        finding
            .key
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    for (word, findings) in [("error", &checked.errors), ("warning", &checked.warnings)] {
        for finding in findings.iter().filter(of_key) {
            console.line(&format!("  {word}: {finding}"));
        }
    }
}

/// Says in what the running processes differ.
pub(crate) async fn drift(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let Command::Drift(arguments) = command else {
        bail!("this command needs no registry");
    };
    let found = opened.deployment.configuration_drift().await?;
    match arguments.format {
        Format::Json => {
            let report = json!({"processes": found.processes, "keys": found.keys});
            console.line(&serde_json::to_string_pretty(&report)?);
        }
        Format::Text => {
            for drift in &found.keys {
                console.line(&drift.key);
                for group in &drift.groups {
                    console.line(&format!("  alike: {}", group.join(", ")));
                }
            }
            console.note(&format!(
                "Running instances that were compared: {}; keys in which they differ: {}.",
                found.processes.len(),
                found.keys.len()
            ));
        }
    }
    Ok(status(found.keys.is_empty()))
}
