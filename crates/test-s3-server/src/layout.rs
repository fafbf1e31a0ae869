//! Where `s3s-fs` of the version in Cargo.lock keeps what: objects as `BUCKET/KEY`, everything else in hidden files beside the buckets.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::{S3Result, s3_error};
use uuid::Uuid;

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// Whether an object of this key can be kept.
pub(crate) fn is_key(bucket: &str, key: &str) -> S3Result<()> {
    if key
        .split('/')
        .any(|part| matches!(part, "" | "." | "..") || part.len() > NAME_BYTES_MAX)
    {
        return Err(s3_error!(
            InvalidArgument,
            "this server keeps keys as paths, and {key} is none"
        ));
    }
    if upload_attributes_name(bucket, key, Uuid::nil()).len() > NAME_BYTES_MAX {
        return Err(s3_error!(
            KeyTooLongError,
            "this server keeps shorter keys only"
        ));
    }
    Ok(())
}

/// The file of an object.
pub(crate) fn object(root: &Path, bucket: &str, key: &str) -> PathBuf {
    root.join(bucket).join(key)
}

/// What is known of an object besides its bytes: its attributes, and its `ETag` with checksums.
pub(crate) fn object_sidecars(root: &Path, bucket: &str, key: &str) -> [PathBuf; 2] {
    let stem = object_stem(bucket, key);
    ["metadata", "internal"].map(|kind| root.join(format!("{stem}.{kind}.json")))
}

/// The file that an upload has as long as it is open.
pub(crate) fn upload(root: &Path, id: Uuid) -> PathBuf {
    root.join(format!(".upload-{id}.json"))
}

/// The attributes of the object that an upload is for.
pub(crate) fn upload_attributes(root: &Path, bucket: &str, key: &str, id: Uuid) -> PathBuf {
    root.join(upload_attributes_name(bucket, key, id))
}

fn upload_attributes_name(bucket: &str, key: &str, id: Uuid) -> String {
    format!("{}.upload-{id}.metadata.json", object_stem(bucket, key))
}

/// The bucket, key and id in the name of a file of [`upload_attributes`].
pub(crate) fn parse_upload_attributes(name: &str) -> Option<(String, String, Uuid)> {
    let rest = name.strip_prefix(".bucket-")?;
    let (bucket, rest) = rest.split_once(".object-")?;
    let (key, id) = rest
        .strip_suffix(".metadata.json")?
        .split_once(".upload-")?;
    let text = |encoded| String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok();
    Some((text(bucket)?, text(key)?, id.parse().ok()?))
}

/// What the names of an upload's parts begin with. Aborting an upload removes all files that begin so.
pub(crate) fn part_prefix(id: Uuid) -> String {
    format!(".upload_id-{id}.part-")
}

/// The file of a part.
pub(crate) fn part(root: &Path, id: Uuid, number: i32) -> PathBuf {
    root.join(format!("{}{number}", part_prefix(id)))
}

/// The `ETag` of a part that has come whole: a file of this program's.
pub(crate) fn part_tag(root: &Path, id: Uuid, number: i32) -> PathBuf {
    root.join(format!("{}{number}.tag", part_prefix(id)))
}

/// Where an upload's files are kept while it is being completed: a directory of this program's.
pub(crate) fn completing(root: &Path, id: Uuid) -> PathBuf {
    root.join(format!("{COMPLETING}{id}"))
}

/// What the names of directories of [`completing`] begin with.
pub(crate) const COMPLETING: &str = ".completing-";

fn object_stem(bucket: &str, key: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(".bucket-{}.object-{}", encode(bucket), encode(key))
}
