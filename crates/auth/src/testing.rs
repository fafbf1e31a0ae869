//! The world that the tests of this crate share: a real database in a directory of its own, a clock that stands still, cheap password hashes.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use roadstead_metadata::{
    Database, DatabaseOptions, Ensured, FirstAccount, NewRepository, Repository, RepositoryPath,
    UserId,
};
use roadstead_runtime::{Environment, ManualClock, SeededIds, Tasks, Timestamp};
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use crate::identity::Identity;
use crate::login::{Credentials, LoginError};
use crate::oauth_scopes::OauthScopes;
use crate::signing_keys::{SigningKeyOptions, SigningKeys};
use crate::web_key::PrivateKey;
use crate::{AuthOptions, Authenticator};
use roadstead_secrets::{FieldKey, Secret};

/// The lowest cost that bcrypt has: a check takes about a millisecond.
pub(crate) const CHEAP: u32 = 4;

pub(crate) const HOST: &str = "registry.example:5000";

/// The seed of every world: what fails once fails again.
const SEED: u64 = 20_261_122;

/// Keys for all tests of the process, made once: making one takes some tenths of a second.
static KEYS: [LazyLock<Arc<PrivateKey>>; 3] = [
    LazyLock::new(|| generate(1)),
    LazyLock::new(|| generate(2)),
    LazyLock::new(|| generate(3)),
];

fn generate(seed: u64) -> Arc<PrivateKey> {
    Arc::new(PrivateKey::generate(&SeededIds::new(seed)).unwrap())
}

/// One of three keys.
pub(crate) fn private_key(number: usize) -> Arc<PrivateKey> {
    Arc::clone(&KEYS[number])
}

/// One registry.
pub(crate) struct World {
    pub(crate) authenticator: Authenticator,
    pub(crate) database: Database,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) environment: Environment,
    pub(crate) tasks: Tasks,
    /// A door of its own to the same file.
    sql: SqlitePool,
    directory: TempDir,
}

impl World {
    /// An empty registry whose superuser is `admin`, on one machine.
    pub(crate) async fn new() -> Self {
        let options = AuthOptions {
            field_key: Some(field_key()),
            ..AuthOptions::standalone(HOST, "admin")
        };
        Self::with(options).await
    }

