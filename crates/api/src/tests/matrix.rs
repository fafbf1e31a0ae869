//! Every route by every sort of caller in every state of a repository, held against tables that are written down.
//!
//! `matrix/protocol.txt` has the routes of the protocol, `matrix/api.txt` the operations of the API, which come from the table that routes are made of: one that
//! is added appears here. The tables are meant to be read; `ROADSTEAD_WRITE_TABLES=1` writes them anew, and the difference is the change to be judged.

use std::fmt::Write as _;
use std::path::Path;

use http::Method;
use roadstead_metadata::{Actor, Change, NewUser, RepositoryPath};
use roadstead_runtime::{Clock as _, SeededIds};
use roadstead_secrets::FieldKey;
use serde_json::{Value, json};

use super::world::{Answer, PASSWORD, World, basic};
use crate::v1;

/// Somebody who calls: a name for the column, and what is sent to sign in.
#[derive(Clone, Debug)]
struct Caller {
    name: &'static str,
    authorization: Option<String>,
}

/// The organisation, and its private repository that the callers stand in somewhere.
const ORGANIZATION: &str = "corp";
const REPOSITORY: &str = "corp/private";

/// A registry with everybody in it.
struct Cast {
    world: World,
    callers: Vec<Caller>,
}

impl Cast {
    async fn new() -> Self {
        let world = World::with(|settings| {
            let auth = &mut settings.auth;
            auth.superusers_full_access = false;
            auth.create_namespace_on_push = false;
            auth.readonly_superusers = ["auditor".to_owned()].into();
            auth.field_key = Some(FieldKey::new("a key for tests").expect("a key"));
        })
        .await;
        let hash = bcrypt::hash(PASSWORD, 4).expect("a hash");
        let ids = SeededIds::new(1);
        let mut callers = vec![Caller {
            name: "nobody",
            authorization: None,
        }];
        for name in [
            "stranger", "member", "creator", "owner", "reader", "writer", "keeper", "auditor",
        ] {
            // Not by the API, whose hashes take a third of a second each.
            let user = NewUser {
                username: name,
                email: None,
                password_hash: &hash,
                tag_window_s: 0,
            };
            let change = Change {
                actor: &Actor::default(),
                ids: &ids,
                now: world.clock.now(),
            };
            let made = world.database.create_user(&user, &change);
            made.await.expect("a database").expect("an account");
            callers.push(Caller {
                name,
                authorization: Some(basic(name, PASSWORD)),
            });
        }
        let owner = callers[4].authorization.clone().expect("the owner");
        let ask = async |method, path: &str, document| {
            told(&world, &owner, method, path, &document).await
        };
        let organization = json!({ "name": ORGANIZATION, "email": "corp@example.com" });
        ask("POST", "/organization/", organization).await;
        for (team, role, member) in [
            ("makers", "creator", "creator"),
            ("watchers", "member", "member"),
        ] {
            let path = format!("/organization/{ORGANIZATION}/team/{team}");
            ask("PUT", &path, json!({ "role": role })).await;
            ask("PUT", &format!("{path}/members/{member}"), json!({})).await;
        }
        let path = format!("/organization/{ORGANIZATION}/robots/ci");
        let robot = ask("PUT", &path, json!({ "description": "" })).await;
        for (name, visibility) in [
            ("private", "private"),
            ("public", "public"),
            ("frozen", "private"),
            ("mirror", "private"),
        ] {
            let repository = json!({
                "namespace": ORGANIZATION, "repository": name,
                "visibility": visibility, "description": "",
            });
            ask("POST", "/repository", repository).await;
            for (account, role) in [
                ("reader", "read"),
                ("writer", "write"),
                ("keeper", "admin"),
                ("corp+ci", "write"),
            ] {
                let path = format!("/repository/{ORGANIZATION}/{name}/permissions/user/{account}");
                ask("PUT", &path, json!({ "role": role })).await;
            }
        }
        for (name, state) in [("frozen", "READ_ONLY"), ("mirror", "MIRROR")] {
            let path = format!("/repository/{ORGANIZATION}/{name}/changestate");
            ask("PUT", &path, json!({ "state": state })).await;
        }
        callers.push(Caller {
            name: "robot",
            authorization: Some(basic("corp+ci", text(&robot, "token"))),
        });
        let token = ask("POST", "/user/apptoken", json!({ "title": "laptop" })).await;
        callers.push(Caller {
            name: "app",
            authorization: Some(basic("$app", text(&token["token"], "token_code"))),
        });
        let application = json!({ "name": "scripts" });
        let path = format!("/organization/{ORGANIZATION}/applications");
        ask("POST", &path, application).await;
        for (name, username, scope) in [
            ("oa-read", "owner", "repo:read"),
            ("oa-org", "owner", "org:admin repo:admin"),
            ("oa-super", "admin", "super:user"),
        ] {
            let made = world
                .management()
                .create_oauth_token(
                    (ORGANIZATION, "scripts"),
                    username,
                    scope,
                    std::time::Duration::from_hours(1),
                    &Actor::default(),
                )
                .await
                .expect("a token");
            callers.push(Caller {
                name,
                authorization: Some(basic("$oauthtoken", made.token.expose())),
            });
        }
        callers.push(Caller {
            name: "superuser",
            authorization: Some(admin()),
        });
        Self { world, callers }
    }

