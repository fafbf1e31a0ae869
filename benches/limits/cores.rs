//! What a second processor brings.

use std::fs;
use std::path::Path;
use std::time::Duration;

use roadstead_benches::client::Client;
use roadstead_benches::figures::median;
use roadstead_benches::registry::{Home, Registry};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::content::{Content, IMAGES, tag};
use crate::load::{Until, put};

/// An image is some twenty requests, so that a round of them is short.
const PUSHED_IMAGES: u64 = 100;

const READERS: usize = 32;
const PUSHERS: usize = 8;

/// A registry that has these processors.
struct Confined {
    processors: String,
    registry: Registry,
    clients: Vec<Client>,
}

impl Confined {
    fn new(program: &Path, directory: &Path, content: &Content, processors: &[&str]) -> Self {
        fs::create_dir_all(directory).expect("a directory can be made");
        let home = Home::new(program, directory);
        let registry = home.start();
        content.push(&mut registry.client());
        registry.stop();
        let processors = processors.join(",");
        let registry = home.start_on(&processors);
        let first = registry.client();
        let mut clients: Vec<Client> = (1..READERS).map(|_| first.another()).collect();
        clients.push(first);
        Self {
            processors,
            registry,
            clients,
        }
    }

    /// Manifests in a second.
    fn read(&mut self, time: Duration) -> f64 {
        let clients = &mut self.clients;
        let seen = put(
            &self.registry,
            clients,
            Until::Over(time),
            |client, number| {
                client.pull_manifest(&tag(number % IMAGES));
                200
            },
        );
        seen.rate(200)
    }

    /// Images in a second.
    fn push(&mut self, content: &Content, round: u32) -> f64 {
        let from = u64::from(round) * PUSHED_IMAGES;
        let clients = self.clients.get_mut(..PUSHERS).unwrap_or_default();
        let until = Until::Asked(PUSHED_IMAGES);
        let seen = put(&self.registry, clients, until, |client, number| {
            content.push_large(client, from + number);
            200
        });
        seen.rate(200)
    }
}

pub(crate) fn measure(arguments: &Arguments, scratch: &Path) -> Value {
    let content = Content::new();
    let allowed = allowed();
    let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
    let mut registries: Vec<Confined> = [1, 2]
        .iter()
        .map(|count| {
            let processors = allowed.get(..*count).expect("there are two processors");
            let directory = scratch.join(count.to_string());
            Confined::new(&arguments.registry, &directory, &content, processors)
        })
        .collect();
    let (mut reads, mut pushes) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
    for round in 0..arguments.rounds {
        let each = registries.iter_mut().zip(&mut reads).zip(&mut pushes);
        for ((registry, reads), pushes) in each {
            reads.push(registry.read(Duration::from_secs(arguments.seconds)));
            pushes.push(registry.push(&content, round));
        }
    }
    println!(
        "{} processors, which the load takes its part of: of two, a registry that has both never gets both.\n",
        allowed.len()
    );
    println!("| work | processors | in a second | ratio |");
    println!("|---|---|---|---|");
    let mut raw = Vec::new();
    for (work, rates) in [
        ("manifest by tag, 32 clients", reads),
        ("image of five layers of 64 KiB, 8 clients", pushes),
    ] {
        let first = rates.first().map_or(0.0, |rates| median(rates));
        for (registry, rates) in registries.iter().zip(rates) {
            let (rate, processors) = (median(&rates), &registry.processors);
            println!(
                "| {work} | {processors} | {rate:.0} | {:.2} |",
                rate / first
            );
            raw.push(json!({"work": work, "processors": processors, "per_second": rates}));
        }
    }
    Value::Array(raw)
}

/// The processors that this process may run on.
fn allowed() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").expect("it is our own");
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .expect("every Linux tells");
    list.trim()
        .split(',')
        .flat_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.parse::<u32>().expect("it is a number");
            number(from)..=number(to)
        })
        .map(|processor| processor.to_string())
        .collect()
}
