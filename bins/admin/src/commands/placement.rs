//! `admin placement`: what must be where beside the configuration. A change is followed by a reconciliation, which queues what it demands.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use roadstead_replication::{LocationName, NamespaceListing, Place, RuleListing, RuleWording};

use crate::console::Console;
use crate::open::Opened;
use crate::table::{amount, table};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the rules, regions and waits, and where what they are for belongs
    Show(ShowArguments),
    /// Say where the images of a namespace or a repository belong, or how many locations pushes wait for
    ///
    /// Of several rules the most specific counts: repository and tags, repository, namespace and tags, namespace. A rule adds to the default
    /// locations unless it says `--only`. What a change demands is queued at once; no copy is deleted that is not demanded any more.
    Set(SetArguments),
    /// Take a rule away, or a wait
    Clear(ClearArguments),
    /// Show or set the regions of a namespace: locations that everything in it must reach besides the default ones
    Regions(RegionsArguments),
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ShowArguments {
    /// NAMESPACE or NAMESPACE/REPOSITORY; all if left out
    pub(crate) place: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Clone, Debug, Default)]
#[command(group = ArgGroup::new("demand").args(["locations", "copies", "min_locations"]).required(true).multiple(true))]
pub(crate) struct SetArguments {
    /// NAMESPACE or NAMESPACE/REPOSITORY
    pub(crate) place: String,
    /// Only for images with a tag that fits this pattern, in which * and ? are wildcards
    #[arg(long, value_name = "PATTERN")]
    pub(crate) tags: Option<String>,
    /// The locations that must hold it, with commas in between
    #[arg(long = "in", value_name = "LOCATIONS", value_delimiter = ',')]
    pub(crate) locations: Vec<String>,
    /// How many locations must hold it at least
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) copies: Option<u32>,
    /// It never leaves the locations of --in
    #[arg(long, requires = "locations")]
    pub(crate) only: bool,
    /// Pushes into the namespace are acknowledged when so many locations hold them
    #[arg(long, value_name = "N")]
    pub(crate) min_locations: Option<u32>,
    /// How long a push waits for that, in seconds
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        requires = "min_locations"
    )]
    pub(crate) deadline: u32,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClearArguments {
    /// NAMESPACE or NAMESPACE/REPOSITORY
    pub(crate) place: String,
    /// The rule for this pattern of tags
    #[arg(long, value_name = "PATTERN")]
    pub(crate) tags: Option<String>,
    /// Pushes into the namespace wait for no copies any more
    #[arg(long, conflicts_with = "tags")]
    pub(crate) min_locations: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RegionsArguments {
    /// The namespace
    pub(crate) namespace: String,
    /// The locations, with commas in between, or `none`; left out, they are shown
    #[arg(value_delimiter = ',')]
    pub(crate) locations: Vec<String>,
}

pub(crate) async fn run(
    command: &Command,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Show(arguments) => show(arguments, opened, console).await,
        Command::Set(arguments) => set(arguments, opened, console).await,
        Command::Clear(arguments) => clear(arguments, opened, console).await,
        Command::Regions(arguments) => regions(arguments, opened, console).await,
    }
}

