//! The table as a page for people.

use std::fmt::Write as _;

use super::{Effect, INTERFACE, Key, Reload, THEMES, Theme};
use crate::env;
use crate::sections::drivers;

const HEAD: &str = "\
# Configuration

<!-- Written by the tests of crates/config from the table in crates/config/src/schema: change it there, and run them with ROADSTEAD_WRITE_TABLES=1. -->

The configuration is Quay's: `config.yaml` in the directory that `--config-dir` names, else in `$QUAYCONF/stack` or `/conf/stack`. Every key that
Quay knows is known here. A file that cannot be used stops the start with everything that is wrong in it; `admin config check` says the same
without starting anything, `admin config explain KEY` what a key does and where its value comes from, and `admin config diff` in what two
regions differ. [config.schema.json](config.schema.json) is a JSON Schema for editors.

What the columns say: **restart**: it counts, and a change with the next start; **live**: a change counts within seconds; **by region**:
regions may differ in it, and should be alike in everything else; **none**: without effect,
and nobody misses it; **not here**: without effect, and a value is named in a warning, unless it says what is always so here; **refused**:
any value but the default stops the start. Defaults of keys without effect are Quay's.
";

/// docs/CONFIGURATION.md.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for theme in THEMES {
        write_theme(&mut page, &theme);
    }
    write_drivers(&mut page);
    write_variables(&mut page);
    write_theme(&mut page, &INTERFACE);
    page
}

fn write_theme(page: &mut String, theme: &Theme) {
    line(page, &format!("\n## {}\n", theme.title));
    line(page, "| key | what may stand there | default | effect | |");
    line(page, "| --- | --- | --- | --- | --- |");
    for key in theme.keys {
        let default = match key.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        let cells = [
            format!("`{}`", key.name),
            key.kind.allowed(),
            default,
            effect(key),
            key.about.to_owned(),
        ];
        line(page, &format!("| {} |", cells.join(" | ")));
    }
}

fn effect(key: &Key) -> String {
    match key.effect {
        Effect::Used(reload) => {
            let reload = match reload {
                Reload::Restart => "restart",
                Reload::Live => "live",
            };
            let regional = if key.regional { ", by region" } else { "" };
            format!("{reload}{regional}")
        }
        Effect::Always(here) => format!("not here: always `{here}`"),
        Effect::Missed => "not here".to_owned(),
        Effect::Idle => "none".to_owned(),
        Effect::Refused => "refused".to_owned(),
    }
}

fn write_drivers(page: &mut String) {
    line(page, "\n## Drivers\n");
    line(page, "| driver | parameters |");
    line(page, "| --- | --- |");
    for (driver, parameters) in drivers() {
        let parameters: Vec<String> = parameters
            .into_iter()
            .map(|parameter| format!("`{parameter}`"))
            .collect();
        line(page, &format!("| `{driver}` | {} |", parameters.join(", ")));
    }
}

fn write_variables(page: &mut String) {
    line(page, "\n## Environment variables\n");
    line(
        page,
        "A variable that is set but empty counts as not set.\n",
    );
    line(page, "| variable | effect | |");
    line(page, "| --- | --- | --- |");
    for variable in env::VARIABLES {
        let effect = if variable.used { "used" } else { "none" };
        line(
            page,
            &format!("| `{}` | {effect} | {} |", variable.name, variable.about),
        );
    }
}

fn line(page: &mut String, line: &str) {
    // Writing to a text does not fail.
    writeln!(page, "{line}").unwrap_or_default();
}
