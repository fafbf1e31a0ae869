//! What is found out about real servers: those that work, that refuse, that are not there and that hang.

use std::fs;
use std::path::Path;

use roadstead_config::{Environment as Variables, Loaded, Source};
use roadstead_test_servers::{
    CertificateAuthority, Fault, FaultProxy, Postgres, RedisServer as Redis, RedisSettings,
    S3Server, free_port,
};

use super::*;

/// How long each part gets: what works takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Loads a `config.yaml` with these lines.
fn loaded(directory: &Path, lines: &str) -> Loaded {
    let yaml = format!("SERVER_HOSTNAME: registry.example.org\n{lines}");
    fs::write(directory.join("config.yaml"), yaml).unwrap();
    let source = Source::Directory(directory.to_owned());
    roadstead_config::load(&source, &Variables::empty()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn bucket(name: &str, server: &S3Server, port: u16) -> String {
    format!(
        "  {name}: [RadosGWStorage, {{hostname: 127.0.0.1, port: {port}, is_secure: false, storage_path: /x, bucket_name: bucket-{name}, \
         access_key: {}, secret_key: {}}}]\n",
        server.access_key(),
        server.secret_key()
    )
}

async fn outcomes(loaded: &Loaded) -> Vec<Outcome> {
    check_within(PATIENCE, &loaded.config, &Environment::system())
        .await
        .unwrap()
}

#[track_caller]
fn of<'o>(outcomes: &'o [Outcome], subject: &str) -> &'o Outcome {
    let found = outcomes.iter().find(|outcome| outcome.subject == subject);
    found.unwrap_or_else(|| panic!("{subject} is not in {outcomes:?}"))
}

#[tokio::test]
async fn what_works_and_what_does_not_is_told_apart_for_every_location_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let server = S3Server::start();
    server.create_bucket("bucket-us");
    server.create_bucket("bucket-eu");
    let hanging = FaultProxy::start(port_of(&server.endpoint()));
    hanging.set(Fault::BlackHole);
    let database = Postgres::shared().database();
    let closed = free_port();
    let redis = Redis::start(RedisSettings::default());
    let yaml = [
        format!("DB_URI: {}\nDISTRIBUTED_STORAGE_CONFIG:\n", database.uri()),
        bucket("us", &server, port_of(&server.endpoint())),
        bucket("eu", &server, hanging.port()),
        bucket("asia", &server, port_of(&server.endpoint())),
        bucket("mars", &server, closed),
        format!(
            "  disk: [LocalStorage, {{storage_path: {}}}]\n",
            directory.path().join("disk").display()
        ),
        "DISTRIBUTED_STORAGE_PREFERENCE: [us, eu]\n".to_owned(),
        format!(
            "BUILDLOGS_REDIS: {{host: 127.0.0.1, port: {}}}\n",
            redis.port()
        ),
        format!(
            "DB_READ_REPLICAS: [{{DB_URI: '{}'}}, {{DB_URI: 'postgresql://quay@127.0.0.1:{closed}/quay'}}]\n",
            database.uri()
        ),
        format!("USER_EVENTS_REDIS: {{host: 127.0.0.1, port: {closed}}}\n"),
    ]
    .concat();
    let loaded = loaded(directory.path(), &yaml);
    let before = database.psql("SELECT count(*) FROM pg_class");
    let found = outcomes(&loaded).await;

    let database_outcome = of(&found, "database");
    assert_eq!(database_outcome.verdict, Verdict::Works, "{found:?}");
    assert!(database_outcome.says.contains("first start of `registry`"));
    assert_eq!(
        database.psql("SELECT count(*) FROM pg_class"),
        before,
        "nothing was made"
    );

    let us = of(&found, "location us from region us");
    assert_eq!(us.verdict, Verdict::Works, "{us:?}");
    let left = objects_below(&server.bucket_directory("bucket-us"));
    assert_eq!(left, [""; 0], "the object was deleted");
    for location in ["eu", "asia", "mars"] {
        let outcome = of(&found, &format!("location {location} from region us"));
        assert_eq!(outcome.verdict, Verdict::Broken, "{outcome:?}");
        assert!(!outcome.says.contains(server.secret_key()), "{outcome:?}");
    }
    assert!(
        of(&found, "location eu from region us")
            .says
            .contains("within 4 s"),
        "{found:?}"
    );
    let disk = of(&found, "location disk from region us");
    assert_eq!(disk.verdict, Verdict::Worrying);
    assert!(!directory.path().join("disk").exists());
    assert_eq!(
        of(&found, "clock of the store of us").verdict,
        Verdict::Works
    );
    assert_eq!(of(&found, "DB_READ_REPLICAS[0]").verdict, Verdict::Works);
    assert_eq!(of(&found, "DB_READ_REPLICAS[1]").verdict, Verdict::Worrying);
    let checked = of(&found, "Redis of health checks");
    assert_eq!(checked.verdict, Verdict::Works, "{checked:?}");
    let hints = of(&found, "Redis of hints between processes");
    assert_eq!(hints.verdict, Verdict::Worrying, "{hints:?}");
}