    /// Whether the repository is there, in whatever state.
    async fn has(&self, name: &str) -> bool {
        let path = RepositoryPath {
            namespace: ORGANIZATION.to_owned(),
            name: name.to_owned(),
        };
        let found = self.world.database.find_repository(&path).await;
        found.expect("a look-up").is_some()
    }
}

fn admin() -> String {
    basic("admin", PASSWORD)
}

fn text<'a>(document: &'a Value, member: &str) -> &'a str {
    document[member]
        .as_str()
        .unwrap_or_else(|| panic!("{member} in {document}"))
}

async fn send(world: &World, authorization: &str, method: &str, path: &str, body: &str) -> Answer {
    world
        .request(method, path)
        .anonymously()
        .with("authorization", authorization)
        .body(body.to_owned())
        .await
}

/// Asks the API for something that has to be done.
async fn told(
    world: &World,
    authorization: &str,
    method: &str,
    path: &str,
    document: &Value,
) -> Value {
    let path = format!("/api/v1{path}");
    let answer = send(world, authorization, method, &path, &document.to_string()).await;
    assert!(answer.status.is_success(), "{method} {path}: {answer:?}");
    answer.json()
}

/// The status that a caller gets.
async fn status(cast: &Cast, caller: &Caller, method: &str, path: &str, body: &str) -> u16 {
    let mut request = cast.world.request(method, path).anonymously();
    if let Some(authorization) = &caller.authorization {
        request = request.with("authorization", authorization);
    }
    request.body(body.to_owned()).await.status.as_u16()
}

/// Compares a table with the one that is written down.
fn compare(file: &str, table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/tests/matrix")
        .join(file);
    if std::env::var_os("ROADSTEAD_WRITE_TABLES").is_some() {
        std::fs::write(&path, table).expect("a table is written");
        return;
    }
    let written = std::fs::read_to_string(&path).expect("a table");
    let differences: Vec<String> = written
        .lines()
        .filter(|line| !table.lines().any(|other| other == *line))
        .map(|line| format!("- {line}"))
        .chain(
            table
                .lines()
                .filter(|line| !written.lines().any(|other| other == *line))
                .map(|line| format!("+ {line}")),
        )
        .collect();
    assert!(
        differences.is_empty(),
        "{file} says otherwise:\n{}",
        differences.join("\n")
    );
}

