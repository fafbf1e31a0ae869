//! What a running Quay granted and answered on the sample (`rights.json`), asked of a registry on the same sample, request by request. Where
//! ours answers differently on purpose, [`OURS`] says to which requests, with what, and why; every other difference is a failure.

pub(crate) mod wire;

use std::collections::BTreeMap;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use roadstead_oci::{Algorithm, Digest};
use roadstead_testkit::{RegistryProcess, RegistrySettings};
use serde_json::{Value, json};

use crate::sample::{Sample, fixture};
use crate::side_by_side::signed_by_quay;
use wire::{Answer, Asked, basic};

/// Why an answer of ours is another than Quay's was.
const ITS_FAILURE: &str = "Quay failed with 500 by an error in it";
const BASIC: &str = "a password is taken on every route, not on /v2/auth alone";
const SCOPES: &str = "scopes are read as Docker's specification of tokens has them";
const OAUTH2: &str = "tokens may be asked for by POST, as Docker's specification has it";
const MALFORMED: &str =
    "a request that cannot be understood is a bad request, and no wrong password";
const BLOBS: &str = "blobs are deleted on request where nothing holds them";
const CATALOG: &str = "who signs in sees more of the list, and is asked to";

/// Requests of the list of errors that ours answers differently: the group, what it was about, the status and the grants of ours, and why.
const OURS: &[(&str, &str, u16, &[&str], &str)] = &[
    ("malformed header", "not base64", 400, &[], MALFORMED),
    ("malformed header", "no colon", 400, &[], MALFORMED),
    ("malformed header", "unknown scheme", 400, &[], MALFORMED),
    (
        "malformed header",
        "Bearer with a registry token",
        400,
        &[],
        MALFORMED,
    ),
    (
        "malformed header",
        "Bearer with an OAuth token",
        400,
        &[],
        MALFORMED,
    ),
    (
        "token endpoint",
        "POST (OAuth2 form, as containerd tries first)",
        401,
        &[],
        OAUTH2,
    ),
    (
        "token endpoint",
        "two scopes in one parameter, blank between",
        200,
        &["pull", "pull"],
        SCOPES,
    ),
    (
        "token endpoint",
        "scope registry:catalog:*",
        200,
        &[],
        SCOPES,
    ),
    ("token endpoint", "action delete", 200, &[], SCOPES),
    (
        "token endpoint",
        "action pull,delete",
        200,
        &["pull"],
        SCOPES,
    ),
    (
        "scope without rights",
        "catalog without token",
        401,
        &[],
        CATALOG,
    ),
    (
        "scope without rights",
        "catalog, anonymous token",
        200,
        &[],
        ITS_FAILURE,
    ),
    (
        "private repository without token",
        "Basic authentication directly on /v2/<repo>",
        200,
        &[],
        BASIC,
    ),
    (
        "private repository without token",
        "Basic authentication directly on /v2/",
        200,
        &[],
        BASIC,
    ),
    (
        "private repository without token",
        "Basic authentication directly on a PUBLIC repository",
        200,
        &[],
        BASIC,
    ),
    (
        "private repository without token",
        "lifetime over one hour",
        401,
        &[],
        ITS_FAILURE,
    ),
    (
        "non-existing repository",
        "scope * alone, admin",
        200,
        &[],
        ITS_FAILURE,
    ),
    (
        "delete with write only",
        "blob that exists",
        409,
        &[],
        BLOBS,
    ),
];

/// A registry on the sample, and what is compared with it.
struct Scene {
    sample: Sample,
    settings: RegistrySettings,
    registry: RegistryProcess,
    recorded: Value,
    /// The tokens that have been handed out, by who asked for what.
    tokens: BTreeMap<(String, Vec<String>), String>,
    agreed: u32,
    differed: BTreeMap<&'static str, u32>,
    wrong: Vec<String>,
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().into_iter().flatten();
    values.map(|value| text(value).to_owned()).collect()
}

fn list(recorded: &Value, name: &str) -> Vec<Value> {
    recorded[name].as_array().unwrap().clone()
}

impl Scene {
    async fn start() -> Self {
        let sample = Sample::restore();
        // What had not ended when Quay was asked has not ended now.
        for table in [
            "oauthaccesstoken SET expires_at",
            "servicekey SET expiration_date",
        ] {
            sample.database.run(&format!(
                "UPDATE {table} = now() AT TIME ZONE 'UTC' + interval '1 hour'"
            ));
        }
        let settings = sample.settings();
        let registry = settings.start().await;
        let recorded = fs::read_to_string(fixture("rights.json")).unwrap();
        Self {
            sample,
            settings,
            registry,
            recorded: serde_json::from_str(&recorded).unwrap(),
            tokens: BTreeMap::new(),
            agreed: 0,
            differed: BTreeMap::new(),
            wrong: Vec::new(),
        }
    }

