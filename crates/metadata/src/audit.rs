//! Who did what: entries of Quay's `logentry3`, as Quay writes them for pushes, pulls and deletions.
//!
//! What changes something is written in the transaction that changes it. Pulls are gathered by the caller and written in batches, one statement
//! each; see [`Database::write_log`].

mod reading;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use roadstead_oci::{MediaType, Reference, Tag};
use roadstead_runtime::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::database::{Connection, Database, Transaction, json_members, json_texts, params};
use crate::dialect::moment_text;
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::repositories::Repository;
use crate::row::FromRow;

pub use self::reading::{LogCount, LogPage, LogPosition, LogRecord, LogScope};

/// The most characters of a client's name for itself that are kept. Quay has no bound; the longest in use have some hundred.
const USER_AGENT_CHARS_MAX: usize = 256;

/// Every kind of entry that is written, as Quay's `logentrykind` names it.
pub(crate) const KINDS: &[&str] = &[
    "push_repo",
    "pull_repo",
    "delete_tag",
    "tag_made_immutable_by_policy",
    "account_change_password",
    "create_app_specific_token",
    "create_application",
    "create_oauth_api_token",
    "create_prototype_permission",
    "create_robot",
    "delete_application",
    "delete_prototype_permission",
    "delete_robot",
    "modify_prototype_permission",
    "org_add_team_member",
    "org_change_email",
    "org_change_invoicing",
    "org_change_name",
    "org_change_quota",
    "org_change_quota_limit",
    "org_change_tag_expiration",
    "org_create",
    "org_create_quota",
    "org_create_quota_limit",
    "org_create_team",
    "org_delete",
    "org_delete_quota",
    "org_delete_quota_limit",
    "org_delete_team",
    "org_remove_team_member",
    "org_set_team_description",
    "org_set_team_role",
    "regenerate_robot_token",
    "reset_application_client_secret",
    "revoke_app_specific_token",
    "revoke_oauth_api_token",
    "take_ownership",
    "update_application",
    "user_change_email",
    "user_change_invoicing",
    "user_change_metadata",
    "user_change_password",
    "user_change_tag_expiration",
    "user_create",
    "user_delete",
    "user_disable",
    "user_enable",
    "create_repo",
    "delete_repo",
    "set_repo_description",
    "change_repo_visibility",
    "change_repo_state",
    "change_repo_permission",
    "delete_repo_permission",
    "create_tag",
    "move_tag",
    "revert_tag",
    "change_tag_expiration",
    "change_tag_immutability",
    "manifest_label_add",
    "manifest_label_delete",
];

/// Somebody who sends a request, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    username: Option<String>,
    credential: Credential,
    ip: Option<IpAddr>,
    user_agent: String,
    trace: Option<String>,
}

/// What somebody proved with who they are, where Quay's log tells: by the identifiers that their rows have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// The account's own password or token, or nothing.
    #[default]
    Account,
    /// An app-specific token (`$app`).
    AppToken(String),
    /// An OAuth token (`$oauthtoken`).
    OauthToken(String),
}

impl Actor {
    /// Somebody with an account, or the anonymous, without one.
    #[must_use]
    pub fn new(username: Option<String>) -> Self {
        Self {
            username,
            ..Self::default()
        }
    }

