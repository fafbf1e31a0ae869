//! `DB_URI`, `DB_CONNECTION_ARGS` and `DB_READ_REPLICAS`.

use proptest::prelude::*;

use super::*;

/// A configuration with this `DB_URI` and these lines behind it.
fn database(uri: &str, lines: &str) -> Fixture {
    let small = SMALL.replace("sqlite:////var/lib/roadstead.db", &format!("{uri:?}"));
    Fixture::new(format!("{small}{lines}\n"))
}

fn postgres(fixture: &Fixture) -> Postgres {
    match fixture.loaded().config.database.uri {
        DatabaseUri::Postgres(postgres) => *postgres,
        DatabaseUri::Sqlite { path } => panic!("a file: {}", path.display()),
    }
}

fn hosts(postgres: &Postgres) -> Vec<String> {
    postgres
        .hosts
        .iter()
        .map(|PostgresHost { host, port }| format!("{host} {port}"))
        .collect()
}

#[test]
fn a_uri_of_quay_is_read_with_libpqs_and_quays_defaults() {
    for scheme in ["postgresql", "postgres", "postgresql+psycopg2"] {
        let uri = format!("{scheme}://quay:p%40ss@db.example.org/registry");
        let arguments = "DB_CONNECTION_ARGS: {threadlocals: true, autorollback: true}";
        let fixture = database(&uri, arguments);
        assert!(fixture.loaded().warnings.is_empty());
        let postgres = postgres(&fixture);
        assert_eq!(hosts(&postgres), ["db.example.org 5432"]);
        assert_eq!(postgres.database, "registry");
        assert_eq!(postgres.username, "quay");
        assert_eq!(postgres.password, Some(Secret::new("p@ss".to_owned())));
        assert_eq!(postgres.tls, PostgresTls::default());
        assert_eq!(postgres.tls.mode, SslMode::Prefer);
        assert_eq!(postgres.target, TargetServer::Any);
        assert_eq!(postgres.connect_timeout, Duration::from_secs(10));
        assert!(postgres.application_name.is_none() && postgres.settings.is_empty());
        let pool = ConnectionPool {
            connections: 20,
            wait: None,
            lifetime: None,
        };
        assert_eq!(postgres.pool, pool);
    }
    let nameless = postgres(&database("postgresql://quay@db", ""));
    assert_eq!(nameless.database, "quay", "as in libpq");
    assert_eq!(nameless.password, None);
}

#[test]
fn several_hosts_addresses_in_brackets_and_socket_directories_are_taken() {
    let of = |uri: &str| hosts(&postgres(&database(uri, "")));
    assert_eq!(
        of(
            "postgresql://quay@db-1:6432,[2001:db8::2]:6433,db_3/quay?target_session_attrs=read-write"
        ),
        ["db-1 6432", "2001:db8::2 6433", "db_3 5432"]
    );
    assert_eq!(
        of("postgresql://quay@/quay?host=/run/postgresql"),
        ["/run/postgresql 5432"]
    );
    assert_eq!(
        of("postgresql://quay@%2Frun%2Fpostgresql:6432/quay"),
        ["/run/postgresql 6432"]
    );
    assert_eq!(
        of("postgresql:///quay?host=db-1,db-2&port=6432&user=quay"),
        ["db-1 6432", "db-2 6432"]
    );
    assert_eq!(
        of("postgresql:///quay?host=db-1,::1&port=,6433&user=quay"),
        ["db-1 5432", "::1 6433"]
    );
}

