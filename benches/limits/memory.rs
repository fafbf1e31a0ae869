//! How much memory connections take: many that rest, and fewer that are all at work.

use std::path::Path;
use std::time::Duration;

use roadstead_benches::client::Client;
use roadstead_benches::content::Hashed;
use roadstead_benches::http::{Connection, Request};
use roadstead_benches::process::{peak_mib, resident_mib, watch};
use roadstead_benches::registry::{Home, Registry};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::content::{Content, IMAGES, tag};
use crate::load::{NO_ANSWER, Until, put};

/// Connections that have asked once and rest.
const IDLE: usize = 2_000;

/// Connections that ask all the time.
const BUSY: usize = 500;

/// Blobs of 4 MiB that these read, by turns with manifests.
const BLOBS: u64 = 8;

/// How long a client may wait for a part of an answer.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn measure(arguments: &Arguments, scratch: &Path) -> Value {
    let content = Content::new();
    let home = Home::new(&arguments.registry, scratch);
    let registry = home.start();
    let mut client = registry.client();
    content.push(&mut client);
    let blobs: Vec<Hashed> = (0..BLOBS)
        .map(|number| Hashed::of_chance(1 + number, 4 << 20))
        .collect();
    for blob in &blobs {
        client.push_blob(blob);
    }
    registry.stop();
    println!("| | MiB resident | MiB at most so far |");
    println!("|---|---|---|");
    let registry = home.start();
    let mut raw = vec![look(&registry, "at the start")];

    let began = watch();
    let idle: Vec<Connection> = (0..IDLE).map(|_| rest(&registry)).collect();
    raw.push(look(&registry, &format!("{IDLE} connections that rest")));
    let took = began.elapsed();
    drop(idle);
    // The registry closes connections that have rested for 30 s.
    assert!(
        took < Duration::from_secs(30),
        "the first of {IDLE} connections were closed before the last came"
    );

    let first = registry.client();
    let mut busy: Vec<Client> = (1..BUSY).map(|_| first.another()).collect();
    busy.push(first);
    let until = Until::Over(Duration::from_secs(arguments.seconds));
    let seen = put(&registry, &mut busy, until, |client, number| {
        let path = match blobs.get(usize::try_from(number / 2 % BLOBS).unwrap_or_default()) {
            Some(blob) if number % 2 == 1 => format!("blobs/{}", blob.digest),
            _ => format!("manifests/{}", tag(number % IMAGES)),
        };
        client.status(&path).unwrap_or(NO_ANSWER)
    });
    raw.push(look(&registry, &format!("{BUSY} connections at work")));
    println!(
        "\n{BUSY} connections at work: {:.0} answers in a second, statuses {:?}",
        seen.rate(200),
        seen.statuses()
    );
    Value::Array(raw)
}

/// Prints how much memory it has.
fn look(registry: &Registry, when: &str) -> Value {
    let process = registry.id().to_string();
    let now = resident_mib(&process).unwrap_or_default();
    let peak = peak_mib(&process).unwrap_or_default();
    println!("| {when} | {now} | {peak} |");
    json!({"when": when, "resident_mib": now, "peak_mib": peak})
}

/// A connection over which something was asked once.
fn rest(registry: &Registry) -> Connection {
    let request = Request {
        method: "GET",
        path: "/v2/",
        headers: &[],
        body: &[],
    };
    let mut connection =
        Connection::open(registry.address(), PATIENCE).expect("it takes connections");
    connection.status(request).expect("it answers");
    connection
}
