//! With real servers, which are killed, flushed, frozen and replaced by others.

mod nonsense;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roadstead_runtime::{Environment, Tasks};
use roadstead_secrets::Secret;
use roadstead_test_servers::{RedisCluster, RedisSentinel, RedisServer, RedisSettings, free_port};

use super::*;

const CHANNEL: &str = "roadstead/test";

/// How long a condition is waited for before a test fails; far more than any takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Remembers what it is told.
#[derive(Debug, Default)]
struct Ear {
    heard: Mutex<Vec<String>>,
    connections: Mutex<u32>,
}

impl Ear {
    fn has_heard(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().any(|heard| heard == text)
    }
}

impl Listener for Ear {
    fn heard(&self, channel: &str, payload: &[u8]) {
        assert_eq!(channel, CHANNEL);
        let text = String::from_utf8_lossy(payload).into_owned();
        self.heard.lock().unwrap().push(text);
    }

    fn connected(&self) {
        *self.connections.lock().unwrap() += 1;
    }
}

/// A process with a bus.
struct Station {
    bus: Bus,
    ear: Arc<Ear>,
    tasks: Tasks,
}

impl Station {
    fn start(options: &RedisOptions) -> Self {
        let environment = Environment::system();
        let (bus, parts) = Bus::new(options.clone(), vec![CHANNEL.to_owned()], environment);
        let (ear, tasks) = (Arc::new(Ear::default()), Tasks::new());
        let (listener, shutdown) = (Arc::clone(&ear), tasks.shutdown());
        tasks.spawn(async move { parts.run(listener, &shutdown).await });
        Self { bus, ear, tasks }
    }

    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let looking = async {
            while !so(self) {
                pause().await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, looking).await;
        assert!(seen.is_ok(), "{what}: {:?}", self.bus.state());
    }

    async fn connected(&self) {
        self.until("there is a connection", |station| {
            station.bus.state().connected
        })
        .await;
    }

    async fn stop(self) {
        assert!(self.tasks.stop(PATIENCE).await);
        assert!(!self.bus.state().connected);
    }
}

async fn pause() {
    use roadstead_runtime::Clock as _;
    roadstead_runtime::SystemClock
        .sleep(Duration::from_millis(10))
        .await;
}

/// Says something, again and again until the other has heard it.
async fn is_heard(from: &Station, to: &Station, text: &str) {
    from.until(text, |from| {
        from.bus.tell(CHANNEL, text.to_owned());
        to.ear.has_heard(text)
    })
    .await;
}

fn at(server: &RedisServer) -> RedisOptions {
    RedisOptions::new("localhost", server.port())
}

