//! Lists of keys below a folder. The store walks through the whole bucket for each, however few there are.

use std::fs;
use std::io;
use std::path::Path;

use s3s::dto::{ListObjectsV2Input, ListObjectsV2Output, Object, Timestamp};

/// The most that one page holds, as in S3.
const PAGE_MAX: i32 = 1000;

/// A page of the keys with a prefix, in their order.
pub(crate) fn page(bucket: &Path, input: &ListObjectsV2Input) -> io::Result<ListObjectsV2Output> {
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let prefix = prefix.trim_start_matches('/');
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut objects = Vec::new();
    walk(bucket, folder, &mut objects)?;
    let token = input.continuation_token.as_deref();
    let after = token.max(input.start_after.as_deref());
    objects.retain(|(key, _)| {
        key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
    });
    objects.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let asked = input.max_keys.unwrap_or(PAGE_MAX).clamp(0, PAGE_MAX);
    let size = usize::try_from(asked).unwrap_or_default();
    let is_truncated = objects.len() > size;
    objects.truncate(size);
    let last = objects.last().map(|(key, _)| key.clone());
    let contents: Vec<Object> = objects
        .into_iter()
        .filter_map(|(key, metadata)| object(key, &metadata))
        .collect();
    Ok(ListObjectsV2Output {
        key_count: i32::try_from(contents.len()).ok(),
        contents: Some(contents),
        name: Some(input.bucket.clone()),
        prefix: input.prefix.clone(),
        max_keys: Some(asked),
        is_truncated: Some(is_truncated),
        continuation_token: input.continuation_token.clone(),
        start_after: input.start_after.clone(),
        next_continuation_token: last.filter(|_| is_truncated),
        ..ListObjectsV2Output::default()
    })
}

fn object(key: String, metadata: &fs::Metadata) -> Option<Object> {
    Some(Object {
        key: Some(key),
        last_modified: Some(Timestamp::from(metadata.modified().ok()?)),
        size: i64::try_from(metadata.len()).ok(),
        ..Object::default()
    })
}

fn walk(bucket: &Path, folder: &str, objects: &mut Vec<(String, fs::Metadata)>) -> io::Result<()> {
    if folder.split('/').any(|name| name == "..") {
        return Ok(());
    }
    let entries = match fs::read_dir(bucket.join(folder)) {
        Ok(entries) => entries,
        // What is not there, or was deleted just now, holds nothing.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let key = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(bucket, &key, objects)?,
            Ok(metadata) => objects.push((key, metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