async fn show(
    arguments: &ShowArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let place = arguments.place.as_deref().map(Place::parse);
    let demands = opened.replication.demands(place.as_ref()).await?;
    if arguments.json {
        console.line(&serde_json::to_string_pretty(&demands)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![row(
        "everything",
        "",
        "default locations",
        &demands.defaults,
    )];
    rows.extend(demands.namespaces.iter().flat_map(namespace_rows));
    rows.extend(demands.rules.iter().map(rule_row));
    if let (Some(place), Some(belongs_to)) = (&place, &demands.belongs_to) {
        rows.push(row(&place.to_string(), "", "in sum", belongs_to));
    }
    for line in table(["for", "tags", "demand", "belongs to"], &rows) {
        console.line(&line);
    }
    Ok(ExitCode::SUCCESS)
}

fn namespace_rows(namespace: &NamespaceListing) -> Vec<[String; 4]> {
    let name = &namespace.namespace;
    let mut rows = Vec::new();
    if !namespace.regions.is_empty() {
        let regions = format!("regions {}", names(&namespace.regions));
        rows.push(row(name, "", &regions, &namespace.belongs_to));
    }
    if let (Some(locations), Some(deadline)) = (namespace.min_locations, namespace.deadline_seconds)
    {
        let wait = format!("pushes wait for {locations} locations, {deadline} s");
        rows.push([name.clone(), String::new(), wait, "-".to_owned()]);
    }
    rows
}

fn rule_row(rule: &RuleListing) -> [String; 4] {
    let mut demand = Vec::new();
    if !rule.locations.is_empty() {
        let word = if rule.only { "only in" } else { "in" };
        demand.push(format!("{word} {}", names(&rule.locations)));
    }
    if rule.copies > 0 {
        demand.push(format!("at least {} copies", rule.copies));
    }
    let mut row = row(
        &rule.place.to_string(),
        rule.tags.as_deref().unwrap_or_default(),
        &demand.join(", "),
        &rule.belongs_to,
    );
    if rule.only && rule.belongs_to.is_empty() {
        // None of them takes part any more.
        "nowhere at present".clone_into(&mut row[3]);
    }
    row
}

fn row(of: &str, tags: &str, demand: &str, belongs_to: &BTreeSet<LocationName>) -> [String; 4] {
    let belongs_to = if belongs_to.is_empty() {
        "anywhere".to_owned()
    } else {
        names(belongs_to)
    };
    [of, tags, demand, &belongs_to].map(str::to_owned)
}

fn names(locations: &BTreeSet<LocationName>) -> String {
    let names: Vec<&str> = locations.iter().map(LocationName::as_str).collect();
    names.join(", ")
}

async fn set(
    arguments: &SetArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let place = Place::parse(&arguments.place);
    if let Some(locations) = arguments.min_locations
        && place.repository.is_some()
    {
        anyhow::bail!(
            "pushes wait for {locations} locations in a whole namespace or not at all: name the namespace without a repository"
        );
    }
    let has_rule = !arguments.locations.is_empty() || arguments.copies.is_some();
    if has_rule {
        let wording = RuleWording {
            place: place.clone(),
            tags: arguments.tags.clone(),
            locations: arguments.locations.clone(),
            copies: arguments.copies.unwrap_or_default(),
            only: arguments.only,
        };
        opened.replication.set_rule(&wording).await?;
    } else if arguments.tags.is_some() {
        anyhow::bail!("a rule for some tags names locations or a number of copies");
    }
    if let Some(locations) = arguments.min_locations {
        let deadline = Duration::from_secs(arguments.deadline.into());
        opened
            .replication
            .set_min_locations(
                &place.namespace,
                Some((locations, deadline)),
                opened.queue.is_some(),
            )
            .await?;
    }
    console.line(&format!("{place}: set"));
    if arguments.only {
        console.note(
            "what lies elsewhere already stays there, and so does what other repositories hold too; Quay's workers do not know of rules: \
             switch them off",
        );
    }
    if has_rule {
        reconcile(opened, console).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn clear(
    arguments: &ClearArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let place = Place::parse(&arguments.place);
    if arguments.min_locations {
        if place.repository.is_some() {
            anyhow::bail!("pushes wait in a whole namespace: name it without a repository");
        }
        opened
            .replication
            .set_min_locations(&place.namespace, None, true)
            .await?;
        console.line(&format!("{place}: cleared"));
        return Ok(ExitCode::SUCCESS);
    }
    opened
        .replication
        .clear_rule(&place, arguments.tags.as_deref())
        .await?;
    console.line(&format!("{place}: cleared"));
    reconcile(opened, console).await?;
    Ok(ExitCode::SUCCESS)
}

async fn regions(
    arguments: &RegionsArguments,
    opened: &Opened,
    console: &mut Console,
) -> anyhow::Result<ExitCode> {
    let namespace = &arguments.namespace;
    if !arguments.locations.is_empty() {
        let locations: &[String] = match arguments.locations.as_slice() {
            [one] if one == "none" => &[],
            some => some,
        };
        opened.replication.set_regions(namespace, locations).await?;
    }
    let place = Place::parse(namespace);
    let demands = opened.replication.demands(Some(&place)).await?;
    for listing in &demands.namespaces {
        let regions = if listing.regions.is_empty() {
            "none".to_owned()
        } else {
            names(&listing.regions)
        };
        console.line(&format!("{}: {regions}", listing.namespace));
    }
    if !arguments.locations.is_empty() {
        reconcile(opened, console).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Queues what the change demands.
async fn reconcile(opened: &Opened, console: &mut Console) -> anyhow::Result<()> {
    if opened.queue.is_none() {
        console.note(
            "replication is switched off (FEATURE_STORAGE_REPLICATION): nothing is copied until it is switched on",
        );
        return Ok(());
    }
    let queued = opened.replication.reconcile(|_| ()).await?;
    for (location, wanted) in &queued.wanted {
        console.note(&format!(
            "queued {} to be copied to {location}",
            amount(*wanted)
        ));
    }
    if queued.wanted.is_empty() {
        console.note("nothing has to be copied for it");
    }
    Ok(())
}
