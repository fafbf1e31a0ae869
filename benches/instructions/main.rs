//! How many instructions the registry executes for each of a fixed set of operations: `cargo xtask instructions`.
//!
//! The registry runs under valgrind's callgrind, which counts them, and is asked over one connection. Counts and not times, so that the machine and
//! whatever else it does matter little. What is asked is [`operations`]'s, what it is asked for is [`content`]'s; what the counts are held against
//! is `xtask`'s business.
//!
//! What varies is what the registry does by itself meanwhile. Pulls are written into its log a second after the first of them, so that a batch of them
//! begins when there is nothing to be written, and has ended when there is. It probes itself and tells that it is there every few seconds; and with
//! each commit of these it forgets what the database said, as answers are remembered only while nothing is committed, so that the next request asks
//! once more. All of that makes a batch of requests dearer and never cheaper. So batches are short and the cheapest of several counts, and what may
//! still be in that is shared by all its requests. That is far less than the margin that `xtask` allows.

mod arguments;
mod callgrind;
mod content;
mod operations;

use std::fs;
use std::thread;
use std::time::Duration;

use clap::Parser as _;
use roadstead_benches::client::Client;
use roadstead_benches::registry::Home;

use crate::arguments::Arguments;
use crate::callgrind::Callgrind;
use crate::content::Content;
use crate::operations::{OPERATIONS, Operation};

/// How many batches of each operation are counted.
const BATCHES: u64 = 8;

/// After how long everything has been logged that was to be. Emulated, what takes a second and a moment takes longer.
const LOGGED_AFTER: Duration = Duration::from_secs(3);

/// How long the registry may take for anything under valgrind, where all threads take turns and the RSA key of the second start takes tens of seconds.
const EMULATED: Duration = Duration::from_mins(5);

fn main() {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.scratch).expect("a directory can be made");
    let scratch = tempfile::tempdir_in(&arguments.scratch).expect("a scratch directory");
    // Of several workers, those without work look for some, more or less often.
    let home = Home::new(&arguments.registry, scratch.path())
        .with_environment("TOKIO_WORKER_THREADS", "1");
    let content = Content::new();
    // What is not counted happens at full speed.
    let registry = home.start();
    content.push(&mut registry.client());
    registry.stop();

    let command = Callgrind::command(&arguments.registry, scratch.path());
    let registry = home.start_by(command, EMULATED);
    let mut callgrind = Callgrind::new(registry.id(), scratch.path());
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
        if operation.is_logged {
            thread::sleep(LOGGED_AFTER);
        }
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
