//! Every driver against a real store: one contract for all, and what only some can show.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and its own servers end with its runtime"
)]

mod azure;
mod between;
mod directory;
mod s3;
mod suite;
mod swift;
mod trouble;
mod urls;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use roadstead_oci::{Algorithm, Digest};
use roadstead_storage::{Location, ObjectKey, Staged, StorageError};
use uuid::Uuid;

/// Bytes of which no two blocks look alike.
fn content(seed: u64, length: usize) -> Vec<u8> {
    const BLOCK: usize = 1 << 16;
    let block: Vec<u8> = (0..BLOCK as u64 / 8)
        .flat_map(|number| {
            (number ^ seed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes()
        })
        .collect();
    let mut bytes = Vec::with_capacity(length + BLOCK);
    let mut number = seed;
    while bytes.len() < length {
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&block);
        number += 1;
    }
    bytes.truncate(length);
    bytes
}

fn digest(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

fn key(content: &[u8]) -> ObjectKey {
    ObjectKey::Blob(digest(content))
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

/// Goes on with an upload and acknowledges what it writes.
async fn append(
    location: &Location,
    upload: Uuid,
    staged: &Staged,
    bytes: &[u8],
) -> Result<Staged, StorageError> {
    let mut writer = location.stage(upload, staged).await?;
    // As a connection brings them.
    for piece in bytes.chunks(200_000) {
        writer.write(Bytes::copy_from_slice(piece)).await?;
    }
    writer.sync().await?;
    Ok(writer.staged())
}

/// Puts an object there in the ordinary way.
async fn put(location: &Location, upload: Uuid, bytes: &[u8]) -> Result<ObjectKey, StorageError> {
    let staged = append(location, upload, &Staged::NOTHING, bytes).await?;
    let key = key(bytes);
    location.publish(upload, &staged, &key).await?;
    Ok(key)
}

async fn read(
    location: &Location,
    key: &ObjectKey,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, StorageError> {
    collect(location.read(key, range).await?).await
}

async fn collect(
    mut stream: impl Stream<Item = Result<Bytes, StorageError>> + Unpin,
) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
