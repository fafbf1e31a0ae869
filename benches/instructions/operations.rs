//! What is counted.

use roadstead_benches::client::Client;
use roadstead_benches::content::Hashed;

use crate::content::{Content, TAGS, tag};

/// How often what is logged is read in a batch: the log is written a second after the first of them, and a batch has to be over by then.
const LOGGED_READS: u64 = 10;

/// How many requests that read are a batch: of what happens once in it, such as a question to the database after a commit, a fortieth is in the count.
const READS: u64 = 40;

/// How many that write or sign are one: each costs many times what a read costs, so that what happens besides matters less.
const WRITES: u64 = 10;

/// An operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// How many requests are a batch.
    pub(crate) times: u64,
    /// Whether the registry writes it into its log, some time later.
    pub(crate) is_logged: bool,
    /// Makes one request, or those that belong together. The number is another one each time.
    pub(crate) ask: fn(&mut Client, &Content, u64),
}

/// All of them. Those that add tags come last, so that the list has as many in every run.
pub(crate) const OPERATIONS: [Operation; 10] = [
    Operation {
        name: "ping",
        times: READS,
        is_logged: false,
        ask: |client, _, _| client.ping(),
    },
    Operation {
        name: "manifest-by-tag",
        times: LOGGED_READS,
        is_logged: true,
        ask: |client, _, _| client.pull_manifest(&tag(0)),
    },
    Operation {
        name: "manifest-by-digest",
        times: LOGGED_READS,
        is_logged: true,
        ask: |client, content, _| client.pull_manifest(content.manifest(0).digest.as_str()),
    },
    Operation {
        name: "blob-head",
        times: READS,
        is_logged: false,
        ask: |client, content, _| client.look_at_blob(&content.small[0]),
    },
    Operation {
        name: "blob-4k",
        times: READS,
        is_logged: false,
        ask: |client, content, _| client.pull_blob(&content.small[0]),
    },
    Operation {
        name: "blob-range-64k",
        times: READS,
        is_logged: false,
        ask: |client, content, _| client.pull_range(&content.large, 64 << 10),
    },
    Operation {
        name: "tags-100",
        times: READS,
        is_logged: false,
        ask: |client, _, _| client.list_tags(TAGS),
    },
    Operation {
        name: "token",
        times: WRITES,
        is_logged: false,
        ask: |client, _, _| drop(client.new_token()),
    },
    Operation {
        name: "blob-push-64k",
        times: WRITES,
        is_logged: false,
        ask: |client, _, number| client.push_blob(&Hashed::of_chance(1_000 + number, 64 << 10)),
    },
    Operation {
        name: "manifest-push",
        times: WRITES,
        is_logged: false,
        ask: |client, content, number| {
            let number = TAGS + number;
            client.push_manifest(&tag(number), &content.manifest(number));
        },
    },
];
