//! Objects that consist of others: Static Large Objects, which are lists, and Dynamic Large Objects, which are prefixes. When which is written
//! and deleted is not decided here.

use std::collections::BTreeSet;

use http::header::ACCEPT;
use http::{Method, StatusCode};
use opendal::Buffer;
use opendal::raw::percent_decode_path;
use serde::Deserialize;
use uuid::Uuid;

use super::container::{Container, misconfigured, not_understood, start_of, whole};
use crate::error::{Refusal, StorageErrorKind};
use crate::object_key::SEGMENTS;

/// What an object consists of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// There is no such object.
    Absent,
    /// Its own bytes.
    Plain,
    /// Segments that it lists: a Static Large Object, as this program writes them.
    List {
        /// Uploads that segments are of.
        uploads: BTreeSet<Uuid>,
    },
    /// Whatever has a prefix: a Dynamic Large Object, as Quay writes them.
    Prefix {
        /// The upload, if the prefix is that of one.
        upload: Option<Uuid>,
        /// As configured in the object, with the container.
        text: String,
    },
}

impl Content {
    /// The uploads whose segments it consists of.
    pub(crate) fn uploads(&self) -> Vec<Uuid> {
        match self {
            Self::Absent | Self::Plain => vec![],
            Self::List { uploads } => uploads.iter().copied().collect(),
            Self::Prefix { upload, .. } => upload.iter().copied().collect(),
        }
    }
}

/// One segment of a list.
#[derive(Clone, Debug)]
pub(crate) struct ListedPart {
    pub(crate) path: String,
    pub(crate) bytes: u64,
}

impl Container {
    /// What an object consists of, as it was last written.
    pub(crate) async fn content(&self, path: &str) -> opendal::Result<Content> {
        // Of the object itself: what it consists of may be gone.
        let mut request = self.on(Method::HEAD, path).newest(true);
        "multipart-manifest=get".clone_into(&mut request.query);
        let Some(held) = self.headers(&request).await? else {
            return Ok(Content::Absent);
        };
        if let Some(text) = held.text("x-object-manifest") {
            let text = percent_decode_path(text);
            let upload = self.upload_of(&text);
            return Ok(Content::Prefix { upload, text });
        }
        if !held.is_list() {
            return Ok(Content::Plain);
        }
        #[derive(Deserialize)]
        struct Segment {
            name: String,
        }
        let mut request = self.on(Method::GET, path).newest(true);
        "multipart-manifest=get".clone_into(&mut request.query);
        let answer = self.send(&request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            self.see_container().await?;
            return Ok(Content::Absent);
        }
        let answer = self.accepted(&request, answer).await?;
        let body = whole(answer.into_body()).await?;
        let segments: Vec<Segment> = serde_json::from_slice(&body)
            .map_err(|error| not_understood("a list of segments", &error))?;
        let names = segments.iter().map(|segment| segment.name.as_str());
        let uploads = names.filter_map(|name| self.upload_of(name)).collect();
        Ok(Content::List { uploads })
    }

    /// The upload that `[/]<container>/<prefix>segments/<upload>[/...]` names.
    fn upload_of(&self, name: &str) -> Option<Uuid> {
        let name = name.trim_start_matches('/').strip_prefix(self.name())?;
        let path = self.path_of(name.strip_prefix('/')?)?;
        let below = path.strip_prefix(SEGMENTS)?.strip_prefix('/')?;
        crate::inspect::upload_of_file(below.split('/').next()?)
    }

    /// The path of a Dynamic Large Object's segments below the prefix, if they lie where uploads' segments do.
    pub(crate) fn segments_prefix<'a>(&self, text: &'a str) -> Option<&'a str> {
        let path = self.path_of(text.strip_prefix(self.name())?.strip_prefix('/')?)?;
        let below = path.strip_prefix(SEGMENTS)?.strip_prefix('/')?;
        (!below.trim_matches('/').is_empty()).then_some(path)
    }

    /// Writes an object that consists of these parts. The store looks at every one: that it is there, and its size.
    pub(crate) async fn write_list(&self, path: &str, parts: &[ListedPart]) -> opendal::Result<()> {
        let parts: Vec<_> = parts
            .iter()
            .map(|part| {
                let name = format!("/{}/{}", self.name(), self.name_of(&part.path));
                serde_json::json!({ "path": name, "size_bytes": part.bytes })
            })
            .collect();
        let mut request = self
            .on(Method::PUT, path)
            .with(ACCEPT, "application/json")?;
        "multipart-manifest=put".clone_into(&mut request.query);
        request.body = Buffer::from(serde_json::Value::from(parts).to_string());
        let answer = self.send(&request).await?;
        match answer.status() {
            StatusCode::BAD_REQUEST => {
                let body = start_of(answer.into_body()).await;
                return Err(self.list_refused(&body));
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(misconfigured(
                    "the store takes fewer segments in a list than are needed; raise max_manifest_segments of its slo middleware",
                ));
            }
            _ => self.accepted(&request, answer).await?,
        };
        if self
            .head(path, true)
            .await?
            .is_some_and(|held| held.is_list())
        {
            return Ok(());
        }
        // What was written is the list's own text.
        self.delete(path).await?;
        Err(misconfigured(
            "the store has no Static Large Objects; add the slo middleware to its pipeline",
        ))
    }

    fn list_refused(&self, body: &[u8]) -> opendal::Error {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Errors", default)]
            errors: Vec<(String, String)>,
        }
        let Ok(Answer { errors }) = serde_json::from_slice(body) else {
            return self.error(&Method::PUT, StatusCode::BAD_REQUEST, body);
        };
        let missing = errors
            .iter()
            .find(|(_, problem)| problem.starts_with("404"));
        let (kind, example) = match (missing, errors.first()) {
            (Some(missing), _) => (StorageErrorKind::NotFound, missing),
            (None, Some(other)) => (StorageErrorKind::Corrupt, other),
            (None, None) => return self.error(&Method::PUT, StatusCode::BAD_REQUEST, body),
        };
        let (segment, problem) = example;
        let message = format!("the store does not take the segment {segment}: {problem}");
        Refusal { kind, message }.into()
    }

    /// Deletes the segments that a list names, the lists among them with theirs, and last the list itself. Safe to repeat.
    pub(crate) async fn delete_list(&self, path: &str) -> opendal::Result<()> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Response Status")]
            status: String,
            #[serde(rename = "Errors", default)]
            errors: Vec<(String, String)>,
        }
        let mut request = self
            .on(Method::DELETE, path)
            .with(ACCEPT, "application/json")?;
        "multipart-manifest=delete".clone_into(&mut request.query);
        let answer = self.send(&request).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => return self.see_container().await,
            // Not asked for: the store has no lists, and the object is gone as any other.
            StatusCode::NO_CONTENT => return Ok(()),
            _ => {}
        }
        let answer = self.accepted(&request, answer).await?;
        let body = whole(answer.into_body()).await?;
        let answer: Answer = serde_json::from_slice(body.trim_ascii())
            .map_err(|error| not_understood("the answer to a deletion", &error))?;
        let code = |status: &str| {
            let code = status.split(' ').next().unwrap_or_default();
            code.parse::<StatusCode>().ok()
        };
        let first = answer.errors.first();
        let status = first.and_then(|(_, problem)| code(problem));
        let status = status.or_else(|| code(&answer.status));
        match status {
            Some(status) if status.is_success() && first.is_none() => Ok(()),
            Some(StatusCode::NOT_FOUND) => Ok(()),
            status => {
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                Err(self.error(&Method::DELETE, status, &body))
            }
        }
    }
}
