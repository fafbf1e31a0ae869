//! A PostgreSQL database with an account and a repository, for the benchmarks of whole registries.

use std::time::Duration;

use roadstead_metadata::{
    Database, DatabaseOptions, Ensured, FirstAccount, NewRepository, PostgresHost, PostgresOptions,
    Repository, RepositoryPath, UserId,
};
use roadstead_runtime::{Ids, Timestamp};
use roadstead_test_servers::PostgresDatabase;

/// Opens an empty database of a test server and makes its tables.
///
/// # Panics
/// When the server does not let us.
pub async fn open(server: &PostgresDatabase) -> Database {
    let host = PostgresHost {
        host: "127.0.0.1".to_owned(),
        port: server.port,
    };
    let database = Database::open(&DatabaseOptions::Postgres(PostgresOptions {
        password: Some(server.password.clone()),
        ..PostgresOptions::new(vec![host], &server.name, &server.user)
    }))
    .await
    .expect("the server was started for this");
    database.migrate().await.expect("the database is empty");
    database
}

/// Makes the first account, `admin`, of an empty database.
///
/// # Panics
/// When the database does not answer, or has accounts.
pub async fn first_account(database: &Database, ids: &dyn Ids, now: Timestamp) -> UserId {
    database
        .create_first_account(&FirstAccount {
            username: "admin",
            email: "admin@localhost",
            password_hash: "not checked here",
            tag_window: Duration::ZERO,
            uuid: ids.uuid(),
            now,
        })
        .await
        .expect("the database is empty");
    let account = database
        .find_account("admin")
        .await
        .expect("the database answers");
    account.expect("it was made").id
}

/// Makes a private repository, and its namespace if that is not there.
///
/// # Panics
/// When the database does not answer.
pub async fn repository(
    database: &Database,
    creator: UserId,
    (namespace, name): (&str, &str),
    ids: &dyn Ids,
    now: Timestamp,
) -> Repository {
    let new = NewRepository {
        path: &RepositoryPath {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
        creator,
        private: true,
        create_namespace: true,
        tag_window: Duration::ZERO,
        ids,
        now,
    };
    match database
        .ensure_repository(&new)
        .await
        .expect("the database answers")
    {
        Ensured::Created(repository) | Ensured::Found(repository) => repository,
        Ensured::NoNamespace => panic!("the namespace is made with it"),
    }
}