    /// What an account of `rights.json` sends, by the name that it has there.
    fn basic(&self, account: &str) -> Option<String> {
        let (login, secret) = match account {
            "anonymous" => return None,
            "bob, wrong password" => ("bob", "wrong"),
            account if account.starts_with("$app") => ("$app", self.sample.secret("$app")),
            account if account.starts_with("$oauthtoken") => {
                ("$oauthtoken", self.sample.secret("$oauthtoken"))
            }
            account => (account, self.sample.secret(account)),
        };
        Some(basic(login, secret))
    }

    /// Forgets wrong passwords, as was done before each recorded request with one.
    fn open_accounts(&self) {
        self.sample
            .database
            .run("UPDATE \"user\" SET invalid_login_attempts = 0 WHERE invalid_login_attempts > 0");
    }

    async fn ask(&self, asked: Asked<'_>) -> Answer {
        wire::ask(self.settings.address, asked).await
    }

    /// Asks for a token with these scopes.
    async fn token(&self, authorization: Option<String>, scopes: &[String]) -> Answer {
        let ours = self.settings.address.to_string();
        let mut path = format!("/v2/auth?service={ours}");
        for scope in scopes {
            let scope = scope.replace("localhost:58080", &ours).replace(' ', "%20");
            path.push_str("&scope=");
            path.push_str(&scope);
        }
        self.ask(Asked::get(&path, authorization)).await
    }

    /// A token that grants an account what it may have of this, kept.
    async fn bearer(&mut self, account: &str, scopes: Vec<String>) -> String {
        let key = (account.to_owned(), scopes);
        if let Some(token) = self.tokens.get(&key) {
            return token.clone();
        }
        let answer = self.token(self.basic(account), &key.1).await;
        let token = text(&answer.json()["token"]).to_owned();
        self.tokens.insert(key, token.clone());
        token
    }

    /// Compares one row.
    fn compare(&mut self, what: &str, ours: &Value, quays: &Value) {
        if ours == quays {
            self.agreed += 1;
        } else {
            self.wrong
                .push(format!("{what}\n  Quay: {quays}\n  ours: {ours}"));
        }
    }

    async fn finish(self, list: &str) {
        let (agreed, differed) = (self.agreed, &self.differed);
        println!("{list}: {agreed} rows agree");
        for (reason, rows) in differed {
            println!("{list}: {rows} differ: {reason}");
        }
        assert!(
            self.wrong.is_empty(),
            "{} rows of {list} differ and should not:\n{}",
            self.wrong.len(),
            self.wrong.join("\n")
        );
        assert!(self.registry.stop().await.success());
    }
}

/// The granted actions of all scopes, one after the other.
fn granted(answer: &Answer) -> Vec<String> {
    if answer.status != 200 {
        return Vec::new();
    }
    let body = answer.json();
    let claims = text(&body["token"]).split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let access = claims["access"].as_array().into_iter().flatten();
    access.flat_map(|item| texts(&item["actions"])).collect()
}

/// The message of an error in Quay's form.
fn message(body: &str) -> Value {
    serde_json::from_str(body).map_or(Value::Null, |body: Value| {
        body["errors"][0]["message"].clone()
    })
}

