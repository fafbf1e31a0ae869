//! Giving up uploads that nobody goes on with: sessions first, then staged bytes that belong to no session, then copies.

use std::num::NonZeroU16;

use roadstead_metadata::MetadataError;
use roadstead_runtime::Timestamp;
use roadstead_storage::Location;

use super::session::discard;
use crate::registry::Inner;

/// Sessions that are looked at in one step: a few milliseconds of the database's time.
const SESSIONS_PER_STEP: u32 = 100;

/// Staged files that are listed in one step. Each step reads the whole folder, so steps are large; 4096 take 256 kB.
const STAGED_PER_STEP: NonZeroU16 = NonZeroU16::new(4096).expect("4096 is not zero");

/// What a clean-up has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// Sessions that were ended.
    pub sessions: u64,
    /// Staged uploads without a session that were deleted.
    pub strays: u64,
    /// Copies that were begun as multipart uploads and given up.
    pub copies: u64,
    /// Steps that failed, at locations that could not be reached and the like. They are tried again in the next run.
    pub failures: u64,
}

pub(crate) async fn clean_up(inner: &Inner) -> Result<Abandoned, MetadataError> {
    let older_than = inner.abandoned_before();
    let mut done = Abandoned::default();
    end_sessions(inner, older_than, &mut done).await?;
    inner.database.forget_lost_uploads(older_than).await?;
    for location in inner.locations.iter() {
        delete_strays(inner, location, older_than, &mut done).await?;
        give_up_copies(location, older_than, &mut done).await;
    }
    Ok(done)
}

async fn end_sessions(
    inner: &Inner,
    older_than: Timestamp,
    done: &mut Abandoned,
) -> Result<(), MetadataError> {
    loop {
        let sessions = inner
            .database
            .abandoned_uploads(older_than, SESSIONS_PER_STEP)
            .await?;
        for session in &sessions {
            // False when its client has come back at this moment; it is young again then.
            if !inner.database.forget_upload(session).await? {
                continue;
            }
            done.sessions += 1;
            if let Some(location) = inner.locations.get(&session.location)
                && !discard(location, session.uuid).await
            {
                done.failures += 1;
            }
        }
        // Every session of a full step has ended or become young, so the next step finds others.
        if sessions.len() < SESSIONS_PER_STEP as usize {
            return Ok(());
        }
    }
}

/// Deletes staged files that are as old as an abandoned session and belong to none: of monolithic pushes that were cut off, of
/// sessions that ended while the location was away.
async fn delete_strays(
    inner: &Inner,
    location: &Location,
    older_than: Timestamp,
    done: &mut Abandoned,
) -> Result<(), MetadataError> {
    let mut after = None;
    loop {
        let page = match location.list_staged(after, STAGED_PER_STEP).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(
                    location.id = %location.name(),
                    error = &error as &dyn std::error::Error,
                    "Could not look for abandoned uploads at location {}",
                    location.name()
                );
                done.failures += 1;
                return Ok(());
            }
        };
        for staged in page
            .uploads
            .iter()
            .filter(|staged| staged.modified < older_than)
        {
            // A session may be younger than its bytes, and it may be another program's.
            if inner.database.upload_exists(staged.id).await? {
                continue;
            }
            if discard(location, staged.id).await {
                done.strays += 1;
            } else {
                done.failures += 1;
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Gives up copies whose process ended and that nobody goes on with. Those that somebody would have gone on with begin anew.
async fn give_up_copies(location: &Location, older_than: Timestamp, done: &mut Abandoned) {
    match location.abort_stale_copies(older_than).await {
        Ok(copies) => done.copies += copies,
        Err(error) => {
            tracing::warn!(
                location.id = %location.name(),
                error = &error as &dyn std::error::Error,
                "Could not look for abandoned copies at location {}; its credentials may lack the right to list multipart uploads",
                location.name()
            );
            done.failures += 1;
        }
    }
}
