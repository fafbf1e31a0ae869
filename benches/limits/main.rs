//! How the registry takes size, connections, processors and too much load: `cargo xtask bench --limits`.
//!
//! In its embedded form, with a token for every request. What is measured is [`scale`]'s, [`memory`]'s, [`cores`]' and [`overload`]'s; the load
//! comes from threads of this program, one for each client, so that on a machine with two processors both compete for them: processor time is
//! that of the registry alone, rates and waiting times are those of both together.
//!
//! Absolute figures are those of the machine on that day. Ratios within one run are what counts.

#![expect(
    clippy::print_stdout,
    reason = "what was measured is for whoever runs it"
)]

mod arguments;
mod content;
mod cores;
mod load;
mod memory;
mod overload;
mod scale;

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::Parser as _;
use serde_json::Value;

use crate::arguments::Arguments;

/// Files that may be open at once, here and in the registry, which inherits it: each connection is one in both.
const FILES: &str = "8192";

/// Prints what it measures in a directory of its own, and returns it.
type Measurement = fn(&Arguments, &Path) -> Value;

const MEASUREMENTS: [(&str, Measurement); 4] = [
    ("scale", scale::measure),
    ("memory", memory::measure),
    ("cores", cores::measure),
    ("overload", overload::measure),
];

fn main() {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.output).expect("the directory of the results can be made");
    let raised = Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string()])
        .arg(format!("--nofile={FILES}:"))
        .status();
    assert!(
        raised.is_ok_and(|status| status.success()),
        "{FILES} files cannot be opened at once: raise the limit with ulimit -Hn"
    );
    for (name, measure) in MEASUREMENTS {
        if !arguments.wants(name) {
            continue;
        }
        println!("\n# {name}\n");
        let scratch = tempfile::tempdir_in(&arguments.output).expect("a scratch directory");
        let raw = measure(&arguments, scratch.path());
        let file = arguments.output.join(format!("{name}.json"));
        fs::write(file, format!("{raw:#}\n")).expect("a file can be written");
    }
    println!("\nraw data in {}", arguments.output.display());
}