#[test]
fn arguments_win_over_the_uris_parameters_and_fill_in_what_it_lacks() {
    let files = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| {
        let path = files.path().join(name);
        fs::write(&path, "").expect("a file");
        path
    };
    let (root, certificate, key) = (file("root.crt"), file("us.crt"), file("us.key"));
    let fixture = database(
        "postgresql://db/quay?sslmode=disable&connect_timeout=3&application_name=old&user=quay",
        &format!(
            "DB_CONNECTION_ARGS:\n  sslmode: verify-full\n  sslrootcert: {}\n  sslcert: {}\n  sslkey: {}\n  \
             connect_timeout: 7\n  application_name: quay-eu\n  password: hunter2\n  max_connections: 50\n  \
             timeout: '30'\n  stale_timeout: 300\n  options: -c search_path=quay\n  threadlocals: true\n  \
             gssencmode: ~\n  client_encoding: utf8",
            root.display(),
            certificate.display(),
            key.display()
        ),
    );
    assert!(fixture.loaded().warnings.is_empty());
    let postgres = postgres(&fixture);
    let tls = PostgresTls {
        mode: SslMode::VerifyFull,
        root_certificate: Some(root),
        certificate: Some(certificate),
        key: Some(key),
    };
    assert_eq!(postgres.tls, tls);
    assert_eq!(postgres.connect_timeout, Duration::from_secs(7));
    assert_eq!(postgres.application_name.as_deref(), Some("quay-eu"));
    assert_eq!(postgres.password, Some(Secret::new("hunter2".to_owned())));
    assert_eq!(
        postgres.settings,
        [("search_path".to_owned(), "quay".to_owned())]
    );
    let pool = ConnectionPool {
        connections: 50,
        wait: Some(Duration::from_secs(30)),
        lifetime: Some(Duration::from_mins(5)),
    };
    assert_eq!(postgres.pool, pool);
}

#[test]
fn encryption_modes_are_read_as_libpq_reads_them() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let root = directory.path().join("root.crt");
    fs::write(&root, "").expect("a file");
    let root = root.display();
    for (query, mode) in [
        ("sslmode=allow".to_owned(), SslMode::Prefer),
        ("sslmode=require".to_owned(), SslMode::Require),
        (
            format!("sslmode=require&sslrootcert={root}"),
            SslMode::VerifyCa,
        ),
        (
            format!("sslmode=prefer&sslrootcert={root}"),
            SslMode::Prefer,
        ),
        ("sslmode=verify-ca".to_owned(), SslMode::VerifyCa),
        (
            "sslmode=verify-full&sslrootcert=system".to_owned(),
            SslMode::VerifyFull,
        ),
    ] {
        let uri = format!("postgresql://quay@db/quay?{query}");
        assert_eq!(postgres(&database(&uri, "")).tls.mode, mode, "{query}");
    }
}

#[test]
fn parameters_that_cannot_be_honoured_are_refused_each_with_its_reason() {
    for (query, problem) in [
        (
            "sslmod=require",
            "an unknown parameter stands behind the question mark",
        ),
        ("sslmode=verify", "unknown sslmode"),
        (
            "sslmode=require&sslmode=disable",
            "the parameter sslmode is given twice",
        ),
        (
            "sslrootcert=system",
            "the system's authorities vouch for any host",
        ),
        (
            "sslcert=/nowhere/crt&sslkey=/nowhere/key",
            "\"/nowhere/crt\" of sslcert cannot be read: No such file",
        ),
        ("sslrootcert=/", "it is not a file"),
        ("connect_timeout=0", "connect_timeout is out of range"),
        ("connect_timeout=1.5", "connect_timeout is out of range"),
        (
            "target_session_attrs=standby",
            "finds a server that takes no writes",
        ),
        (
            "target_session_attrs=primry",
            "unknown target_session_attrs",
        ),
        ("service=quay", "service is not in this version"),
        (
            "channel_binding=require",
            "this value of channel_binding is not in this version",
        ),
        (
            "options=-c%20statement_timeout%3D0",
            "which this program sets itself",
        ),
        (
            "max_connections=5",
            "an unknown parameter stands behind the question mark",
        ),
        ("dbname=other", "the dbname is given twice"),
    ] {
        let refused = database(&format!("postgresql://quay@db/quay?{query}"), "").refused();
        let line = refused.first().expect("a line");
        assert!(line.contains(problem), "{query}: {refused:#?}");
    }
    assert_refused(
        &database(
            "postgresql://quay:x@db/quay?sslmode=no&connect_timeout=x&nonsense=1",
            "DB_CONNECTION_ARGS: {ssl: {ca: /ca.pem}, max_connections: 1, pasword: x, user: root, keepalives: [1]}",
        ),
        &[
            // In the order of the file: the URI before the arguments, which are sorted by their names.
            "DB_URI: an unknown parameter",
            "DB_URI: connect_timeout is out of range",
            "DB_URI: unknown sslmode",
            "DB_CONNECTION_ARGS.keepalives: a list does not fit here",
            "DB_CONNECTION_ARGS.max_connections: max_connections is out of range (found 1); allowed: a whole number from 2 to 1000",
            "DB_CONNECTION_ARGS.pasword: unknown argument; did you mean password?",
            "DB_CONNECTION_ARGS.ssl: this is MySQL's",
            "DB_CONNECTION_ARGS.user: it is another than in the URI",
        ],
    );
}