    /// The account's name; none: the anonymous, or the operator at a command line.
    pub fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    /// Within a trace, in the form of W3C's `traceparent`. What follows from what is done, such as copies of an image, goes on with it.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<String>) -> Self {
        self.trace = trace;
        self
    }

    pub(crate) fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// By this credential.
    #[must_use]
    pub fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// From this address, with a program that calls itself so. More than 256 characters of that are left out, and control characters.
    #[must_use]
    pub fn with_client(mut self, ip: Option<IpAddr>, user_agent: &str) -> Self {
        self.ip = ip.map(|ip| ip.to_canonical());
        self.user_agent = user_agent
            .chars()
            .filter(|character| !character.is_control())
            .take(USER_AGENT_CHARS_MAX)
            .collect();
        self
    }

    pub(crate) fn entry(
        &self,
        repository: &Repository,
        event: &Event<'_>,
        at: Timestamp,
    ) -> LogEntry {
        let mut members = Members::default();
        members.text("repo", &repository.path.name);
        members.text("namespace", &repository.path.namespace);
        let (kind, by_policy) = match event {
            Event::TagMadeImmutable { .. } => ("tag_made_immutable_by_policy", true),
            Event::PushTag { .. } => ("push_repo", false),
            Event::Pull { .. } => ("pull_repo", false),
            Event::DeleteTag { .. } => ("delete_tag", false),
        };
        debug_assert!(KINDS.contains(&kind), "{kind} is one of ours");
        if !by_policy {
            members.text("user-agent", &self.user_agent);
        }
        match event {
            Event::PushTag { tag, media_type } => {
                members.text("tag", tag.as_str());
                members.text("mediaType", media_type.as_str());
            }
            Event::Pull {
                reference,
                media_type,
            } => {
                match reference {
                    Reference::Tag(tag) => members.text("tag", tag.as_str()),
                    Reference::Digest(digest) => members.text("manifest_digest", digest.as_str()),
                }
                members.text("mediaType", media_type.as_str());
            }
            Event::DeleteTag { tag, digest } => {
                members.text("tag", tag);
                members.value("digest", &json!(digest));
            }
            Event::TagMadeImmutable { tag } => {
                members.text("tag", tag.as_str());
                members.value("immutable", &json!(true));
            }
        }
        let nobody = Self::default();
        let actor = if by_policy { &nobody } else { self };
        LogEntry {
            kind,
            account: repository.namespace_id,
            repository: Some(repository.id),
            performer: actor.username.clone(),
            credential: actor.credential.clone(),
            ip: actor.ip,
            at,
            metadata: members.0,
            names_performer: true,
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    PushTag {
        tag: &'a Tag,
        media_type: &'a MediaType,
    },
    Pull {
        reference: &'a Reference,
        media_type: &'a MediaType,
    },
    DeleteTag {
        tag: &'a str,
        digest: Option<&'a str>,
    },
    TagMadeImmutable {
        tag: &'a Tag,
    },
}

/// One entry, not yet written. Takes at most some 4 KiB, and some 500 bytes as a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    kind: &'static str,
    account: UserId,
    repository: Option<RepositoryId>,
    performer: Option<String>,
    credential: Credential,
    ip: Option<IpAddr>,
    at: Timestamp,
    /// The members of the JSON object but for those that say who it was.
    metadata: String,
    /// Whether the account is among those. In Quay's entries of changes a member of the same name is whom the change was about.
    names_performer: bool,
}

impl LogEntry {
    /// That somebody changed something in a namespace, or in a repository of it. `kind` is one of Quay's, and `members` tell the rest, as Quay's entries
    /// of that kind do.
    #[must_use]
    pub fn change(
        actor: &Actor,
        kind: &'static str,
        namespace: UserId,
        repository: Option<RepositoryId>,
        members: &[(&str, Value)],
        at: Timestamp,
    ) -> Self {
        Self {
            kind,
            account: namespace,
            repository,
            performer: actor.username.clone(),
            credential: actor.credential.clone(),
            ip: actor.ip,
            at,
            metadata: members_text(members),
            names_performer: false,
        }
    }

    /// That a manifest of this type was pulled by a tag or a digest.
    #[must_use]
    pub fn pull(
        actor: &Actor,
        repository: &Repository,
        reference: &Reference,
        media_type: &MediaType,
        at: Timestamp,
    ) -> Self {
        actor.entry(
            repository,
            &Event::Pull {
                reference,
                media_type,
            },
            at,
        )
    }
}

impl Database {
    /// Writes entries, in one statement, and one for each sort of token that somebody used.
    pub async fn write_log(&self, entries: &[LogEntry]) -> Result<(), MetadataError> {
        let transaction = self.begin("write the log of actions").await?;
        write(&transaction, entries).await?;
        transaction.commit().await
    }
}

const OPERATION: &str = "write the log of actions";