    pub(crate) async fn with(options: AuthOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("roadstead.db");
        let database = Database::open(&DatabaseOptions::Sqlite { path: path.clone() })
            .await
            .unwrap();
        database.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::at(start()));
        let environment = Environment {
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(SeededIds::new(SEED)),
        };
        let tasks = Tasks::new();
        let keys = signing_keys(&database, &environment, &tasks).with_prepared([private_key(0)]);
        let authenticator = Authenticator::with_password_cost(
            database.clone(),
            environment.clone(),
            tasks.clone(),
            keys,
            (options, CHEAP),
        );
        let sql = SqlitePool::connect_with(
            SqliteConnectOptions::new()
                .filename(path)
                .busy_timeout(Duration::from_secs(10)),
        )
        .await
        .unwrap();
        Self {
            authenticator,
            database,
            clock,
            environment,
            tasks,
            sql,
            directory,
        }
    }

    /// Another instance on the same database, with another key.
    pub(crate) fn neighbour(&self, options: AuthOptions, key: usize) -> Authenticator {
        let keys = signing_keys(&self.database, &self.environment, &self.tasks)
            .with_prepared([private_key(key)]);
        Authenticator::with_password_cost(
            self.database.clone(),
            self.environment.clone(),
            self.tasks.clone(),
            keys,
            (options, CHEAP),
        )
    }

    /// Runs a statement behind the registry's back.
    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.sql).await.unwrap();
    }

    /// One number that a query tells.
    pub(crate) async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query)
            .fetch_one(&self.sql)
            .await
            .unwrap()
    }

    /// Makes a user. The first one is made by the registry, further ones as Quay would have.
    pub(crate) async fn user(&self, username: &str, password: &str) -> UserId {
        let hash = bcrypt::hash(password, CHEAP).unwrap();
        let email = format!("{username}@registry.example");
        let uuid = self.environment.ids.uuid();
        let first = FirstAccount {
            username,
            email: &email,
            password_hash: &hash,
            uuid,
            now: self.environment.now(),
            tag_window: roadstead_metadata::TAG_WINDOW,
        };
        if !self.database.create_first_account(&first).await.unwrap() {
            sqlx::query(
                r#"INSERT INTO "user" (uuid, username, password_hash, email, verified, organization, robot, invoice_email,
                                       last_invalid_login)
                   VALUES ($1, $2, $3, $4, true, false, false, false, '2026-01-01 00:00:00')"#,
            )
            .bind(uuid.to_string())
            .bind(username)
            .bind(hash)
            .bind(email)
            .execute(&self.sql)
            .await
            .unwrap();
        }
        self.id(username).await
    }

    /// Makes a robot, `owner+short`, with this token.
    pub(crate) async fn robot(&self, username: &str, token: &str) -> UserId {
        sqlx::query(
            r#"INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email, last_invalid_login)
               VALUES ($1, $2, $1, false, false, true, false, '2026-01-01 00:00:00')"#,
        )
        .bind(self.environment.ids.uuid().to_string())
        .bind(username)
        .execute(&self.sql)
        .await
        .unwrap();
        let id = self.id(username).await;
        sqlx::query("INSERT INTO robotaccounttoken (robot_account_id, token, fully_migrated) VALUES ($1, $2, true)")
            .bind(id.0)
            .bind(self.encrypted(token))
            .execute(&self.sql)
            .await
            .unwrap();
        id
    }

    /// Makes an app token that never ends.
    pub(crate) async fn app_token(&self, owner: UserId, name: &str, secret: &str) {
        sqlx::query(
            "INSERT INTO appspecificauthtoken (user_id, uuid, title, created, token_name, token_secret)
             VALUES ($1, 'app-token-uuid', 'laptop', '2026-01-01 00:00:00', $2, $3)",
        )
        .bind(owner.0)
        .bind(name)
        .bind(self.encrypted(secret))
        .execute(&self.sql)
        .await
        .unwrap();
    }

    /// Makes an OAuth token that ends in 2030.
    pub(crate) async fn oauth_token(&self, owner: UserId, name: &str, code: &str, scope: &str) {
        sqlx::query(
            "INSERT INTO oauthapplication (client_id, redirect_uri, application_uri, organization_id, name, description)
             VALUES ('id', '', '', $1, 'automation', '')",
        )
        .bind(owner.0)
        .execute(&self.sql)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO oauthaccesstoken (uuid, application_id, authorized_user_id, scope, token_type, expires_at, data,
                                           token_code, token_name)
             SELECT 'oauth-token-uuid', max(id), $1, $2, 'token', '2030-01-01 00:00:00', '', $3, $4 FROM oauthapplication",
        )
        .bind(owner.0)
        .bind(scope)
        .bind(bcrypt::hash(code, CHEAP).unwrap())
        .bind(name)
        .execute(&self.sql)
        .await
        .unwrap();
    }

    /// An encrypted field under the key of every world.
    pub(crate) fn encrypted(&self, text: &str) -> String {
        let mut nonce = [0; 13];
        self.environment.ids.fill(&mut nonce);
        field_key().encrypt(&Secret::new(text), nonce).unwrap()
    }

    pub(crate) async fn id(&self, username: &str) -> UserId {
        self.database
            .find_account(username)
            .await
            .unwrap()
            .unwrap()
            .id
    }

    pub(crate) async fn set_password(&self, username: &str, password: &str) {
        sqlx::query(r#"UPDATE "user" SET password_hash = $2 WHERE username = $1"#)
            .bind(username)
            .bind(bcrypt::hash(password, CHEAP).unwrap())
            .execute(&self.sql)
            .await
            .unwrap();
    }

    /// Makes a repository, with its namespace if need be.
    pub(crate) async fn repository(&self, path: &str, public: bool) -> Repository {
        let (namespace, name) = path.split_once('/').unwrap();
        let creator = self
            .database
            .find_account("admin")
            .await
            .unwrap()
            .unwrap()
            .id;
        let ensured = self
            .database
            .ensure_repository(&NewRepository {
                path: &RepositoryPath {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                },
                creator,
                private: !public,
                create_namespace: true,
                tag_window: roadstead_metadata::TAG_WINDOW,
                ids: self.environment.ids.as_ref(),
                now: self.environment.now(),
            })
            .await
            .unwrap();
        match ensured {
            Ensured::Created(repository) => repository,
            other => panic!("{path}: {other:?}"),
        }
    }

    pub(crate) async fn log_in(
        &self,
        username: &str,
        password: &str,
    ) -> Result<Identity, LoginError> {
        self.authenticator
            .authenticate(credentials(username, password))
            .await
    }

    /// Takes the database away.
    pub(crate) async fn lose_database(&self) {
        assert!(self.directory.path().exists());
        self.database.close().await;
    }
}

/// The key of every world's encrypted fields.
pub(crate) fn field_key() -> FieldKey {
    FieldKey::new("not a secret").unwrap()
}

pub(crate) fn signing_keys(
    database: &Database,
    environment: &Environment,
    tasks: &Tasks,
) -> SigningKeys {
    SigningKeys::new(
        database.clone(),
        environment.clone(),
        tasks.clone(),
        SigningKeyOptions {
            service: "quay".to_owned(),
            name: format!("http://{HOST}"),
        },
    )
}

pub(crate) fn credentials(username: &str, password: &str) -> Credentials {
    Credentials {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

/// When every world begins.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_timestamp(1_795_000_000, 0).unwrap()
}

/// The scopes of an OAuth token, as Quay writes them.
pub(crate) fn scopes(text: &str) -> OauthScopes {
    OauthScopes::parse(text)
}
