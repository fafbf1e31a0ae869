//! Where Redis is.

use super::*;

fn with(lines: &str) -> Fixture {
    Fixture::new(format!("{SMALL}{lines}"))
}

fn one(host: &str, port: u16) -> RedisServer {
    RedisServer {
        servers: RedisServers::One((host.to_owned(), port)),
        username: None,
        password: None,
        database: 0,
        tls: None,
    }
}

#[test]
fn without_a_key_there_is_no_redis_and_events_need_their_feature() {
    assert_eq!(with("").loaded().config.redis, Redis::default());
    let off = with("USER_EVENTS_REDIS: {host: events}\n").loaded().config;
    assert_eq!(off.redis.user_events, None);
    assert_eq!(off.redis.hints, Some(one("events", 6379)));
    // It is checked, for want of another.
    assert_eq!(off.redis.checked, Some(one("events", 6379)));
    let on = with(
        "USER_EVENTS_REDIS: {host: events}\nBUILDLOGS_REDIS: {host: logs, port: '6380'}\nFEATURE_USER_EVENTS: true\n\
         ROADSTEAD_REDIS: {host: hints}\n",
    );
    let redis = on.loaded().config.redis;
    assert_eq!(redis.user_events, Some(one("events", 6379)));
    assert_eq!(redis.checked, Some(one("logs", 6380)));
    assert_eq!(redis.hints, Some(one("hints", 6379)));
}

#[test]
fn every_argument_of_quays_client_that_matters_is_taken_and_the_others_are_told() {
    let fixture = with(
        "\
USER_EVENTS_REDIS:
  host: redis.example.org
  port: 6390
  username: quay
  password: hunter2
  db: 3
  ssl: true
  ssl_ca_certs: /etc/ca.pem
  ssl_certfile: /etc/cert.pem
  ssl_keyfile: /etc/key.pem
  ssl_cert_reqs: none
  socket_timeout: 5
",
    );
    let loaded = fixture.loaded();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    assert_eq!(
        loaded.config.redis.hints,
        Some(RedisServer {
            username: Some("quay".to_owned()),
            password: Some(Secret::new("hunter2".to_owned())),
            database: 3,
            tls: Some(RedisTls {
                authorities: Some("/etc/ca.pem".into()),
                identity: Some(("/etc/cert.pem".into(), "/etc/key.pem".into())),
            }),
            ..one("redis.example.org", 6390)
        })
    );
    let warnings = fixture.warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("ssl_cert_reqs") && warnings[1].contains("socket_timeout"));
}

#[test]
fn sentinels_clusters_and_the_cache_of_quay_are_described_too() {
    let redis = with(
        "\
ROADSTEAD_REDIS:
  sentinels: [one, 'two:26380', '[2001:db8::1]:26381']
  service: registry
  sentinel_password: other
  password: hunter2
",
    )
    .loaded()
    .config
    .redis
    .hints
    .expect("a Redis");
    assert_eq!(
        redis.servers,
        RedisServers::Sentinels {
            sentinels: vec![
                ("one".to_owned(), 26_379),
                ("two".to_owned(), 26_380),
                ("2001:db8::1".to_owned(), 26_381),
            ],
            service: "registry".to_owned(),
            username: None,
            password: Some(Secret::new("other".to_owned())),
        }
    );
    let nodes = RedisServers::Cluster(vec![("a".to_owned(), 7000), ("b".to_owned(), 6379)]);
    for (lines, servers) in [
        ("ROADSTEAD_REDIS: {nodes: ['a:7000', b]}\n", nodes.clone()),
        (
            "DATA_MODEL_CACHE_CONFIG: {engine: rediscluster, redis_config: {startup_nodes: [{host: a, port: 7000}, {host: b}], \
             password: x, readonly_mode: true}}\n",
            nodes,
        ),
        (
            "DATA_MODEL_CACHE_CONFIG: {engine: redis, redis_config: {primary: {host: c}, replica: {host: d}}}\n",
            one("c", 6379).servers,
        ),
    ] {
        let hints = with(lines).loaded().config.redis.hints.expect(lines);
        assert_eq!(hints.servers, servers, "{lines}");
    }
    for engine in [
        "inmemory",
        "noop",
        "memcached, endpoint: [127.0.0.1, 18080]",
    ] {
        let lines = format!("DATA_MODEL_CACHE_CONFIG: {{engine: {engine}}}\n");
        let fixture = with(&lines);
        assert_eq!(fixture.loaded().config.redis.hints, None);
        assert_eq!(fixture.warnings(), Vec::<String>::new(), "{engine}");
    }
}

#[test]
fn what_is_no_redis_is_refused_and_no_password_is_repeated() {
    for (line, place) in [
        ("BUILDLOGS_REDIS: localhost", "BUILDLOGS_REDIS"),
        ("BUILDLOGS_REDIS: [localhost, 6379]", "BUILDLOGS_REDIS"),
        ("USER_EVENTS_REDIS: {host: 3}", "USER_EVENTS_REDIS.host"),
        ("USER_EVENTS_REDIS: {port: 0}", "USER_EVENTS_REDIS.port"),
        (
            "USER_EVENTS_REDIS: {port: hunter2}",
            "USER_EVENTS_REDIS.port",
        ),
        ("USER_EVENTS_REDIS: {db: 256}", "USER_EVENTS_REDIS.db"),
        (
            "USER_EVENTS_REDIS: {pasword: hunter2}",
            "did you mean password?",
        ),
        (
            "USER_EVENTS_REDIS: {sentinels: [a], service: b}",
            "USER_EVENTS_REDIS.s",
        ),
        ("PULL_METRICS_REDIS: {hots: a}", "did you mean host?"),
        (
            "USER_EVENTS_REDIS: {ssl: true, ssl_certfile: /a}",
            "ssl_keyfile",
        ),
        (
            "ROADSTEAD_REDIS: {sentinels: [a]}",
            "ROADSTEAD_REDIS.service",
        ),
        ("ROADSTEAD_REDIS: {nodes: []}", "ROADSTEAD_REDIS.nodes"),
        (
            "ROADSTEAD_REDIS: {nodes: ['redis://a']}",
            "ROADSTEAD_REDIS.nodes[0]",
        ),
        (
            "DATA_MODEL_CACHE_CONFIG: {engine: rediss}",
            "did you mean redis?",
        ),
        (
            "DATA_MODEL_CACHE_CONFIG: {engine: redis}",
            "DATA_MODEL_CACHE_CONFIG.redis_config",
        ),
        (
            "DATA_MODEL_CACHE_CONFIG: {engine: redis, redis_config: {host: a}}",
            "redis_config.primary",
        ),
        (
            "DATA_MODEL_CACHE_CONFIG: {engine: rediscluster, redis_config: {startup_nodes: []}}",
            "startup_nodes",
        ),
        ("DATA_MODEL_CACHE_CONFIG: redis", "DATA_MODEL_CACHE_CONFIG"),
    ] {
        let refused = with(&format!("{line}\n")).refused();
        let text = refused.join("\n");
        assert!(text.contains(place), "{line}: {text}");
        assert!(
            !text.contains("hunter2") || line.contains("port: hunter2"),
            "{text}"
        );
    }
}
