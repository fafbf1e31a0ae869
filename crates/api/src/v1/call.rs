//! A call of an operation whose caller may make it: who that is, and everything that was sent, read on demand.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderValue;
use http::header::USER_AGENT;
use roadstead_auth::{Grounds, Identity};
use roadstead_metadata::{Actor, RepositoryPath, UserId};
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::query::Query;
use crate::request_body::RequestBody;
use crate::service::{Head, Inner};
use crate::v1::operation::{Operation, QueryKind};

/// The most bytes of a document. The longest, a rule of placement or a team's description, have some kilobytes.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

/// The most bytes of a text in the query or the path.
const TEXT_BYTES_MAX: usize = 1024;

/// A call.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) head: &'a Head,
    pub(crate) operation: &'static Operation,
    pub(crate) identity: Identity,
    /// What was found of what the operation is about, when it was decided that the caller may.
    pub(crate) grounds: Grounds,
    pub(crate) path: PathParameters,
    pub(crate) query: Query<'a>,
    pub(crate) body: Option<RequestBody>,
}

/// The parameters of a path, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathParameters(Vec<(&'static str, Arc<str>)>);

impl PathParameters {
    pub(crate) fn push(&mut self, name: &'static str, value: &str) {
        self.0.push((name, value.into()));
    }

    /// The value of a parameter. Empty if the template has none of this name, which a test of the table excludes.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(found, _)| *found == name)
            .map_or("", |(_, value)| value)
    }

    /// A repository's place. None: it is not one.
    pub(crate) fn repository(&self, name: &str) -> Option<RepositoryPath> {
        let (namespace, name) = self.get(name).split_once('/')?;
        (!namespace.is_empty() && !name.is_empty()).then(|| RepositoryPath {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Whether every one can be looked up.
    pub(crate) fn are_sane(&self) -> bool {
        self.0
            .iter()
            .all(|(_, value)| value.len() <= TEXT_BYTES_MAX && !value.contains('\0'))
    }
}

impl Call<'_> {
    /// Who calls. Operations that need no account are the only ones where this is nobody.
    pub(crate) fn username(&self) -> &str {
        self.identity.username().unwrap_or_default()
    }

    /// The caller's account. An error where the table forgot to demand one.
    pub(crate) fn account(&self) -> Result<UserId, ApiError> {
        self.identity.id().ok_or(ApiError::SignIn)
    }

    /// Who calls, for the log of actions.
    pub(crate) fn actor(&self) -> Actor {
        let user_agent = self.head.headers.get(USER_AGENT).map(HeaderValue::as_bytes);
        Actor::new(self.identity.username().map(str::to_owned))
            .with_credential(self.identity.credential())
            .with_client(
                self.head.client,
                &String::from_utf8_lossy(user_agent.unwrap_or_default()),
            )
    }

    /// A parameter of the path.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.path.get(name)
    }

    /// The repository that the path names as `{repository}`.
    pub(crate) fn repository(&self) -> Result<RepositoryPath, ApiError> {
        self.path
            .repository("repository")
            .ok_or_else(|| malformed("`repository` is a namespace and a name"))
    }

    /// The document. One that is missing is an empty one.
    pub(crate) async fn document<T: DeserializeOwned>(
        &mut self,
        inner: &Inner,
    ) -> Result<T, ApiError> {
        let body = self.body.take().ok_or(ApiError::CutOff)?;
        let (idle, clock) = (inner.options.body_idle_timeout, &*inner.environment.clock);
        let bytes = body.collect(DOCUMENT_BYTES_MAX, idle, clock).await?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // The reader would take the members of a list one by one for those of an object.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(malformed("the document is not an object"));
        }
        serde_json::from_slice(text)
            .map_err(|error| malformed(format!("the document cannot be read: {error}")))
    }

    /// Whether every parameter of the query can be read, also where nobody comes to ask for it.
    pub(crate) fn check_query(&self) -> Result<(), ApiError> {
        for parameter in self.operation.query {
            match parameter.kind {
                QueryKind::Text => drop(self.text(parameter.name)?),
                QueryKind::Flag => drop(self.flag(parameter.name)?),
                QueryKind::Entries { .. } | QueryKind::Page => drop(self.number(parameter.name)?),
            }
        }
        Ok(())
    }

    /// A text of the query.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<Cow<'_, str>>, ApiError> {
        self.declared(name);
        let text = self.query.get(name)?;
        if text
            .as_ref()
            .is_some_and(|text| text.len() > TEXT_BYTES_MAX)
        {
            return Err(malformed(format!("`{name}` is too long")));
        }
        Ok(text)
    }

    /// A flag of the query; false if it is not there.
    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, ApiError> {
        match self.text(name)?.as_deref() {
            None | Some("false" | "False" | "0") => Ok(false),
            Some("true" | "True" | "1") => Ok(true),
            Some(_) => Err(malformed(format!("`{name}` is `true` or `false`"))),
        }
    }

    /// A number of the query: of entries or of a page, as the table says.
    pub(crate) fn number(&self, name: &'static str) -> Result<u32, ApiError> {
        let (default, most) = match self.declared(name) {
            QueryKind::Entries { default, most } => (default, most),
            QueryKind::Page => (1, PAGES_MAX),
            QueryKind::Text | QueryKind::Flag => (1, u32::MAX),
        };
        match self.text(name)? {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| malformed(format!("`{name}` is a number between 1 and {most}"))),
        }
    }

    /// The position that a list goes on behind, by its own `next_page`.
    pub(crate) fn next_page<T: std::str::FromStr>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let position = text.parse().map_err(|_| {
            malformed(format!(
                "`{name}` is not one that this list gave: {}",
                text.escape_debug().take(40).collect::<String>()
            ))
        })?;
        Ok(Some(position))
    }

    /// What the table says of a parameter, which has to be there: the document is made of the same table.
    fn declared(&self, name: &str) -> QueryKind {
        let found = self.operation.query.iter().find(|one| one.name == name);
        debug_assert!(found.is_some(), "`{name}` is missing in the table");
        found.map_or(QueryKind::Text, |parameter| parameter.kind)
    }
}

/// The most pages that can be asked for by number.
pub(crate) const PAGES_MAX: u32 = 1_000_000;

pub(crate) fn malformed(problem: impl Into<String>) -> ApiError {
    ApiError::Malformed {
        problem: problem.into(),
    }
}