/// Writes entries. A performer whose account is gone by now is left out.
pub(crate) async fn write(
    connection: &Transaction,
    entries: &[LogEntry],
) -> Result<(), MetadataError> {
    if entries.is_empty() {
        return Ok(());
    }
    let tokens = Tokens::of(connection, entries).await?;
    let members = entries.iter().map(|entry| Written {
        kind: entry.kind,
        account: entry.account.0,
        performer: entry.performer.as_deref(),
        repository: entry.repository.map(|repository| repository.0),
        at: moment_text(entry.at),
        ip: entry.ip,
        metadata: format!("{{{}{}}}", entry.metadata, tokens.members(entry)),
    });
    connection
        .execute(
            OPERATION,
            r#"INSERT INTO logentry3 (kind_id, account_id, performer_id, repository_id, datetime, ip, metadata_json)
               SELECT k.id, CAST(@member(e.value, account) AS integer), u.id, CAST(@member(e.value, repository) AS integer),
                      @moment(e.value, at), @member(e.value, ip), @member(e.value, metadata)
               FROM @texts($1) e
               JOIN logentrykind k ON k.name = @member(e.value, kind)
               LEFT JOIN "user" u ON u.username = @member(e.value, performer)"#,
            params![json_members(members)],
        )
        .await?;
    Ok(())
}

/// An entry as the statement reads it.
#[derive(Serialize)]
struct Written<'a> {
    kind: &'static str,
    account: i32,
    performer: Option<&'a str>,
    repository: Option<i32>,
    at: String,
    ip: Option<IpAddr>,
    metadata: String,
}

#[derive(Debug, FromRow)]
struct AppTokenRow {
    uuid: String,
    title: String,
}

#[derive(Debug, FromRow)]
struct OauthTokenRow {
    uuid: String,
    id: i32,
    client_id: String,
    application: String,
}

/// What the log tells of the tokens that were used.
#[derive(Debug, Default)]
struct Tokens {
    app: Vec<AppTokenRow>,
    oauth: Vec<OauthTokenRow>,
}

impl Tokens {
    async fn of(connection: &impl Connection, entries: &[LogEntry]) -> Result<Self, MetadataError> {
        let (mut app, mut oauth) = (BTreeSet::new(), BTreeSet::new());
        for entry in entries {
            match &entry.credential {
                Credential::Account => {}
                Credential::AppToken(uuid) => drop(app.insert(uuid)),
                Credential::OauthToken(uuid) => drop(oauth.insert(uuid)),
            }
        }
        let mut tokens = Self::default();
        if !app.is_empty() {
            tokens.app = connection
                .rows(
                    OPERATION,
                    "SELECT uuid, title FROM appspecificauthtoken WHERE uuid IN @texts($1)",
                    params![json_texts(app)],
                )
                .await?;
        }
        if !oauth.is_empty() {
            tokens.oauth = connection
                .rows(
                    OPERATION,
                    "SELECT t.uuid, t.id, a.client_id, a.name AS application
                     FROM oauthaccesstoken t JOIN oauthapplication a ON a.id = t.application_id
                     WHERE t.uuid IN @texts($1)",
                    params![json_texts(oauth)],
                )
                .await?;
        }
        Ok(tokens)
    }

    /// The members that say who it was, each behind a comma. Of a token that is gone by now only the account is told.
    fn members(&self, entry: &LogEntry) -> String {
        let mut members = match &entry.credential {
            Credential::Account => vec![],
            Credential::AppToken(uuid) => self
                .app
                .iter()
                .find(|token| token.uuid == *uuid)
                .map_or_else(Vec::new, |token| {
                    vec![
                        ("app_specific_token", json!(uuid)),
                        ("app_specific_token_title", json!(token.title)),
                    ]
                }),
            Credential::OauthToken(uuid) => self
                .oauth
                .iter()
                .find(|token| token.uuid == *uuid)
                .map_or_else(Vec::new, |token| {
                    vec![
                        ("oauth_token_id", json!(token.id)),
                        ("oauth_token_application_id", json!(token.client_id)),
                        ("oauth_token_application", json!(token.application)),
                    ]
                }),
        };
        if let Some(username) = entry.performer.as_ref().filter(|_| entry.names_performer) {
            members.push(("username", json!(username)));
            // Only robots' names hold a plus.
            if username.contains('+') {
                members.push(("is_robot", json!(true)));
            }
        }
        match (members.is_empty(), entry.metadata.is_empty()) {
            (true, _) => String::new(),
            (false, true) => members_text(&members),
            (false, false) => format!(", {}", members_text(&members)),
        }
    }
}

/// Members of a JSON object in this order and in ASCII, as Quay writes them.
fn members_text(members: &[(&str, Value)]) -> String {
    let mut text = Members::default();
    for (name, value) in members {
        text.value(name, value);
    }
    text.0
}