#[tokio::test]
async fn a_database_that_is_not_there_or_hangs_is_told_and_a_file_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let stores = format!(
        "DISTRIBUTED_STORAGE_CONFIG: {{disk: [LocalStorage, {{storage_path: {}}}]}}\n",
        disk.display()
    );
    let postgres = Postgres::start(&roadstead_test_servers::PostgresSettings::default());
    let database = postgres.database();
    let hanging = FaultProxy::start(port_of(&database.uri()));
    hanging.set(Fault::BlackHole);
    let uri = database.uri().replace(
        &format!(":{}", port_of(&database.uri())),
        &format!(":{}", hanging.port()),
    );
    for uri in [
        uri,
        format!("postgresql://quay:hunter2@127.0.0.1:{}/quay", free_port()),
    ] {
        let loaded = loaded(directory.path(), &format!("DB_URI: {uri}\n{stores}"));
        let found = outcomes(&loaded).await;
        let database = of(&found, "database");
        assert_eq!(database.verdict, Verdict::Broken, "{database:?}");
        assert!(!database.says.contains("hunter2"), "{database:?}");
        assert_eq!(
            of(&found, "location disk from region disk").verdict,
            Verdict::Works
        );
    }
    let file = directory.path().join("registry.db");
    let loaded = loaded(
        directory.path(),
        &format!("DB_URI: sqlite:///{}\n{stores}", file.display()),
    );
    let found = outcomes(&loaded).await;
    assert_eq!(of(&found, "database").verdict, Verdict::Worrying);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_certificate_that_clients_refuse_is_worrying_and_one_that_cannot_be_served_is_broken() {
    let directory = tempfile::tempdir().unwrap();
    let authority = CertificateAuthority::default();
    let name = "registry.example.org";
    let good = authority.issue(&[name]);
    let old = authority.issue_for(&[name], (2000, 2001));
    let lines = format!(
        "DB_URI: sqlite:///{0}/registry.db\nDISTRIBUTED_STORAGE_CONFIG: {{us: [LocalStorage, {{storage_path: {0}/us}}]}}\n",
        directory.path().display()
    );
    for (certificate, key, verdict) in [
        (&good.certificate, &good.key, Verdict::Works),
        (&old.certificate, &old.key, Verdict::Worrying),
        (&good.certificate, &old.key, Verdict::Broken),
    ] {
        fs::write(directory.path().join("ssl.cert"), certificate).unwrap();
        fs::write(directory.path().join("ssl.key"), key).unwrap();
        let found = outcomes(&loaded(directory.path(), &lines)).await;
        let outcome = of(&found, "ssl.cert and ssl.key");
        assert_eq!(outcome.verdict, verdict, "{outcome:?}");
    }
}

/// The port in an address.
fn port_of(address: &str) -> u16 {
    let (_, behind) = address.rsplit_once(':').unwrap();
    let digits = behind.split('/').next().unwrap();
    digits.parse().unwrap()
}

/// The objects below a directory of the server, which keeps what it knows of each in a hidden file.
fn objects_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(objects_below(&entry.path()));
        } else if !name.starts_with('.') {
            found.push(name);
        }
    }
    found
}
