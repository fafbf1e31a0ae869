//! Objects made of blocks that the store copies by itself. One request each; deadlines and retries are the caller's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Builder;
use http::{Request, Response, StatusCode};
use opendal::{Buffer, ErrorKind};
use roadstead_runtime::Timestamp;

use super::SharedAccess;
use crate::http::HttpClient;
use crate::query::push_pair;

/// The version of the service that is spoken; the same as the operator's.
const VERSION: &str = "2022-11-02";

/// How long the signatures of these requests hold: longer than any of them takes, and than clocks are apart.
const HOLDS: Duration = Duration::from_mins(30);

/// Puts objects together from blocks.
#[derive(Debug)]
pub(crate) struct AzureBlocks {
    access: SharedAccess,
    http: HttpClient,
    lacking: AtomicBool,
}

/// The name of a block: all those of an object have the same length, also those that the operator names.
#[derive(Clone, Debug)]
pub(crate) struct BlockId(String);

impl BlockId {
    /// The block that begins at a byte, of one attempt to put the object together. Two attempts at the same object have blocks of their own.
    pub(crate) fn new(attempt: u64, start: u64) -> Self {
        let mut bytes = [0; 16];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&attempt.to_be_bytes());
        low.copy_from_slice(&start.to_be_bytes());
        Self(STANDARD.encode(bytes))
    }
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockCopy {
    /// It is there.
    Done,
    /// This store does not copy from URLs, for good or for the moment.
    NotOffered,
}

/// What became of a list of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// They are the object.
    Done,
    /// Some are not there any more: somebody else has written the object, and that removes all other blocks.
    BlocksGone,
}

impl AzureBlocks {
    pub(super) const fn new(access: SharedAccess, http: HttpClient) -> Self {
        Self {
            access,
            http,
            lacking: AtomicBool::new(false),
        }
    }

    /// Whether the store is known not to copy from URLs.
    pub(crate) fn are_lacking(&self) -> bool {
        self.lacking.load(Ordering::Relaxed)
    }

    /// Makes the first `bytes` of the object `from` a block of the object `to`.
    pub(crate) async fn copy(
        &self,
        from: &str,
        to: &str,
        id: &BlockId,
        bytes: u64,
        now: Timestamp,
    ) -> opendal::Result<BlockCopy> {
        let mut url = self.access.url(to, "cw", now + HOLDS);
        push_pair(&mut url, "comp", "block");
        push_pair(&mut url, "blockid", &id.0);
        let source = self.access.url(from, "r", now + HOLDS);
        let mut source = HeaderValue::try_from(source).map_err(|error| {
            opendal::Error::new(ErrorKind::ConfigInvalid, "the token fits into no URL")
                .set_source(error)
        })?;
        source.set_sensitive(true);
        let request = Request::put(url)
            .header("x-ms-copy-source", source)
            .header("x-ms-source-range", format!("bytes=0-{}", bytes - 1));
        let answer = self.send(request, Buffer::new()).await?;
        let code = code_of(&answer);
        let not_offered = match answer.status() {
            StatusCode::CREATED => return Ok(BlockCopy::Done),
            StatusCode::NOT_IMPLEMENTED => true,
            StatusCode::BAD_REQUEST => {
                matches!(code, "UnsupportedHeader" | "UnsupportedQueryParameter")
            }
            // It may not ask itself: its firewall stands between.
            StatusCode::FORBIDDEN => code == "CannotVerifyCopySource",
            // Azure always says what happened. Azurite does not where it is asked with a token; nor does a proxy in front of a store, whose next
            // answer may be another one.
            StatusCode::INTERNAL_SERVER_ERROR if code.is_empty() => {
                return Ok(BlockCopy::NotOffered);
            }
            _ => false,
        };
        if not_offered {
            if !self.lacking.swap(true, Ordering::Relaxed) {
                tracing::info!(
                    status = answer.status().as_u16(),
                    code,
                    "An Azure store does not copy parts by itself; uploads are read and written once more"
                );
            }
            return Ok(BlockCopy::NotOffered);
        }
        Err(refused("Put Block From URL", &answer))
    }

    /// Makes blocks the object, in this order and at once.
    pub(crate) async fn commit(
        &self,
        to: &str,
        ids: &[BlockId],
        now: Timestamp,
    ) -> opendal::Result<Commit> {
        let mut url = self.access.url(to, "cw", now + HOLDS);
        push_pair(&mut url, "comp", "blocklist");
        let mut list = String::from(r#"<?xml version="1.0" encoding="utf-8"?><BlockList>"#);
        for BlockId(id) in ids {
            // Those of an earlier attempt whose answer was lost count too.
            list.push_str("<Latest>");
            list.push_str(id);
            list.push_str("</Latest>");
        }
        list.push_str("</BlockList>");
        let request = Request::put(url)
            .header(CONTENT_TYPE, "application/xml")
            .header(CONTENT_LENGTH, list.len());
        let answer = self.send(request, Buffer::from(list)).await?;
        match (answer.status(), code_of(&answer)) {
            (StatusCode::CREATED, _) => Ok(Commit::Done),
            (StatusCode::BAD_REQUEST, "InvalidBlockList") => Ok(Commit::BlocksGone),
            _ => Err(refused("Put Block List", &answer)),
        }
    }

    async fn send(&self, request: Builder, body: Buffer) -> opendal::Result<Response<Buffer>> {
        let request = request
            .header("x-ms-version", VERSION)
            .body(body)
            .map_err(|error| {
                opendal::Error::new(ErrorKind::ConfigInvalid, "the request has no valid URL")
                    .set_source(error)
            })?;
        self.http.send(request).await
    }
}

/// The store's word for what is wrong.
fn code_of(answer: &Response<Buffer>) -> &str {
    answer
        .headers()
        .get("x-ms-error-code")
        .and_then(|code| code.to_str().ok())
        .unwrap_or_default()
}

/// An error of the same kind as the operator makes of such an answer. The body is left out: it may repeat what was sent.
fn refused(request: &'static str, answer: &Response<Buffer>) -> opendal::Error {
    let status = answer.status();
    let (kind, is_temporary) = match status {
        StatusCode::NOT_FOUND => (ErrorKind::NotFound, false),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (ErrorKind::PermissionDenied, false),
        StatusCode::TOO_MANY_REQUESTS => (ErrorKind::RateLimited, true),
        _ => (ErrorKind::Unexpected, status.is_server_error()),
    };
    let message = format!("AzblobError {{ code: {:?} }}", code_of(answer));
    opendal::Error::new(kind, message)
        .with_context("request", request)
        .with_context("status", status)
        .with_temporary(is_temporary)
}
