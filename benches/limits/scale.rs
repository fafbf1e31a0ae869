//! What operations cost where there is little and where there is much: in one repository, and in the registry around it.
//!
//! Each registry runs all the time and is asked in turn, so that whatever else the machine does meets all. Pushes add to them: a few thousand objects
//! over a run, the same in each. A page of tags has ten, however many there are, so that all of them answer the same.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use roadstead_benches::client::Client;
use roadstead_benches::content::Hashed;
use roadstead_benches::figures::median;
use roadstead_benches::registry::{Home, Registry};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::content::{Content, IMAGES, tag};
use crate::load::{Until, put};

/// How much dearer an operation may be in the largest registry than in the smallest.
const RATIO_MAX: f64 = 1.3;

const CLIENTS: usize = 8;

/// The rows of many images, for `sqlite3`.
const FILL: &str = include_str!("fill.sql");

/// An operation.
struct Operation {
    name: &'static str,
    /// How often it is done in a round: a second of processor time or so.
    times: u64,
    /// The number is another one each time.
    ask: fn(&mut Client, &Content, u64),
}

const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "push of a blob of 4 KiB",
        times: 200,
        ask: |client, _, number| client.push_blob(&Hashed::of_chance(1 + number, 4 << 10)),
    },
    Operation {
        name: "push of a manifest",
        times: 200,
        ask: |client, content, number| {
            client.push_manifest(&format!("y{number:07}"), &content.manifest(IMAGES + number));
        },
    },
    Operation {
        name: "manifest by tag",
        times: 10_000,
        ask: |client, _, number| client.pull_manifest(&tag(number % IMAGES)),
    },
    Operation {
        name: "page of ten tags",
        times: 10_000,
        ask: |client, _, _| client.list_tags(10),
    },
    Operation {
        name: "ten referrers",
        times: 5_000,
        ask: |client, content, _| client.list_referrers(&content.manifest(0).digest),
    },
];

/// A registry with so many images.
struct Filled {
    images: u64,
    registry: Registry,
    clients: Vec<Client>,
}

impl Filled {
    fn new(
        program: &Path,
        directory: &Path,
        content: &Content,
        images: u64,
        together: bool,
    ) -> Self {
        std::fs::create_dir_all(directory).expect("a directory can be made");
        let home = Home::new(program, directory);
        let registry = home.start();
        content.push(&mut registry.client());
        registry.stop();
        if images > 0 {
            fill(&home.database(), images, together);
        }
        let registry = home.start();
        let first = registry.client();
        let clients = (1..CLIENTS).map(|_| first.another()).collect::<Vec<_>>();
        Self {
            images,
            registry,
            clients: clients.into_iter().chain([first]).collect(),
        }
    }
}

/// Adds images to a database that nobody uses: to the one repository, or fifty to each of their own.
fn fill(database: &Path, images: u64, together: bool) {
    let mut child = Command::new("sqlite3")
        .args(["-batch", "-bail"])
        .arg(database)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed");
    let input = format!(
        ".parameter init\n.parameter set :images {images}\n.parameter set :together {}\n{FILL}",
        u8::from(together)
    );
    let mut pipe = child.stdin.take().expect("it is piped");
    pipe.write_all(input.as_bytes()).expect("sqlite3 reads");
    drop(pipe);
    let output = child.wait_with_output().expect("it is ours");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.lines().last() == Some(images.to_string().as_str()),
        "{} could not be filled: {said}",
        database.display()
    );
}

pub(crate) fn measure(arguments: &Arguments, scratch: &Path) -> Value {
    let content = Content::new();
    let mut raw = Vec::new();
    println!("| where | operation | images besides ten | us CPU | ratio | wanted | |");
    println!("|---|---|---|---|---|---|---|");
    for (name, together) in [("in one repository", true), ("in the registry", false)] {
        let mut registries: Vec<Filled> = arguments
            .images
            .iter()
            .map(|images| {
                let directory = scratch.join(format!("{}-{images}", u8::from(together)));
                Filled::new(&arguments.registry, &directory, &content, *images, together)
            })
            .collect();
        for operation in OPERATIONS {
            let costs = costs(&operation, &content, &mut registries, arguments.rounds);
            let first = costs.first().map_or(0.0, |costs| median(costs));
            for (registry, costs) in registries.iter().zip(costs) {
                let cost = median(&costs);
                let ratio = cost / first;
                let verdict = if ratio <= RATIO_MAX { "met" } else { "MISSED" };
                println!(
                    "| {name} | {} | {} | {cost:.1} | {ratio:.2} | <= {RATIO_MAX} | {verdict} |",
                    operation.name, registry.images
                );
                raw.push(json!({
                    "where": name, "operation": operation.name, "images": registry.images, "cpu_us": costs,
                }));
            }
        }
    }
    Value::Array(raw)
}

/// What an operation costs each registry, round by round. The first round fills caches and is not counted.
fn costs(
    operation: &Operation,
    content: &Content,
    registries: &mut [Filled],
    rounds: u32,
) -> Vec<Vec<f64>> {
    let mut costs = vec![Vec::new(); registries.len()];
    for round in 0..=rounds {
        for (registry, costs) in registries.iter_mut().zip(&mut costs) {
            let from = u64::from(round) * operation.times;
            let seen = put(
                &registry.registry,
                &mut registry.clients,
                Until::Asked(operation.times),
                |client, number| {
                    (operation.ask)(client, content, from + number);
                    200
                },
            );
            if round > 0 {
                costs.push(seen.cpu_us());
            }
        }
    }
    costs
}