/// Members of a JSON object on their way into a text. Their names are ours and need no escaping.
#[derive(Default)]
struct Members(String);

impl Members {
    fn text(&mut self, name: &str, text: &str) {
        self.begin(name);
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if text.bytes().all(plain) {
            self.0.extend(["\"", text, "\""]);
        } else {
            self.0.push_str(&ascii(&Value::from(text).to_string()));
        }
    }

    fn value(&mut self, name: &str, value: &Value) {
        self.begin(name);
        self.0.push_str(&ascii(&value.to_string()));
    }

    fn begin(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push_str(", ");
        }
        self.0.extend(["\"", name, "\": "]);
    }
}

/// JSON with every other character than ASCII's escaped.
fn ascii(json: &str) -> Cow<'_, str> {
    if json.is_ascii() {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() * 2);
    for character in json.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("writing to a string does not fail");
            }
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use roadstead_oci::{Algorithm, Digest};

    use super::*;
    use crate::repositories::{RepositoryPath, RepositoryState};

    fn repository() -> Repository {
        Repository {
            id: RepositoryId(1),
            namespace_id: UserId(5),
            path: RepositoryPath {
                namespace: "acme".into(),
                name: "app".into(),
            },
            public: false,
            state: RepositoryState::Normal,
            holds_images: true,
            mirror_robot: None,
        }
    }

    fn robot() -> Actor {
        Actor::new(Some("acme+ci".into()))
            .with_client(Some("::ffff:127.0.0.1".parse().unwrap()), "skopeo/1.9.3")
    }

    fn written(entry: &LogEntry, tokens: &Tokens) -> String {
        format!("{{{}{}}}", entry.metadata, tokens.members(entry))
    }

    #[test]
    fn entries_have_the_members_that_quay_writes_in_its_order() {
        let media_type = MediaType::OCI_MANIFEST;
        let entry = robot().entry(
            &repository(),
            &Event::PushTag {
                tag: &"v1".parse().unwrap(),
                media_type: &media_type,
            },
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            written(&entry, &Tokens::default()),
            r#"{"repo": "app", "namespace": "acme", "user-agent": "skopeo/1.9.3", "tag": "v1", "mediaType": "application/vnd.oci.image.manifest.v1+json", "username": "acme+ci", "is_robot": true}"#
        );
        assert_eq!(entry.ip.unwrap().to_string(), "127.0.0.1");
        let alice = Actor::new(Some("alice".into()))
            .with_credential(Credential::AppToken("4586b222".into()))
            .with_client(None, "skopeo/1.9.3");
        let pulled = LogEntry::pull(
            &alice,
            &repository(),
            &"t1".parse().unwrap(),
            &media_type,
            Timestamp::UNIX_EPOCH,
        );
        let title = "alice laptop".to_owned();
        let uuid = "4586b222".to_owned();
        let tokens = Tokens {
            app: vec![AppTokenRow { uuid, title }],
            oauth: vec![],
        };
        assert_eq!(
            written(&pulled, &tokens),
            r#"{"repo": "app", "namespace": "acme", "user-agent": "skopeo/1.9.3", "tag": "t1", "mediaType": "application/vnd.oci.image.manifest.v1+json", "app_specific_token": "4586b222", "app_specific_token_title": "alice laptop", "username": "alice"}"#
        );
        assert_eq!(
            written(&pulled, &Tokens::default()),
            r#"{"repo": "app", "namespace": "acme", "user-agent": "skopeo/1.9.3", "tag": "t1", "mediaType": "application/vnd.oci.image.manifest.v1+json", "username": "alice"}"#
        );
    }

    #[test]
    fn a_client_cannot_make_an_entry_large_or_unreadable() {
        let odd = Actor::new(None).with_client(None, &format!("ö\0\n\"𝄞{}", "x".repeat(10_000)));
        let digest = Digest::of(Algorithm::Sha256, b"");
        let entry = LogEntry::pull(
            &odd,
            &repository(),
            &Reference::Digest(digest),
            &MediaType::OCI_MANIFEST,
            Timestamp::UNIX_EPOCH,
        );
        let written = written(&entry, &Tokens::default());
        assert!(written.is_ascii() && written.len() < 2048);
        let read: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(
            read["user-agent"]
                .as_str()
                .unwrap()
                .chars()
                .take(4)
                .collect::<String>(),
            "ö\"𝄞x"
        );
    }
}