fn head(callers: &[Caller], first: &str, width: usize) -> String {
    let mut line = format!("{first:width$}");
    for caller in callers {
        write!(line, " {:>9}", caller.name).expect("writing to a string does not fail");
    }
    line.push('\n');
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_protocol_answers_every_caller_in_every_state_as_the_table_says() {
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ROUTES: [(&str, &str, &str); 14] = [
        ("GET", "tags/list", ""),
        ("GET", "manifests/latest", ""),
        ("HEAD", "manifests/latest", ""),
        ("PUT", "manifests/latest", "{}"),
        ("DELETE", "manifests/latest", ""),
        ("GET", "blobs/DIGEST", ""),
        ("DELETE", "blobs/DIGEST", ""),
        ("GET", "referrers/DIGEST", ""),
        ("POST", "blobs/uploads/", ""),
        ("POST", "blobs/uploads/?mount=DIGEST&from=corp/private", ""),
        (
            "GET",
            "blobs/uploads/01234567-89ab-4cde-8f01-23456789abcd",
            "",
        ),
        (
            "PATCH",
            "blobs/uploads/01234567-89ab-4cde-8f01-23456789abcd",
            "x",
        ),
        (
            "PUT",
            "blobs/uploads/01234567-89ab-4cde-8f01-23456789abcd?digest=DIGEST",
            "",
        ),
        (
            "DELETE",
            "blobs/uploads/01234567-89ab-4cde-8f01-23456789abcd",
            "",
        ),
    ];
    let cast = Cast::new().await;
    let width = 92;
    let mut table = head(&cast.callers, "", width);
    for (method, route, body) in ROUTES {
        for state in ["private", "public", "frozen", "mirror", "absent"] {
            let mut line = format!("{method:6} {:76} {state:8}", route.replace("DIGEST", "D"));
            for caller in &cast.callers {
                // Asking to push makes a repository that is not there, so everybody has one of their own that is not.
                let name = match state {
                    "absent" => format!("absent-{}", caller.name),
                    state => state.to_owned(),
                };
                let path = format!("/v2/corp/{name}/{}", route.replace("DIGEST", DIGEST));
                let status = status(&cast, caller, method, &path, body).await;
                write!(line, " {status:>9}").expect("writing to a string does not fail");
            }
            line.push('\n');
            table.push_str(&line);
        }
    }
    compare("protocol.txt", &table);
    let mut made = Vec::new();
    for caller in &cast.callers {
        if cast.has(&format!("absent-{}", caller.name)).await {
            made.push(caller.name);
        }
    }
    assert_eq!(
        made,
        ["creator", "owner", "app", "oa-org"],
        "nobody else makes repositories by asking to push"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_of_the_api_answers_every_caller_as_the_table_says() {
    let mut cast = Cast::new().await;
    let width = 92;
    let mut table = head(&cast.callers, "", width);
    let mut operations: Vec<&v1::operation::Operation> = v1::operations().iter().collect();
    operations.sort_by_key(|operation| (operation.path, operation.method.as_str()));
    for operation in operations {
        let mut line = format!("{:6} {:85}", operation.method.as_str(), operation.path);
        // No document can be read of this, so that whoever may do it is told so and nothing is done.
        let body = if operation.takes.is_some() { "[" } else { "" };
        for position in 0..cast.callers.len() {
            let caller = cast.callers[position].clone();
            let path = format!("/api/v1{}", filled(operation.path));
            let status = status(&cast, &caller, operation.method.as_str(), &path, body).await;
            write!(line, " {status:>9}").expect("writing to a string does not fail");
            if operation.method != Method::GET && (200..300).contains(&status) {
                cast = Cast::new().await;
            }
        }
        line.push('\n');
        table.push_str(&line);
    }
    compare("api.txt", &table);
}

/// A path with names in place of its parameters: of what there is, for what the operation is about, and else of nothing.
fn filled(path: &str) -> String {
    path.replace("{orgname}", ORGANIZATION)
        .replace("{namespace}", ORGANIZATION)
        .replace("{repository}", REPOSITORY)
        .split('/')
        .map(|segment| {
            if segment.starts_with('{') {
                "none"
            } else {
                segment
            }
        })
        .collect::<Vec<_>>()
        .join("/")
}
