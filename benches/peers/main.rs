//! The registry beside its peers, in one run: `cargo xtask bench --peers`.
//!
//! The load comes from `regbench`, a generator that takes turns: each phase of each round is put to one target after the other, with fresh
//! content, and the server's processor time is read from the kernel. What is measured against what, and what is wanted, is [`table`]'s;
//! who the peers are is [`peers`]'s, and in which forms the registry runs is [`registries`]'s. What the generator cannot do is [`reads`]': it speaks
//! no TLS, and is nobody who could push.
//!
//! Absolute figures are those of the machine on that day. Ratios within one run are what counts.

#![expect(
    clippy::print_stdout,
    reason = "what was measured is for whoever runs it"
)]

mod arguments;
mod peers;
mod reads;
mod registries;
mod table;

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use roadstead_benches::figures::median;
use serde_json::json;
use tempfile::TempDir;

use crate::arguments::Arguments;
use crate::peers::Peers;
use crate::reads::Reading;
use crate::registries::{Form, Registry};
use crate::table::{Alone, Figures};

fn main() {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.output).expect("the directory of the results can be made");
    let mut missed = 0;
    for form in Form::ALL {
        if !arguments.wants(form.name()) {
            continue;
        }
        println!("\n# {} ({})\n", form.name(), form.describe());
        // Five rounds leave 25 GB: the next form has the room of this one.
        let scratch = scratch(&arguments);
        missed += beside_peers(&arguments, form, scratch.path());
    }
    for reading in Reading::ALL {
        if !arguments.wants(reading.name()) {
            continue;
        }
        println!("\n# {} ({})\n", reading.name(), reading.describe());
        let scratch = scratch(&arguments);
        let file = arguments.output.join(format!("{}.json", reading.name()));
        reads::measure(reading, &arguments, scratch.path(), &file);
    }
    println!(
        "\n{missed} targets missed; raw data in {}",
        arguments.output.display()
    );
}

/// A directory on the disk of the results, removed when dropped.
fn scratch(arguments: &Arguments) -> TempDir {
    tempfile::tempdir_in(&arguments.output).expect("a directory can be made")
}

/// Measures a form of the registry, prints a table and tells how many targets were missed.
fn beside_peers(arguments: &Arguments, form: Form, scratch: &Path) -> usize {
    let peers = Peers::start(&arguments.harness, scratch);
    let registry = Registry::start(form, &arguments.registry, scratch);
    let tokens_ms = registry.times_of_a_token_ms();
    let alone = [
        Alone {
            work: "token, password seen before, ms CPU",
            figure: median(&tokens_ms),
            at_most: 0.2,
        },
        Alone {
            work: "start to first answer, database there, ms",
            figure: median(&registry.starts_ms),
            at_most: 200.0,
        },
    ];
    let file = |what: &str| arguments.output.join(format!("{}{what}.json", form.name()));
    let raw = json!({"tokens_ms": tokens_ms, "starts_ms": registry.starts_ms});
    fs::write(file("-alone"), format!("{raw:#}\n")).expect("a file can be written");
    measure(arguments, &peers, &registry, &file(""));
    let figures = Figures::read(&file(""));
    let missed = table::print(&figures, &alone, form == Form::Embedded);
    if let Some(before) = &arguments.before {
        let before = before.join(format!("{}.json", form.name()));
        table::compare(&Figures::read(&before), &figures);
    }
    missed
}

/// Has the generator put its load to all of them.
fn measure(arguments: &Arguments, peers: &Peers, registry: &Registry, file: &Path) {
    let mut targets = peers.targets();
    // The names of the generator's repositories begin so, and its bytes follow from it.
    let tag = std::process::id().to_string();
    targets.push(registry.target(&tag, arguments.rounds));
    let mut command = Command::new("python3");
    command
        .arg(arguments.harness.join("regbench.py"))
        .env("REGBENCH", &peers.generator)
        .args(["--big", &arguments.big, "--tag", &tag])
        .args([
            "--rounds",
            &arguments.rounds.to_string(),
            "--only",
            &arguments.only,
        ])
        .arg("--out")
        .arg(file);
    for target in targets {
        command.args(["--target", &target]);
    }
    let status = command.status().expect("python3 runs");
    assert!(status.success(), "regbench.py ended with {status}");
}