#[tokio::test]
async fn every_account_may_do_in_every_repository_what_quay_let_it_do() {
    let mut scene = Scene::start().await;
    let rows = list(&scene.recorded, "rights");
    assert_eq!(rows.len(), 13 * 8);
    for row in &rows {
        let (account, repository) = (text(&row["account"]), text(&row["repository"]));
        scene.open_accounts();
        let scopes = [format!("repository:{repository}:pull,push,*")];
        let answer = scene.token(scene.basic(account), &scopes).await;
        let mut ours = json!({
            "auth_status": answer.status,
            "granted": granted(&answer),
        });
        let mut keys = vec!["auth_status", "granted"];
        if answer.status == 200 {
            let bearer = Some(format!("Bearer {}", text(&answer.json()["token"])));
            let tag = row["pull_tag"].as_str().unwrap_or("latest");
            let manifest = format!("/v2/{repository}/manifests/{tag}");
            let pulled = scene.ask(Asked::get(&manifest, bearer.clone())).await;
            ours["pull_status"] = pulled.status.into();
            let tags = format!("/v2/{repository}/tags/list");
            let tags = scene.ask(Asked::get(&tags, bearer.clone())).await;
            ours["tags_list_status"] = tags.status.into();
            keys.extend(["pull_status", "tags_list_status"]);
            if row.get("blob_status").is_some() {
                let digest = config_digest(&scene, repository, &pulled, bearer.clone()).await;
                let path = format!("/v2/{repository}/blobs/{digest}");
                let blob = scene.ask(Asked::get(&path, bearer)).await;
                ours["blob_status"] = blob.status.into();
                ours["blob_ok"] =
                    (Digest::of(Algorithm::Sha256, &blob.body).to_string() == digest).into();
                keys.extend(["blob_status", "blob_ok"]);
            }
        }
        let quays: Value = keys
            .iter()
            .map(|key| ((*key).to_owned(), row[*key].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        scene.compare(&format!("{account} {repository}"), &ours, &quays);
    }
    scene.finish("rights").await;
}

/// The digest of an image's configuration; of an index, of its first image's.
async fn config_digest(
    scene: &Scene,
    repository: &str,
    pulled: &Answer,
    bearer: Option<String>,
) -> String {
    let manifest = pulled.json();
    if let Some(digest) = manifest["config"]["digest"].as_str() {
        return digest.to_owned();
    }
    let first = text(&manifest["manifests"][0]["digest"]);
    let path = format!("/v2/{repository}/manifests/{first}");
    let image = scene.ask(Asked::get(&path, bearer)).await.json();
    text(&image["config"]["digest"]).to_owned()
}

#[tokio::test]
async fn new_names_are_made_for_whom_quay_made_them() {
    let mut scene = Scene::start().await;
    let rows = list(&scene.recorded, "namespaces");
    assert_eq!(rows.len(), 13 * 8 * 2);
    for (number, row) in rows.iter().enumerate() {
        let account = text(&row["account"]);
        let name = text(&row["repository"]).replace("<new>", &format!("new{number}"));
        scene.open_accounts();
        let scopes = [format!("repository:{name}:{}", text(&row["scope"]))];
        let answer = scene.token(scene.basic(account), &scopes).await;
        let (namespace, repository) = name.split_once('/').unwrap();
        let there = scene.sample.database.number(&format!(
            "SELECT count(*) FROM repository r JOIN \"user\" u ON u.id = r.namespace_user_id
             WHERE u.username = '{namespace}' AND r.name = '{repository}'"
        ));
        let mut ours = json!({
            "auth_status": answer.status,
            "granted": granted(&answer),
            "repository_created_by_token_request": there == 1,
        });
        let mut keys = vec![
            "auth_status",
            "granted",
            "repository_created_by_token_request",
        ];
        if answer.status == 200 {
            let bearer = Some(format!("Bearer {}", text(&answer.json()["token"])));
            let path = format!("/v2/{name}/manifests/latest");
            let pulled = scene.ask(Asked::get(&path, bearer.clone())).await;
            ours["pull_status"] = pulled.status.into();
            let path = format!("/v2/{name}/blobs/uploads/");
            let upload = Asked {
                method: "POST",
                ..Asked::get(&path, bearer)
            };
            ours["upload_start_status"] = scene.ask(upload).await.status.into();
            keys.extend(["pull_status", "upload_start_status"]);
        }
        let quays: Value = keys
            .iter()
            .map(|key| ((*key).to_owned(), row[*key].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        scene.compare(&format!("{account} {name}"), &ours, &quays);
    }
    scene.finish("namespaces").await;
}

/// What was changed in the sample before a request.
fn changes(group: &str, what: &str) -> &'static [&'static str] {
    match (group, what) {
        ("wrong password", "RIGHT password after 12 failures") => &[
            "UPDATE \"user\" SET invalid_login_attempts = 12, last_invalid_login = now() AT TIME ZONE 'UTC'
             WHERE username = 'bob'",
        ],
        ("wrong password", "right password after the back-off (0.7 s after 1 failure)") => &[
            "UPDATE \"user\" SET last_invalid_login = last_invalid_login - interval '700 milliseconds' WHERE username = 'bob'",
        ],
        ("changed copy of the sample", what) if what.starts_with("OAuth token with scope") => {
            &["UPDATE oauthaccesstoken SET scope = 'repo:read', expires_at = now() AT TIME ZONE 'UTC' + interval '1 hour'"]
        }
        ("changed copy of the sample", "OAuth token expired") => {
            &["UPDATE oauthaccesstoken SET expires_at = '2026-11-22 13:00:00'"]
        }
        ("changed copy of the sample", "app token expired") => {
            &["UPDATE appspecificauthtoken SET expiration = '2026-11-22 13:00:00'"]
        }
        ("changed copy of the sample", "app token of a disabled user") => &[
            "UPDATE appspecificauthtoken SET expiration = NULL",
            "UPDATE \"user\" SET enabled = false WHERE username = 'alice'",
        ],
        ("changed copy of the sample", "robot of a disabled organization") => {
            &["UPDATE \"user\" SET enabled = false WHERE username = 'acme'"]
        }
        ("changed copy of the sample", "READ_ONLY repository, admin asks pull,push,*") => &[
            "UPDATE \"user\" SET enabled = true WHERE username = 'acme'",
            "UPDATE repository SET state = 1 WHERE name = 'app'",
        ],
        _ => &[],
    }
}

/// Whether the wrong passwords before a request are forgotten: not where it is about them.
fn forgets_wrong_passwords(what: &str) -> bool {
    let about_them = [
        "inside the back-off",
        "after the back-off",
        "12 failures",
        "second try",
    ];
    !about_them.iter().any(|words| what.contains(words))
}

/// What was sent with a request for a token.
fn sent(sample: &Sample, row: &Value) -> Option<String> {
    let what = text(&row["what"]);
    let user = row["request"]["user"].as_str();
    let Some(user) = user else {
        return match what {
            "not base64" => Some("Basic ???".to_owned()),
            "no colon" => Some(format!("Basic {}", STANDARD.encode("nocolon"))),
            "unknown scheme" => Some("Digest abc".to_owned()),
            "Bearer with a registry token" => Some("Bearer a.b.c".to_owned()),
            "Bearer with an OAuth token" => {
                Some(format!("Bearer {}", sample.secret("$oauthtoken")))
            }
            _ => None,
        };
    };
    let right = || sample.secret(user).to_owned();
    let app = sample.secret("$app");
    let password = match (text(&row["group"]), what) {
        ("wrong password", what) if what.to_lowercase().contains("right password") => right(),
        ("disabled user", what) if what.starts_with("right password") => right(),
        ("robot with a wrong token", what) if what.starts_with("right token") => right(),
        ("robot with a wrong token", "token of another robot") => {
            sample.secret("acme+puller").to_owned()
        }
        (_, "empty password" | "empty token") => String::new(),
        ("tokens", "$app right name part, wrong secret") => {
            format!("{}{}", app.split_at(60).0, "A".repeat(60))
        }
        ("tokens", "$app token under the user name alice") => app.to_owned(),
        ("tokens", "e-mail address as user name, right password" | "user name in upper case") => {
            sample.secret("alice").to_owned()
        }
        (
            "wrong password"
            | "disabled user"
            | "unknown user"
            | "robot with a wrong token"
            | "tokens",
            _,
        ) => "wrong".to_owned(),
        _ => right(),
    };
    Some(basic(user, &password))
}

impl Scene {
    /// What was sent with another request, by the words that describe its token.
    async fn presented(&mut self, row: &Value) -> Option<String> {
        let path = text(&row["request"]["path"]);
        let repository = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
            .into_iter()
            .find_map(|noun| path.strip_prefix("/v2/")?.split_once(noun))
            .map_or("acme/public", |(name, _)| name)
            .to_owned();
        let words = row["request"]["token"].as_str().unwrap_or("none");
        match words {
            "none" => return None,
            "garbage" => return Some("Bearer garbage".to_owned()),
            "Basic admin" => return self.basic("admin"),
            _ => {}
        }
        if let Some(forged) = self.forged(words, &repository) {
            return Some(format!("Bearer {forged}"));
        }
        let (account, rest) = words.split_once(',').unwrap_or((words, ""));
        let scopes = if rest.contains("no scope") {
            Vec::new()
        } else if let Some(explicit) = ["acme/public:pull", "acme/app:pull"]
            .into_iter()
            .find(|scope| rest.contains(scope))
        {
            vec![format!("repository:{explicit}")]
        } else if rest.contains("pull,push") || rest.is_empty() && account != "anonymous" {
            vec![format!("repository:{repository}:pull,push")]
        } else {
            vec![format!("repository:{repository}:pull")]
        };
        Some(format!("Bearer {}", self.bearer(account, scopes).await))
    }

    /// A token that no registry handed out; none where the words do not describe one.
    fn forged(&self, words: &str, repository: &str) -> Option<String> {
        let now = self
            .sample
            .database
            .number("SELECT extract(epoch FROM clock_timestamp())::bigint");
        let kid = fs::read_to_string(fixture("quay.kid")).unwrap();
        let mut header = json!({"alg": "RS256", "kid": kid.trim(), "typ": "JWT"});
        let examples = &self.recorded["token_examples"];
        let mut claims = examples["bob, acme/app:pull,push,* asked"]["claims"].clone();
        claims["aud"] = self.settings.address.to_string().into();
        claims["access"] = json!([{"type": "repository", "name": repository, "actions": ["pull"]}]);
        for (claim, seconds) in [("iat", 0), ("nbf", 0), ("exp", 3600)] {
            claims[claim] = (now + seconds).into();
        }
        match words {
            "valid" => {}
            "broken signature" => {
                let token = signed_by_quay(header, claims);
                let (signed, signature) = token.rsplit_once('.').unwrap();
                let turned: String = signature.chars().rev().collect();
                return Some(format!("{signed}.{turned}"));
            }
            "service=elsewhere:443" => claims["aud"] = "elsewhere:443".into(),
            "rightly signed, expired 1 h ago" => {
                for (claim, seconds) in [("iat", -7200), ("nbf", -7200), ("exp", -3600)] {
                    claims[claim] = (now + seconds).into();
                }
            }
            "nbf in 50 minutes" => claims["nbf"] = (now + 3000).into(),
            "iss=other" => claims["iss"] = "other".into(),
            "unknown kid" => header["kid"] = "unknown".into(),
            "no kid" => {
                header.as_object_mut().unwrap().remove("kid");
            }
            "exp-iat = 7200" => claims["exp"] = (now + 7200).into(),
            _ => return None,
        }
        Some(signed_by_quay(header, claims))
    }
}

#[tokio::test]
async fn refusals_are_quays() {
    let mut scene = Scene::start().await;
    let rows = list(&scene.recorded, "errors");
    assert_eq!(rows.len(), 168);
    let mut explained = 0;
    for row in &rows {
        let (group, what) = (text(&row["group"]), text(&row["what"]));
        if forgets_wrong_passwords(what) {
            scene.open_accounts();
        }
        for change in changes(group, what) {
            scene.sample.database.run(change);
        }
        let (method, path) = (
            text(&row["request"]["method"]),
            text(&row["request"]["path"]),
        );
        let answer = if (method, path) == ("GET", "/v2/auth") {
            let scopes = texts(&row["request"]["scope"]);
            scene.token(sent(&scene.sample, row), &scopes).await
        } else {
            let authorization = scene.presented(row).await;
            let body = match method {
                // Any manifest that the repository could hold.
                "PUT" => other_manifest(&mut scene).await,
                _ => Vec::new(),
            };
            let asked = Asked {
                method,
                path,
                authorization,
                body,
            };
            scene.ask(asked).await
        };
        let mut ours = json!({"status": answer.status, "granted": granted_or_none(path, &answer)});
        let mut quays = json!({
            "status": row["status"],
            "granted": row.get("granted").cloned().unwrap_or_else(|| json!([])),
        });
        let same_words =
            path == "/v2/auth" && answer.status == 401 && row["request"]["user"].is_string();
        if same_words {
            ours["message"] = message(&answer.text());
            quays["message"] = row["body"].as_str().map_or(Value::Null, message);
        }
        let name = format!("{group}: {what}");
        let intended = OURS.iter().find(|ours| (ours.0, ours.1) == (group, what));
        if let Some((.., status, grants, why)) = intended {
            explained += 1;
            let expected = json!({"status": status, "granted": grants});
            ours.as_object_mut().unwrap().remove("message");
            if ours == expected {
                *scene.differed.entry(why).or_default() += 1;
            } else {
                scene
                    .wrong
                    .push(format!("{name}\n  wanted: {expected}\n  ours: {ours}"));
            }
        } else {
            scene.compare(&name, &ours, &quays);
        }
    }
    assert_eq!(
        explained,
        OURS.len(),
        "every line of the table is a recorded request"
    );
    scene.finish("errors").await;
}

fn granted_or_none(path: &str, answer: &Answer) -> Vec<String> {
    if path == "/v2/auth" {
        granted(answer)
    } else {
        Vec::new()
    }
}

/// A manifest of `acme/public` that its immutable tag does not point to.
async fn other_manifest(scene: &mut Scene) -> Vec<u8> {
    let scopes = vec!["repository:acme/public:pull".to_owned()];
    let bearer = Some(format!("Bearer {}", scene.bearer("admin", scopes).await));
    let path = "/v2/acme/public/manifests/1.0-docker";
    scene.ask(Asked::get(path, bearer)).await.body
}
