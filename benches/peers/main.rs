//! The registry beside its peers, in one run: `cargo xtask bench --peers`.
//!
//! The load comes from `regbench`, a generator that takes turns: each phase of each round is put to one target after the other, with fresh
//! content, and the server's processor time is read from the kernel. What is measured against what, and what is wanted, is [`table`]'s;
//! who the peers are is [`peers`]'s, and in which forms the registry runs is [`registries`]'s.
//!
//! Absolute figures are those of the machine on that day. Ratios within one run are what counts.

#![expect(
    clippy::print_stdout,
    reason = "what was measured is for whoever runs it"
)]

mod arguments;
mod peers;
mod registries;
mod table;

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::peers::Peers;
use crate::registries::{Form, Registry};
use crate::table::Figures;

fn main() {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.output).expect("the directory of the results can be made");
    let scratch = tempfile::tempdir_in(&arguments.output).expect("a scratch directory");
    let peers = Peers::start(&arguments.harness, scratch.path());
    let mut missed = 0;
    for form in Form::ALL {
        if !arguments.wants(form.name()) {
            continue;
        }
        let registry = Registry::start(form, &arguments.registry, scratch.path());
        println!("\n# {} ({})\n", form.name(), form.describe());
        println!(
            "start to first answer: {} ms",
            registry.started_in.as_millis()
        );
        let token = registry.time_of_a_token();
        println!("a token for a password seen before: {token:.2} ms of processor time");
        let file = arguments.output.join(format!("{}.json", form.name()));
        measure(&arguments, &peers, &registry, &file);
        let figures = Figures::read(&file);
        missed += table::print(&figures, form == Form::Embedded);
        if let Some(before) = &arguments.before {
            table::compare(
                &Figures::read(&before.join(format!("{}.json", form.name()))),
                &figures,
            );
        }
    }
    println!(
        "\n{missed} targets missed; raw data in {}",
        arguments.output.display()
    );
}

/// Has the generator put its load to all of them.
fn measure(arguments: &Arguments, peers: &Peers, registry: &Registry, file: &Path) {
    let mut targets = peers.targets();
    // The names of the generator's repositories begin so.
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
