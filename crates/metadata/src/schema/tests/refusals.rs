//! Databases and servers that are refused, each with what to do about it.

use super::*;

#[tokio::test]
async fn a_database_that_quay_has_not_finished_is_refused() {
    let quays = quays();
    quays.psql("DELETE FROM alembic_version");
    let (refused, text) = refusal(opened(&quays).await.migrate().await);
    assert!(matches!(refused, SchemaError::Unfinished), "{text}");
}

#[tokio::test]
async fn without_the_right_to_create_tables_nobody_migrates_and_the_text_says_who_grants_it() {
    let server = Postgres::shared().database();
    let role = new_role(&server);
    server.psql("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
    let database = opened_as(&role, &server).await;
    let (refused, text) = refusal(database.migrate().await);
    assert!(
        matches!(refused, SchemaError::MayNotCreate { .. }),
        "{text}"
    );
    assert!(
        text.contains(&format!("GRANT CREATE, USAGE ON SCHEMA public TO {role}")),
        "{text}"
    );
    server.psql("DROP SCHEMA public CASCADE");
    let (refused, text) = refusal(database.migrate().await);
    assert!(matches!(refused, SchemaError::NoSchema { .. }), "{text}");
}

#[tokio::test]
async fn without_trigrams_an_empty_database_is_refused_until_somebody_creates_them() {
    let server = Postgres::shared().database();
    let role = new_role(&server);
    server.psql(&format!("GRANT CREATE, USAGE ON SCHEMA public TO {role}"));
    let database = opened_as(&role, &server).await;
    let (refused, text) = refusal(database.migrate().await);
    let SchemaError::NoTrigrams {
        available: true,
        source: Some(_),
        ..
    } = refused
    else {
        panic!("{text}");
    };
    assert!(text.contains("`CREATE EXTENSION pg_trgm`"), "{text}");

    server.psql("CREATE SCHEMA extensions; CREATE EXTENSION pg_trgm SCHEMA extensions");
    let (refused, text) = refusal(opened_as(&role, &server).await.migrate().await);
    assert!(
        matches!(refused, SchemaError::TrigramsElsewhere { .. }),
        "{text}"
    );
    server.psql(&format!(
        "GRANT USAGE ON SCHEMA extensions TO {role};
         ALTER ROLE {role} IN DATABASE {} SET search_path = public, extensions",
        server.name
    ));
    opened_as(&role, &server).await.migrate().await.unwrap();
}

#[tokio::test]
async fn trigrams_do_not_matter_in_a_database_that_quay_made() {
    let quays = quays();
    quays.psql("DROP EXTENSION pg_trgm CASCADE");
    opened(&quays).await.migrate().await.unwrap();
}

#[tokio::test]
async fn a_read_only_database_is_refused_at_the_start_and_not_migrated() {
    let server = Postgres::shared().database();
    Postgres::shared().administration().psql(&format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        server.name
    ));
    let database = opened(&server).await;
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    for result in [
        database.migrate().await,
        database.check_server(&clock).await.map(drop),
    ] {
        let (refused, text) = refusal(result);
        assert!(
            matches!(refused, SchemaError::ReadOnly { standby: false, .. }),
            "{text}"
        );
        assert!(text.contains(&server.name), "{text}");
    }
}

#[tokio::test]
async fn a_standby_is_refused_until_it_is_promoted() {
    let primary = Postgres::start(&PostgresSettings::default());
    let database = primary.database();
    let standby = primary.standby(&PostgresSettings::default());
    let copy = PostgresDatabase {
        port: standby.port(),
        ..database
    };
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let database = opened(&copy).await;
    for result in [
        database.migrate().await,
        database.check_server(&clock).await.map(drop),
    ] {
        let (refused, text) = refusal(result);
        assert!(
            matches!(refused, SchemaError::ReadOnly { standby: true, .. }),
            "{text}"
        );
    }
    standby.promote();
    opened(&copy).await.migrate().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_is_told_with_what_to_do_and_without_the_password() {
    let server = Postgres::shared().database();
    let barred = new_role(&server);
    server.psql(&format!(
        "REVOKE CONNECT ON DATABASE {} FROM PUBLIC",
        server.name
    ));
    let with = |change: &dyn Fn(&mut PostgresOptions)| {
        let DatabaseOptions::Postgres(mut options) = options_of(&server) else {
            panic!("a server's options are PostgreSQL's");
        };
        options.startup_wait = Duration::from_secs(1);
        change(&mut options);
        DatabaseOptions::Postgres(options)
    };
    let cases: [(DatabaseOptions, &[&str]); 5] = [
        (
            with(&|options| options.password = Some("wrong horse".to_owned())),
            &[
                "password authentication failed for user \"postgres\"",
                "check user and password in DB_URI",
            ],
        ),
        (
            with(&|options| options.database = "nowhere".to_owned()),
            &[
                "database \"nowhere\" does not exist",
                "create it, or name another",
            ],
        ),
        (
            with(&|options| barred.clone_into(&mut options.username)),
            &["permission denied for database", "CONNECT"],
        ),
        (
            with(&|options| options.hosts[0].port = roadstead_test_servers::free_port()),
            &["is down: ", "check host and port in DB_URI"],
        ),
        (
            with(&|options| options.hosts[0].host = "nowhere.invalid".to_owned()),
            &["nowhere.invalid", "check host and port in DB_URI"],
        ),
    ];
    for (options, texts) in cases {
        let error = Database::open(&options).await.unwrap_err();
        let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        for expected in texts {
            assert!(text.contains(expected), "{text}");
        }
        assert!(
            !text.contains("horse") && !text.contains("not a secret"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn somebody_elses_tables_are_left_alone() {
    let server = Postgres::shared().database();
    server.psql("CREATE TABLE team (id integer, colour text); CREATE TABLE notes (id integer)");
    let (refused, text) = refusal(opened(&server).await.migrate().await);
    let SchemaError::Occupied { tables } = refused else {
        panic!("{text}");
    };
    assert_eq!(tables, ["team"]);
    assert_eq!(
        server.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "2"
    );
}

#[tokio::test]
async fn a_file_that_quay_made_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&DatabaseOptions::Sqlite {
        path: directory.path().join("quay.db"),
    })
    .await
    .unwrap();
    database
        .execute(
            "arrange a test",
            "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)",
            params![],
        )
        .await
        .unwrap();
    let (refused, text) = refusal(database.migrate().await);
    assert!(matches!(refused, SchemaError::QuaysFile), "{text}");
}

#[tokio::test]
async fn a_clock_that_is_far_from_the_servers_is_told_with_the_figure() {
    let server = Postgres::shared().database();
    let database = opened(&server).await;
    let now = server.psql("SELECT CAST(extract(epoch FROM clock_timestamp()) AS bigint)");
    let now = Timestamp::from_timestamp(now.parse().unwrap(), 0).unwrap();
    for (clock, skewed) in [
        (now, false),
        (now - TimeDelta::hours(1), true),
        (now + TimeDelta::hours(1), true),
    ] {
        let warnings = database
            .check_server(&ManualClock::at(clock))
            .await
            .unwrap();
        let skew = warnings.iter().find_map(|warning| match warning {
            ServerWarning::ClockSkew { ahead } => Some(*ahead),
            ServerWarning::Untried { .. } => None,
        });
        assert_eq!(skew.is_some(), skewed, "{warnings:?}");
        if let Some(ahead) = skew {
            let off = (ahead - (now - clock)).abs();
            assert!(off < TimeDelta::minutes(1), "{ahead}");
        }
    }
}
