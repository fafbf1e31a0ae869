//! Who did what: entries of Quay's `logentry3`, as Quay writes them for pushes, pulls and deletions.
//!
//! What changes something is written in the transaction that changes it. Pulls are gathered by the caller and written in batches, one statement
//! each; see [`Database::write_log`].

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

use roadstead_oci::{MediaType, Reference, Tag};
use roadstead_runtime::Timestamp;
use serde_json::{Value, json};

use crate::database::{Connection, Database, json_texts, params};
use crate::dialect::moment_text;
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::repositories::Repository;

/// The most characters of a client's name for itself that are kept. Quay has no bound; the longest in use have some hundred.
const USER_AGENT_CHARS_MAX: usize = 256;

/// Every kind of entry that is written, as Quay's `logentrykind` names it.
pub(crate) const KINDS: &[&str] = &[
    "push_repo",
    "pull_repo",
    "delete_tag",
    "tag_made_immutable_by_policy",
];

/// Somebody who sends a request, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    username: Option<String>,
    credential: Credential,
    ip: Option<IpAddr>,
    user_agent: String,
}

/// What somebody proved with who they are, where Quay's log tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// The account's own password or token, or nothing.
    #[default]
    Account,
    /// An app-specific token (`$app`).
    AppToken {
        /// Its `uuid`.
        uuid: String,
        /// What its owner calls it.
        title: String,
    },
    /// An OAuth token (`$oauthtoken`).
    OAuthToken {
        /// Its row.
        id: i32,
        /// The application's `client_id`.
        client_id: String,
        /// The application's name.
        application: String,
    },
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

    /// By this credential.
    #[must_use]
    pub fn with(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// From this address, with a program that calls itself so. More than 256 characters of that are left out, and control characters.
    #[must_use]
    pub fn from_client(mut self, ip: Option<IpAddr>, user_agent: &str) -> Self {
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
        let mut members: Vec<(&str, Value)> = vec![
            ("repo", json!(repository.path.name)),
            ("namespace", json!(repository.path.namespace)),
        ];
        let (kind, by_policy) = match event {
            Event::TagMadeImmutable { .. } => ("tag_made_immutable_by_policy", true),
            Event::PushTag { .. } => ("push_repo", false),
            Event::Pull { .. } => ("pull_repo", false),
            Event::DeleteTag { .. } => ("delete_tag", false),
        };
        debug_assert!(KINDS.contains(&kind), "{kind} is one of ours");
        if !by_policy {
            members.push(("user-agent", json!(self.user_agent)));
        }
        match event {
            Event::PushTag { tag, media_type } => {
                members.push(("tag", json!(tag.as_str())));
                members.push(("mediaType", json!(media_type.as_str())));
            }
            Event::Pull {
                reference,
                media_type,
            } => {
                members.push(match reference {
                    Reference::Tag(tag) => ("tag", json!(tag.as_str())),
                    Reference::Digest(digest) => ("manifest_digest", json!(digest.as_str())),
                });
                members.push(("mediaType", json!(media_type.as_str())));
            }
            Event::DeleteTag { tag, digest } => {
                members.push(("tag", json!(tag)));
                members.push(("digest", json!(digest)));
            }
            Event::TagMadeImmutable { tag } => {
                members.push(("tag", json!(tag.as_str())));
                members.push(("immutable", json!(true)));
            }
        }
        if !by_policy {
            members.extend(self.members());
        }
        LogEntry {
            kind,
            account: repository.namespace_id,
            repository: Some(repository.id),
            performer: self.username.clone().filter(|_| !by_policy),
            ip: self.ip.filter(|_| !by_policy),
            at,
            metadata: object(&members),
        }
    }

    /// What the log tells of the credential and the account.
    fn members(&self) -> Vec<(&'static str, Value)> {
        let mut members = match &self.credential {
            Credential::Account => vec![],
            Credential::AppToken { uuid, title } => vec![
                ("app_specific_token", json!(uuid)),
                ("app_specific_token_title", json!(title)),
            ],
            Credential::OAuthToken {
                id,
                client_id,
                application,
            } => vec![
                ("oauth_token_id", json!(id)),
                ("oauth_token_application_id", json!(client_id)),
                ("oauth_token_application", json!(application)),
            ],
        };
        if let Some(username) = &self.username {
            members.push(("username", json!(username)));
            // Only robots' names hold a plus.
            if username.contains('+') {
                members.push(("is_robot", json!(true)));
            }
        }
        members
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
    ip: Option<IpAddr>,
    at: Timestamp,
    metadata: String,
}

impl LogEntry {
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
    /// Writes entries, in one statement.
    pub async fn write_log(&self, entries: &[LogEntry]) -> Result<(), MetadataError> {
        let transaction = self.begin("write the log of actions").await?;
        write(&transaction, entries).await?;
        transaction.commit().await
    }
}

/// Writes entries. A performer whose account is gone by now is left out.
pub(crate) async fn write<E>(
    connection: &impl Connection,
    entries: impl IntoIterator<Item = E>,
) -> Result<(), MetadataError>
where
    E: std::borrow::Borrow<LogEntry>,
{
    let members: Vec<String> = entries
        .into_iter()
        .map(|entry| {
            let entry = entry.borrow();
            json!({
                "kind": entry.kind,
                "account": entry.account.0,
                "performer": entry.performer,
                "repository": entry.repository.map(|repository| repository.0),
                "at": moment_text(entry.at),
                "ip": entry.ip.map(|ip| ip.to_string()),
                "metadata": entry.metadata,
            })
            .to_string()
        })
        .collect();
    if members.is_empty() {
        return Ok(());
    }
    connection
        .execute(
            "write the log of actions",
            r#"INSERT INTO logentry3 (kind_id, account_id, performer_id, repository_id, datetime, ip, metadata_json)
               SELECT k.id, CAST(@member(e.value, account) AS integer), u.id, CAST(@member(e.value, repository) AS integer),
                      @moment(e.value, at), @member(e.value, ip), @member(e.value, metadata)
               FROM @texts($1) e
               JOIN logentrykind k ON k.name = @member(e.value, kind)
               LEFT JOIN "user" u ON u.username = @member(e.value, performer)"#,
            params![json_texts(members)],
        )
        .await?;
    Ok(())
}

/// A JSON object with its members in this order and in ASCII, as Quay writes it.
fn object(members: &[(&str, Value)]) -> String {
    let mut text = String::from("{");
    for (position, (name, value)) in members.iter().enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        text.push_str(comma);
        text.push_str(&ascii(&Value::from(*name).to_string()));
        text.push_str(": ");
        text.push_str(&ascii(&value.to_string()));
    }
    text.push('}');
    text
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
                // Writing into a string does not fail.
                let _ = write!(escaped, "\\u{unit:04x}");
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
            .from_client(Some("::ffff:127.0.0.1".parse().unwrap()), "skopeo/1.9.3")
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
            entry.metadata,
            r#"{"repo": "app", "namespace": "acme", "user-agent": "skopeo/1.9.3", "tag": "v1", "mediaType": "application/vnd.oci.image.manifest.v1+json", "username": "acme+ci", "is_robot": true}"#
        );
        assert_eq!(entry.ip.unwrap().to_string(), "127.0.0.1");
        let alice = Actor::new(Some("alice".into()))
            .with(Credential::AppToken {
                uuid: "4586b222".into(),
                title: "alice laptop".into(),
            })
            .from_client(None, "skopeo/1.9.3");
        let pulled = LogEntry::pull(
            &alice,
            &repository(),
            &"t1".parse().unwrap(),
            &media_type,
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!(
            pulled.metadata,
            r#"{"repo": "app", "namespace": "acme", "user-agent": "skopeo/1.9.3", "tag": "t1", "mediaType": "application/vnd.oci.image.manifest.v1+json", "app_specific_token": "4586b222", "app_specific_token_title": "alice laptop", "username": "alice"}"#
        );
    }

    #[test]
    fn a_client_cannot_make_an_entry_large_or_unreadable() {
        let odd = Actor::new(None).from_client(None, &format!("ö\0\n\"𝄞{}", "x".repeat(10_000)));
        let digest = Digest::of(Algorithm::Sha256, b"");
        let entry = LogEntry::pull(
            &odd,
            &repository(),
            &Reference::Digest(digest),
            &MediaType::OCI_MANIFEST,
            Timestamp::UNIX_EPOCH,
        );
        assert!(entry.metadata.is_ascii() && entry.metadata.len() < 2048);
        let read: Value = serde_json::from_str(&entry.metadata).unwrap();
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
