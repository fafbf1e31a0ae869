//! A database that a real Quay wrote, taken over: what it answered to every account is what is answered here.
//!
//! `tests/fixtures/quay-s3` holds the database and, in `rights.json`, that Quay's answers. Time stands still in the hour when they were recorded, when
//! the OAuth token and the service key of the sample were still good.

mod errors;
mod keys;
mod rights;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use roadstead_metadata::{
    Database, DatabaseOptions, PostgresHost, PostgresOptions, RepositoryPath,
};
use roadstead_runtime::{Environment, ManualClock, SeededIds, Tasks, Timestamp};
use roadstead_secrets::FieldKey;
use roadstead_test_servers::{Postgres, PostgresDatabase};
use serde::Deserialize;
use serde_json::Value;

use crate::grant::{GrantError, TokenRefusal, TokenRequest};
use crate::login::{Credentials, LoginError};
use crate::rights::Action;
use crate::scope::{RequestedScope, ScopeError};
use crate::testing::{CHEAP, credentials, private_key, signing_keys};
use crate::{AuthOptions, Authenticator, Identity, KEY_LIFE};

/// `SERVER_HOSTNAME` of the sample's configuration.
const HOST: &str = "localhost:58080";

/// `DATABASE_SECRET_KEY` of the sample's configuration.
const KEY: &str = "30060361640793187613697366923211113205676925445650250274752125083971638376224";

/// When the tokens in `rights.json` were issued: 2026-11-22, 13:14:42 UTC.
const RECORDED: i64 = 1_795_353_282;

/// The sample's database, and an authenticator on it with the sample's configuration.
struct Sample {
    authenticator: Authenticator,
    database: Database,
    server: PostgresDatabase,
    clock: Arc<ManualClock>,
    secrets: Secrets,
}

/// Of `contents.json`, what proves each account.
#[derive(Deserialize)]
struct Secrets {
    users: serde_json::Map<String, Value>,
    robots: serde_json::Map<String, Value>,
    app_token: Value,
}

/// What came of a request for a token.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    status: u64,
    /// The granted actions, one after the other.
    granted: Vec<String>,
    message: Option<String>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/quay-s3")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(fixture(name)).unwrap()
}

/// One of the lists in `rights.json`.
fn recorded(list: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(&read("rights.json")).unwrap();
    all[list].as_array().unwrap().clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().unwrap();
    values.iter().map(|value| text(value).to_owned()).collect()
}

/// The message in a body of `rights.json`.
fn message_in(body: &Value) -> Option<String> {
    let body: Value = serde_json::from_str(body.as_str()?).ok()?;
    Some(text(&body["errors"][0]["message"]).to_owned())
}

/// The database as Quay left it, of which each test has a copy.
fn original() -> &'static PostgresDatabase {
    static ORIGINAL: OnceLock<PostgresDatabase> = OnceLock::new();
    ORIGINAL.get_or_init(|| {
        let server = Postgres::shared().database();
        // The dump's owner.
        server.psql("CREATE ROLE quay");
        server.restore(&fixture("quay.sql"));
        server
    })
}

impl Sample {
    async fn restored() -> Self {
        let server = Postgres::shared().copy_of(original());
        let host = PostgresHost {
            host: "127.0.0.1".to_owned(),
            port: server.port,
        };
        let options = DatabaseOptions::Postgres(PostgresOptions {
            password: Some(server.password.clone()),
            connections: 4,
            ..PostgresOptions::new(vec![host], &server.name, &server.user)
        });
        let database = Database::open(&options).await.unwrap();
        database.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::at(
            Timestamp::from_timestamp(RECORDED, 0).unwrap(),
        ));
        let environment = Environment {
            clock: Arc::clone(&clock) as _,
            ids: Arc::new(SeededIds::new(3)),
        };
        let tasks = Tasks::new();
        let keys = signing_keys(&database, &environment, &tasks).with_prepared([private_key(0)]);
        let options = AuthOptions {
            superusers: ["admin".to_owned()].into(),
            superusers_full_access: true,
            proxy_cache: true,
            field_key: Some(FieldKey::new(KEY).unwrap()),
            ..AuthOptions::new(HOST)
        };
        Self {
            authenticator: Authenticator::with_password_cost(
                database.clone(),
                environment,
                tasks,
                keys,
                (options, CHEAP),
            ),
            database,
            server,
            clock,
            secrets: serde_json::from_str(&read("contents.json")).unwrap(),
        }
    }

    /// What an account of `rights.json` sends, by the name that it has there.
    fn credentials(&self, account: &str) -> Option<Credentials> {
        let Secrets {
            users,
            robots,
            app_token,
        } = &self.secrets;
        let (login, secret) = match account {
            "anonymous" => return None,
            "bob, wrong password" => ("bob", "wrong"),
            "$app (token of alice)" => ("$app", text(&app_token["code"])),
            "$oauthtoken (token of admin)" => {
                ("$oauthtoken", text(&users["admin"]["oauth_access_token"]))
            }
            robot if robot.contains('+') => (robot, text(&robots[robot])),
            user => (user, text(&users[user]["password"])),
        };
        Some(credentials(login, secret))
    }

    /// Asks for a token with these scopes, as `GET /v2/auth` does, but for the token itself.
    async fn ask(&self, credentials: Option<Credentials>, scopes: &[&str]) -> Outcome {
        match self.try_ask(credentials, scopes).await {
            Ok(granted) => Outcome {
                status: 200,
                granted,
                message: None,
            },
            Err(refusal) => refused(&refusal),
        }
    }

    async fn try_ask(
        &self,
        credentials: Option<Credentials>,
        scopes: &[&str],
    ) -> Result<Vec<String>, TokenRefusal> {
        let identity = match credentials {
            Some(credentials) => self.authenticator.authenticate(credentials).await?,
            None => Identity::Anonymous,
        };
        if identity == Identity::Anonymous && scopes.iter().all(|scope| scope.is_empty()) {
            return Err(TokenRefusal::LoginRequired);
        }
        let scopes = RequestedScope::parse_all(scopes.iter().copied(), HOST)?;
        let grants = self.authenticator.grant(&identity, &scopes).await?;
        let actions = grants.iter().flat_map(|grant| &grant.actions);
        Ok(actions.map(|action| action.as_str().to_owned()).collect())
    }

    /// Asks for everything in a repository.
    async fn ask_all(&self, account: &str, repository: &str) -> Outcome {
        let scope = format!("repository:{repository}:pull,push,*");
        self.ask(self.credentials(account), &[&scope]).await
    }

    /// Forgets bob's wrong passwords, as was done before each recorded request with one.
    async fn open_bob(&self) {
        let bob = self.database.find_account("bob").await.unwrap().unwrap();
        self.database.clear_failed_logins(bob.id).await.unwrap();
    }
}

fn refused(refusal: &TokenRefusal) -> Outcome {
    let (status, message) = match refusal {
        TokenRefusal::LoginRequired => (401, None),
        TokenRefusal::Login(error @ LoginError::Locked { .. }) => {
            (429, Some(error.client_message()))
        }
        TokenRefusal::Login(error) if error.is_refusal() => (401, Some(error.client_message())),
        TokenRefusal::Scope(error @ ScopeError::Name { .. }) => (400, Some(error.client_message())),
        TokenRefusal::Grant(error @ GrantError::NamespaceDisabled { .. }) => {
            (405, Some(error.client_message()))
        }
        other => panic!("{other}"),
    };
    Outcome {
        status,
        granted: Vec::new(),
        message,
    }
}