#[test]
fn uris_that_name_no_server_or_role_are_refused() {
    for (uri, problem) in [
        ("postgresql:///quay?user=quay", "it names no host"),
        ("postgresql://db/quay", "it names no role"),
        ("postgresql://quay@:5432/quay", "a host has no name"),
        ("postgresql://quay@db:0/quay", "a port is not a number"),
        ("postgresql://quay@db:65536/quay", "a port is not a number"),
        (
            "postgresql://quay@db.-x/quay",
            "neither a name nor an address",
        ),
        (
            "postgresql://quay@a,b,c/quay?port=1,2",
            "not as many ports as hosts",
        ),
        (
            "postgresql:///quay?host=a,b,c&port=1,2&user=q",
            "not as many ports as hosts",
        ),
    ] {
        assert_refused(&database(uri, ""), &[problem]);
    }
    let many = vec!["db"; 17].join(",");
    assert_refused(
        &database(&format!("postgresql://quay@{many}/quay"), ""),
        &["it names too many hosts"],
    );
}

#[test]
fn passwords_appear_in_no_finding_and_no_debug_output() {
    for uri in [
        "postgresql://quay:hunter2%@db/quay",
        "postgresql://quay:hunter2@db:port/quay",
        "postgresql://quay:hunter2@db/quay?sslmode=x",
        "postgresql://quay:hunter2",
        "postgresql://quay:hunter2/x",
        "postgresql://quay:hun?hunter2@db/quay?nonsense=1",
        "postgresql://quay:hunter2@[::1/quay",
        "postgresql://db/quay?user=quay&password=x&hunter2=y",
        "postgresql://db/quay?user=quay&password=hunter2@&sslmode=x",
        "postgresq://quay:hunter2@db/quay",
        "mysql+pymysql://quay:hunter2@db/quay",
        "postgresql:/quay:hunter2@db/quay",
        "quay:hunter2@db/quay",
    ] {
        let refused = database(
            uri,
            "DB_CONNECTION_ARGS: {passwd: hunter2, password: [hunter2]}",
        )
        .refused();
        let text = refused.concat();
        assert!(!text.contains("hunter2"), "{uri}: {text}");
    }
    let loaded = database(
        "postgresql://quay:hunter2@db/quay",
        "DB_READ_REPLICAS: [{DB_URI: 'postgresql://quay:hunter2@db-2/quay', DB_CONNECTION_ARGS: {keepalives: 1}}]",
    )
    .loaded();
    let printed = format!("{loaded:?} {:?}", loaded.warnings);
    assert!(printed.contains("keepalives"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
}

#[test]
fn read_replicas_are_postgresql_servers_with_arguments_of_their_own_or_the_databases() {
    let fixture = database(
        "postgresql://quay@db/quay",
        "DB_CONNECTION_ARGS: {connect_timeout: 3, max_connections: 7}\nDB_READ_REPLICAS:\n  \
         - DB_URI: postgresql://reader@db-2,db-3/quay?target_session_attrs=prefer-standby\n  \
         - {DB_URI: 'postgresql://reader@db-4/quay', DB_CONNECTION_ARGS: {connect_timeout: 5}}",
    );
    let database_section = fixture.loaded().config.database;
    let [first, second] = database_section.read_replicas.as_slice() else {
        panic!("{database_section:?}");
    };
    assert_eq!(hosts(first), ["db-2 5432", "db-3 5432"]);
    assert_eq!(first.target, TargetServer::PreferStandby);
    assert_eq!(first.connect_timeout, Duration::from_secs(3));
    assert_eq!(first.pool.connections, 7);
    assert_eq!(second.connect_timeout, Duration::from_secs(5));
    assert_eq!(second.pool.connections, 20, "nothing is mixed");

    assert_refused(
        &database(
            "postgresql://quay@db/quay",
            "DB_READ_REPLICAS: [{DB_UIR: x}, {DB_URI: 'sqlite:///x'}, {DB_URI: 'mysql://x'}, 7, {DB_URI: 'postgresql://q@db/q?sslmode=x'}]",
        ),
        &[
            "DB_READ_REPLICAS[0].DB_UIR: unknown entry of a read replica; did you mean DB_URI?",
            "DB_READ_REPLICAS[0].DB_URI: it is missing",
            "DB_READ_REPLICAS[1].DB_URI: a read replica is a PostgreSQL server",
            "DB_READ_REPLICAS[2].DB_URI: MySQL is not supported",
            "DB_READ_REPLICAS[3]: not a map",
            "DB_READ_REPLICAS[4].DB_URI: unknown sslmode",
        ],
    );
    let replica = "DB_READ_REPLICAS: [{DB_URI: 'postgresql://q@db/q'}]";
    assert_refused(&small_and(replica), &["a SQLite file has no read replicas"]);
    assert_refused(
        &database("postgresql://quay@db/quay", "DB_READ_REPLICAS: {a: 1}"),
        &["DB_READ_REPLICAS: not a list"],
    );
}

#[test]
fn what_changes_nothing_is_taken_with_a_warning() {
    let fixture = database(
        "postgresql://quay@db/quay?keepalives_idle=30",
        "DB_CONNECTION_ARGS: {keepalives: 1}\nDB_CONNECTION_POOLING: false",
    );
    assert_eq!(
        fixture.warnings(),
        [
            "config.yaml:2: DB_URI: the parameter keepalives_idle is known to libpq, without effect here",
            "config.yaml:6: DB_CONNECTION_ARGS.keepalives: the parameter keepalives is known to libpq, without effect here",
            "config.yaml:7: DB_CONNECTION_POOLING: connections are pooled all the same; \
             bound them with max_connections and stale_timeout in DB_CONNECTION_ARGS",
        ]
    );
}

#[test]
fn what_a_process_writes_for_itself_goes_beside_the_file_or_where_it_is_told() {
    let directory = |fixture: &Fixture| fixture.loaded().config.database.data_directory;
    assert_eq!(directory(&small_and("")), PathBuf::from("/var/lib"));
    assert_eq!(
        directory(&database("sqlite:///quay.db", "")),
        PathBuf::from(".")
    );
    let uri = "postgresql://quay@db/quay";
    assert_eq!(directory(&database(uri, "")), PathBuf::from("."));
    let asked = tempfile::tempdir().expect("a temporary directory");
    let line = format!("ROADSTEAD_DATA_DIRECTORY: {}", asked.path().display());
    assert_eq!(directory(&database(uri, &line)), asked.path());
    assert_refused(
        &database(uri, "ROADSTEAD_DATA_DIRECTORY: /nowhere/at/all"),
        &["ROADSTEAD_DATA_DIRECTORY: no such directory (found \"/nowhere/at/all\")"],
    );
    let source = Source::Standalone {
        data_dir: "data".into(),
    };
    let environment = [(
        env::QUAY_OVERRIDE_CONFIG,
        r#"{"DB_URI": "postgresql://quay@db/quay"}"#,
    )];
    let loaded = load(&source, &environment.into_iter().collect()).expect("it loads");
    assert_eq!(loaded.config.database.data_directory, PathBuf::from("data"));
}

proptest! {
    #[test]
    fn no_uri_makes_the_reader_panic_or_repeats_a_password(
        before in "[a-z0-9:/?#@%&=,.+ \\[\\]-]{0,12}",
        behind in "[a-z0-9:/?#@%&=,.+ \\[\\]-]{0,12}",
        place in prop_oneof![
            Just("postgresql://quay:{}@db/quay"),
            Just("postgresql://quay:{}@db:5432,db-2/quay?sslmode=x"),
            Just("postgresql://db/quay?user=quay&password={}"),
            Just("postgresql://db/quay?user=quay&password={}&sslmode=x"),
        ],
    ) {
        let uri = place.replace("{}", &format!("{before}hunter2{behind}"));
        if let Err(errors) = database(&uri, "").load() {
            prop_assert!(!errors.to_string().contains("hunter2"), "{uri}: {errors}");
        }
    }
}