#[tokio::test]
async fn what_one_tells_another_hears_also_after_a_flush_a_freeze_and_a_restart() {
    let mut server = RedisServer::start(RedisSettings::default());
    let (one, two) = (Station::start(&at(&server)), Station::start(&at(&server)));
    one.connected().await;
    two.connected().await;
    is_heard(&one, &two, "hello").await;

    server.run(&["FLUSHALL"]);
    is_heard(&one, &two, "after the flush").await;

    server.freeze();
    one.until("it is noticed that nobody answers", |one| {
        one.bus.tell(CHANNEL, "while it stands still");
        !one.bus.state().connected
    })
    .await;
    assert!(!one.bus.tell(CHANNEL, "nobody hears that"));
    assert!(one.bus.state().dropped >= 1);
    server.thaw();
    is_heard(&one, &two, "after the freeze").await;

    server.kill();
    one.until("it is noticed that nobody is there", |one| {
        !one.bus.state().connected
    })
    .await;
    server.restart();
    two.until("the other is there again", |two| two.bus.state().connected)
        .await;
    is_heard(&one, &two, "after the restart").await;
    // Each time it may have missed something.
    assert!(*one.ear.connections.lock().unwrap() >= 3);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_server_that_stands_still_is_noticed_by_a_process_that_only_listens() {
    let server = RedisServer::start(RedisSettings::default());
    let station = Station::start(&at(&server));
    station.connected().await;
    server.freeze();
    station
        .until("it is noticed", |station| !station.bus.state().connected)
        .await;
    server.thaw();
    station.connected().await;
    station.stop().await;
}

#[tokio::test]
async fn more_than_can_be_sent_is_dropped_and_nobody_waits() {
    let server = RedisServer::start(RedisSettings::default());
    let station = Station::start(&at(&server));
    station.connected().await;
    server.freeze();
    let taken = (0..100_000)
        .filter(|number: &u32| station.bus.tell(CHANNEL, number.to_string()))
        .count();
    assert!(taken < 10_000, "{taken}");
    assert!(station.bus.state().dropped >= 90_000);
    server.thaw();
    station
        .until("it is heard again", |station| {
            station.bus.tell(CHANNEL, "again");
            station.ear.has_heard("again")
        })
        .await;
    station.stop().await;
}

/// A user that may tell and hear in these channels only, and may not give these commands.
fn narrow(server: &RedisServer, channels: &[&str], commands: &[&str]) -> RedisOptions {
    let rules = ["ACL", "SETUSER", "narrow", "on", ">word", "~*", "+@all"];
    let rule = [&rules[..], &["resetchannels"], channels, commands].concat();
    assert_eq!(server.run(&rule), "OK");
    RedisOptions {
        username: Some("narrow".to_owned()),
        password: Some(Secret::new("word")),
        ..at(server)
    }
}

#[tokio::test]
async fn a_message_that_is_refused_is_dropped_and_the_connection_stays() {
    let server = RedisServer::start(RedisSettings::default());
    let channels = ["&roadstead/test", "&roadstead/echo/*"];
    let station = Station::start(&narrow(&server, &channels, &[]));
    station.connected().await;
    assert!(station.bus.tell("roadstead/elsewhere", "not for us"));
    station
        .until("it is refused", |station| station.bus.state().dropped == 1)
        .await;
    is_heard(&station, &station, "hello").await;
    let state = station.bus.state();
    assert_eq!((state.attempts, state.connections), (1, 1));
    station.stop().await;
}

#[tokio::test]
async fn without_an_echo_there_is_no_connection() {
    let server = RedisServer::start(RedisSettings::default());
    let station = Station::start(&narrow(&server, &["&*"], &["-publish"]));
    station
        .until("it is tried again", |station| {
            assert!(!station.bus.tell(CHANNEL, "nobody hears that"));
            station.bus.state().attempts > 1
        })
        .await;
    assert_eq!(station.bus.state().connections, 0);
    assert_eq!(*station.ear.connections.lock().unwrap(), 0);
    station.stop().await;
}

#[tokio::test]
async fn passwords_and_certificates_are_asked_for_and_never_told() {
    let environment = Environment::system();
    let server = RedisServer::start(RedisSettings {
        password: Some("open sesame".to_owned()),
        tls: true,
        ..RedisSettings::default()
    });
    let authority = server.authority().unwrap().as_bytes().to_vec();
    let good = RedisOptions {
        password: Some(Secret::new("open sesame")),
        tls: Some(TlsOptions {
            authorities: vec![authority.clone()],
            ..TlsOptions::default()
        }),
        ..at(&server)
    };
    check(&good, &environment).await.unwrap();
    let (one, two) = (Station::start(&good), Station::start(&good));
    one.connected().await;
    two.connected().await;
    is_heard(&one, &two, "a secret").await;
    one.stop().await;
    two.stop().await;

    let wrong = RedisOptions {
        password: Some(Secret::new("hunter2")),
        ..good.clone()
    };
    let without = RedisOptions {
        password: None,
        ..good.clone()
    };
    for options in [wrong, without] {
        let refused = check(&options, &environment).await.unwrap_err();
        let told = format!("{refused} {refused:?} {options:?}");
        assert!(matches!(refused, RedisError::NotLetIn { .. }), "{told}");
        assert!(
            !told.contains("hunter2") && !told.contains("open sesame"),
            "{told}"
        );
    }
    let stranger = RedisOptions {
        tls: Some(TlsOptions::default()),
        ..good.clone()
    };
    let elsewhere = RedisOptions {
        servers: Servers::One(Address {
            host: "127.0.0.1".to_owned(),
            port: server.port(),
        }),
        ..good.clone()
    };
    let plain = RedisOptions {
        tls: None,
        ..good.clone()
    };
    for options in [stranger, elsewhere, plain] {
        let refused = check(&options, &environment).await.unwrap_err();
        assert!(
            matches!(
                refused,
                RedisError::Unreachable { .. } | RedisError::Late { .. }
            ),
            "{refused:?}"
        );
    }
    // One that is not there, one without an end, and one that is too large: the program of this test.
    for file in [
        PathBuf::from("/nonexistent/ca.pem"),
        "/dev/zero".into(),
        std::env::current_exe().unwrap(),
    ] {
        let unreadable = RedisOptions {
            tls: Some(TlsOptions {
                authority_files: vec![file.clone()],
                ..TlsOptions::default()
            }),
            ..good.clone()
        };
        let refused = check(&unreadable, &environment).await.unwrap_err();
        assert!(
            matches!(&refused, RedisError::File { path, .. } if *path == file),
            "{refused:?}"
        );
    }
    let empty = RedisOptions {
        tls: Some(TlsOptions {
            authorities: vec![b"nothing of the kind".to_vec()],
            ..TlsOptions::default()
        }),
        ..good
    };
    let refused = check(&empty, &environment).await.unwrap_err();
    assert!(matches!(refused, RedisError::Certificate { .. }));
}

#[tokio::test]
async fn a_check_writes_the_key_that_quays_writes_and_tells_who_does_not_answer() {
    let environment = Environment::system();
    let mut server = RedisServer::start(RedisSettings::default());
    let options = RedisOptions {
        database: 3,
        ..at(&server)
    };
    check(&options, &environment).await.unwrap();
    assert_ne!(server.run(&["-n", "3", "GET", "_health"]), "");
    server.freeze();
    let refused = check(&options, &environment).await.unwrap_err();
    assert!(
        matches!(
            refused,
            RedisError::Late { .. } | RedisError::Unreachable { .. }
        ),
        "{refused:?}"
    );
    server.thaw();
    server.kill();
    let refused = check(&options, &environment).await.unwrap_err();
    assert!(matches!(refused, RedisError::Unreachable { .. }));
    assert!(
        refused
            .to_string()
            .contains(&format!("localhost:{}", server.port())),
        "{refused}"
    );
}

#[tokio::test]
async fn the_server_that_a_sentinel_promotes_is_found() {
    let environment = Environment::system();
    let mut primary = RedisServer::start(RedisSettings::default());
    let _replica = RedisServer::start(RedisSettings {
        replica_of: Some(primary.port()),
        ..RedisSettings::default()
    });
    let sentinel = RedisSentinel::start(&primary);
    let nobody = Address {
        host: "localhost".to_owned(),
        port: free_port(),
    };
    let watched = Address {
        host: "localhost".to_owned(),
        port: sentinel.port(),
    };
    let options = RedisOptions {
        servers: Servers::Sentinels {
            sentinels: vec![nobody, watched],
            service: RedisSentinel::SERVICE.to_owned(),
            username: None,
            password: None,
        },
        ..RedisOptions::new("", 0)
    };
    check(&options, &environment).await.unwrap();
    let (one, two) = (Station::start(&options), Station::start(&options));
    one.connected().await;
    two.connected().await;
    is_heard(&one, &two, "before").await;
    primary.kill();
    one.until("the loss is noticed", |one| !one.bus.state().connected)
        .await;
    is_heard(&one, &two, "after").await;
    check(&options, &environment).await.unwrap();
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn the_nodes_of_a_cluster_pass_on_what_is_told() {
    let environment = Environment::system();
    let cluster = RedisCluster::start();
    let nodes: Vec<Address> = cluster
        .ports()
        .into_iter()
        .map(|port| Address {
            host: "127.0.0.1".to_owned(),
            port,
        })
        .collect();
    let by = |node: usize| RedisOptions {
        servers: Servers::Cluster(vec![nodes[node].clone()]),
        ..RedisOptions::new("", 0)
    };
    check(&by(0), &environment).await.unwrap();
    let (one, two) = (Station::start(&by(1)), Station::start(&by(2)));
    one.connected().await;
    two.connected().await;
    is_heard(&one, &two, "across").await;
    one.stop().await;
    two.stop().await;
}
