//! Adding a chunk to an upload.

use std::pin::pin;

use bytes::Bytes;
use futures_util::Stream;
use roadstead_metadata::Repository;
use uuid::Uuid;

use super::UploadStatus;
use super::session::{self, Opened, Session};
use super::transfer::{Intake, Stopped};
use crate::body::{Announced, BodyError, Incoming};
use crate::error::PushError;
use crate::registry::Inner;

pub(super) async fn append<B>(
    inner: &Inner,
    repository: &Repository,
    id: Uuid,
    announced: Announced,
    body: B,
) -> Result<UploadStatus, PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>> + Send,
{
    inner.require_writable(repository)?;
    session::require_room(inner, repository, id).await?;
    let held = session::hold(inner, repository, id, announced).await?;
    let mut session = match held.open(inner, repository, announced).await? {
        Opened::Ready(session) => session,
        Opened::Unstaged(_) => return Err(PushError::UploadLost { id }),
    };
    let mut body = pin!(body);
    let body = Incoming::new(
        body.as_mut(),
        &*inner.environment.clock,
        inner.options.body_idle_timeout,
    );
    let mut intake = Intake::new(
        body,
        announced,
        session.upload.offset,
        inner.options.blob_bytes_max,
    )?;
    if announced.range.is_some() {
        append_whole(inner, &mut session, &mut intake).await?;
    } else {
        append_what_comes(inner, &mut session, &mut intake).await?;
    }
    Ok(UploadStatus::from(&session.upload))
}

/// Adds a chunk of which the client said which bytes it has: all of them, or none.
async fn append_whole<B>(
    inner: &Inner,
    session: &mut Session,
    intake: &mut Intake<'_, B>,
) -> Result<(), PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>>,
{
    while let Some(piece) = intake
        .next()
        .await
        .map_err(|stopped| stopped.at(session.upload.offset))?
    {
        let taken = session.sink.take_all(inner, piece).await;
        taken.map_err(|error| session.failed(error))?;
    }
    session.acknowledge(inner).await
}

/// Adds the bytes that come, for as long as they come.
async fn append_what_comes<B>(
    inner: &Inner,
    session: &mut Session,
    intake: &mut Intake<'_, B>,
) -> Result<(), PushError>
where
    B: Stream<Item = Result<Bytes, BodyError>>,
{
    let stopped = loop {
        match intake.next().await {
            Ok(Some(mut piece)) => {
                while !piece.is_empty() {
                    let taken = session.sink.take(inner, piece).await;
                    piece = taken.map_err(|error| session.failed(error))?;
                    if session.unacknowledged() >= inner.options.checkpoint_bytes
                        && session.sink.at_boundary()
                    {
                        session.acknowledge(inner).await?;
                    }
                }
            }
            Ok(None) => break None,
            Err(stopped) => break Some(stopped),
        }
    };
    match stopped {
        None => session.acknowledge(inner).await,
        // What came before the break is kept. Everything else that stops a body is the client's mistake, and what came with it
        // since the last checkpoint does not count.
        Some(Stopped::BrokenOff(source)) => {
            session.acknowledge(inner).await?;
            Err(Stopped::BrokenOff(source).at(session.upload.offset))
        }
        Some(stopped) => Err(stopped.at(session.upload.offset)),
    }
}
