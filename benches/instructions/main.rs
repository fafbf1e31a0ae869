//! How many instructions the registry executes for each of a fixed set of operations: `cargo xtask instructions`.
//!
//! The registry runs under valgrind's callgrind, which counts them, and is asked over one connection. Counts and not times, so that the machine and
//! whatever else it does matter little. What is asked is [`operations`]'s, what it is asked for is [`content`]'s; what the counts are held against
//! is `xtask`'s business.
//!
//! What varies is what the registry does by itself meanwhile. Pulls are noted in its log in batches, each second; it probes itself and tells that it
//! is there every few seconds; and with each commit of these it forgets what the database said, as answers are remembered only while nothing is
//! committed, so that the next request asks once more. All of that makes a batch of requests dearer and never cheaper. So batches are short and the
//! cheapest of several counts, and what may still be in that is shared by all its requests. That is far less than the margin that `xtask` allows.

mod arguments;
mod callgrind;
mod client;
mod content;
mod http;
mod operations;
mod registry;

use std::fs;

use clap::Parser as _;

use crate::arguments::Arguments;
use crate::callgrind::Callgrind;
use crate::client::Client;
use crate::content::Content;
use crate::operations::{OPERATIONS, Operation};
use crate::registry::Home;

/// How many batches of each operation are counted.
const BATCHES: u64 = 5;

fn main() {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.scratch).expect("a directory can be made");
    let scratch = tempfile::tempdir_in(&arguments.scratch).expect("a scratch directory");
    let home = Home::new(&arguments.registry, scratch.path());
    let content = Content::new();
    // What is not counted happens at full speed.
    let registry = home.start();
    content.push(&mut registry.client());
    registry.stop();

    let (registry, mut callgrind) = home.start_under_callgrind();
    let mut client = registry.client();
    callgrind.switch_on();
    let lines: Vec<String> = OPERATIONS
        .iter()
        .map(|operation| {
            let instructions = count(operation, &mut client, &content, &mut callgrind);
            format!("{} {instructions}\n", operation.name)
        })
        .collect();
    fs::write(&arguments.output, lines.concat()).expect("a file can be written");
}

/// The instructions of one request.
fn count(
    operation: &Operation,
    client: &mut Client,
    content: &Content,
    callgrind: &mut Callgrind,
) -> u64 {
    let mut batch = |number: u64| {
        callgrind.zero();
        for request in number * operation.times..(number + 1) * operation.times {
            (operation.ask)(client, content, request);
        }
        callgrind.counted() / operation.times
    };
    // Fills caches and is not counted.
    batch(0);
    (1..=BATCHES)
        .map(batch)
        .min()
        .expect("there are several batches")
}
