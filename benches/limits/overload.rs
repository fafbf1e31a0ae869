//! What happens at three times the load that the registry can take.
//!
//! What it can take is measured first. Then three times as many clients ask: with the bound on requests that is the default, which is far above, with
//! one at what it can take, and with limits on what one address and one account may ask for. Who is refused asks again ten times as soon as told.

use std::path::Path;
use std::time::Duration;

use roadstead_benches::client::Client;
use roadstead_benches::figures::median;
use roadstead_benches::registry::{Home, Registry};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::content::{Content, IMAGES, tag};
use crate::load::{NO_ANSWER, Seen, Until, put};

/// Clients that keep the registry busy, and how many times as many are too many.
const CLIENTS: usize = 64;
const TOO_MANY: usize = 3;

/// By how much the 99th percentile of what is admitted may grow.
const RATIO_MAX: f64 = 1.3;

/// The limits leave this much, in hundredths, of what the registry can take: refusing costs something too.
const ADMITTED_PERCENT: u32 = 75;

/// What is answered at once of what it can take: twice as many wait.
const AT_ONCE: usize = CLIENTS / 3;

/// A kind of load, and what was seen of it in every round.
struct Row {
    name: &'static str,
    /// What the configuration says besides; nothing is refused without it.
    limits: String,
    clients: usize,
    seen: Vec<Seen>,
}

pub(crate) fn measure(arguments: &Arguments, scratch: &Path) -> Value {
    let content = Content::new();
    let home = Home::new(&arguments.registry, scratch);
    let registry = home.start();
    content.push(&mut registry.client());
    registry.stop();
    let time = Duration::from_secs(arguments.seconds);
    let can_take = {
        let registry = home.start();
        load(&registry, CLIENTS, time).rate(200)
    };
    let rate = per_second(can_take);
    let limits = format!(
        "FEATURE_RATE_LIMITS: true\n\
         ROADSTEAD_RATE_LIMIT_ADDRESS_PER_SECOND: {rate}\nROADSTEAD_RATE_LIMIT_ADDRESS_BURST: {burst}\n\
         ROADSTEAD_RATE_LIMIT_ACCOUNT_PER_SECOND: {rate}\nROADSTEAD_RATE_LIMIT_ACCOUNT_BURST: {burst}\n",
        // What comes in a twentieth of a second.
        burst = (rate / 20).max(1)
    );
    println!("It answers {can_take:.0} manifests in a second; the limits are {rate}.\n");
    let bound = format!("ROADSTEAD_REQUESTS_MAX: {AT_ONCE}\n");
    let row = |name, clients, limits| Row {
        name,
        limits,
        clients,
        seen: Vec::new(),
    };
    let too_many = CLIENTS * TOO_MANY;
    let mut rows = [
        row("what it can take", CLIENTS, String::new()),
        row("three times that, default bound", too_many, String::new()),
        row(
            "three times that, bound at what it can take",
            too_many,
            bound,
        ),
        row("three times that, rate limits", too_many, limits),
    ];
    for _ in 0..arguments.rounds {
        for row in &mut rows {
            home.configure(&row.limits);
            let registry = home.start();
            row.seen.push(load(&registry, row.clients, time));
            registry.stop();
        }
    }
    print(&rows)
}

/// Has so many clients pull manifests by tag.
fn load(registry: &Registry, clients: usize, time: Duration) -> Seen {
    let first = registry.client();
    let mut clients: Vec<Client> = (1..clients).map(|_| first.another()).collect();
    clients.push(first);
    let mut pull = |time| {
        put(
            registry,
            &mut clients,
            Until::Over(time),
            |client, number| {
                let path = format!("manifests/{}", tag(number % IMAGES));
                client.status(&path).unwrap_or_else(|_| {
                    client.reconnect();
                    NO_ANSWER
                })
            },
        )
    };
    // Fills caches.
    pull(time / 8);
    pull(time)
}

/// The whole part of what is admitted in a second.
fn per_second(can_take: f64) -> u32 {
    let admitted = can_take * f64::from(ADMITTED_PERCENT) / 100.0;
    format!("{admitted:.0}")
        .parse::<u32>()
        .map_or(1, |rate| rate.max(1))
}

fn print(rows: &[Row]) -> Value {
    println!(
        "| load | clients | answer | in a second | p50 ms | p99 ms | p99 to the first | wanted | |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut raw = Vec::new();
    let mut first = None;
    for row in rows {
        let mut statuses: Vec<u16> = row.seen.iter().flat_map(Seen::statuses).collect();
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            let of = |figure: &dyn Fn(&Seen) -> f64| {
                let figures: Vec<f64> = row.seen.iter().map(figure).collect();
                (median(&figures), figures)
            };
            let (rate, rates) = of(&|seen| seen.rate(status));
            let (p50, p50s) = of(&|seen| seen.percentile_ms(status, 50));
            let (p99, p99s) = of(&|seen| seen.percentile_ms(status, 99));
            let ratio = p99 / *first.get_or_insert(p99);
            let (wanted, verdict) =
                match (!row.limits.is_empty() && status == 200, ratio <= RATIO_MAX) {
                    (false, _) => (String::new(), ""),
                    (true, true) => (format!("<= {RATIO_MAX}"), "met"),
                    (true, false) => (format!("<= {RATIO_MAX}"), "MISSED"),
                };
            println!(
                "| {} | {} | {status} | {rate:.0} | {p50:.2} | {p99:.2} | {ratio:.2} | {wanted} | {verdict} |",
                row.name, row.clients
            );
            raw.push(json!({
                "load": row.name, "clients": row.clients, "status": status,
                "per_second": rates, "p50_ms": p50s, "p99_ms": p99s,
            }));
        }
    }
    Value::Array(raw)
}
