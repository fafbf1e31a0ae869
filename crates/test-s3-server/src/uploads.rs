//! Multipart uploads: which are open, which parts they have, and a completion that happens or does not.
//!
//! The store completes an upload by taking it apart. Its files are linked to another place before, and put back when the store refuses or the process
//! ends in the middle.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use s3s::dto::{CompletedMultipartUpload, ETag, Part, Timestamp};
use s3s::{S3Error, S3Result, s3_error};
use uuid::Uuid;

use crate::layout;

/// As in S3.
const PART_BYTES_MIN: i64 = 5 * 1024 * 1024;
const PART_NUMBER_MAX: i32 = 10_000;

/// The id of an upload that is open for this key.
pub(crate) fn open(root: &Path, bucket: &str, key: &str, id: &str) -> S3Result<Uuid> {
    let id = id.parse().ok().filter(|id| {
        layout::upload(root, *id).is_file()
            && layout::upload_attributes(root, bucket, key, *id).is_file()
    });
    id.ok_or_else(|| s3_error!(NoSuchUpload, "there is no such upload of {key}"))
}

/// Whether a part may have this number.
pub(crate) fn check_number(number: i32) -> S3Result<()> {
    if (1..=PART_NUMBER_MAX).contains(&number) {
        return Ok(());
    }
    Err(s3_error!(
        InvalidArgument,
        "Part number must be an integer between 1 and 10000, inclusive"
    ))
}

/// Keeps a part's `ETag`: from now on the part is there.
pub(crate) fn note_part(root: &Path, id: Uuid, number: i32, tag: Option<&ETag>) -> S3Result<()> {
    let tag = tag.ok_or_else(|| s3_error!(InternalError))?;
    fs::write(layout::part_tag(root, id, number), tag.value()).map_err(failed)
}

/// A part that has come whole.
fn find_part(root: &Path, id: Uuid, number: i32) -> Option<Part> {
    let tag = fs::read_to_string(layout::part_tag(root, id, number)).ok()?;
    let file = fs::metadata(layout::part(root, id, number)).ok()?;
    Some(Part {
        part_number: Some(number),
        e_tag: Some(ETag::Strong(tag)),
        size: i64::try_from(file.len()).ok(),
        last_modified: file.modified().ok().map(Timestamp::from),
        ..Part::default()
    })
}

/// The parts of an upload, by number.
pub(crate) fn parts(root: &Path, id: Uuid) -> S3Result<Vec<Part>> {
    let prefix = layout::part_prefix(id);
    let mut numbers: Vec<i32> = names(root)
        .map_err(failed)?
        .iter()
        .filter_map(|name| name.strip_prefix(&prefix)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers
        .into_iter()
        .filter_map(|number| find_part(root, id, number))
        .collect())
}

/// The open uploads of a bucket, by key and id, with the time at which they were begun.
pub(crate) fn of_bucket(root: &Path, bucket: &str) -> S3Result<Vec<(String, Uuid, Timestamp)>> {
    let mut uploads = Vec::new();
    for name in names(root).map_err(failed)? {
        let Some((of, key, id)) = layout::parse_upload_attributes(&name) else {
            continue;
        };
        // One that is being ended meanwhile is not open.
        let begun = fs::metadata(layout::upload(root, id)).and_then(|file| file.modified());
        if let Ok(begun) = begun
            && of == bucket
        {
            uploads.push((key, id, Timestamp::from(begun)));
        }
    }
    uploads.sort_by(|(one, one_id, _), (two, two_id, _)| (one, one_id).cmp(&(two, two_id)));
    Ok(uploads)
}

/// The numbers of the parts that an upload is to be completed with, if it can be.
pub(crate) fn check_completion(
    root: &Path,
    id: Uuid,
    wanted: Option<&CompletedMultipartUpload>,
) -> S3Result<Vec<i32>> {
    let wanted = wanted
        .and_then(|wanted| wanted.parts.as_deref())
        .unwrap_or_default();
    let numbers: Vec<i32> = wanted
        .iter()
        .map(|part| part.part_number.unwrap_or_default())
        .collect();
    let Some(last) = numbers.last() else {
        return Err(s3_error!(MalformedXML, "no parts are named"));
    };
    if !numbers.is_sorted_by(|one, two| one < two) {
        return Err(s3_error!(InvalidPartOrder));
    }
    // Ascending, so nothing is left out if the last is their count.
    if usize::try_from(*last) != Ok(numbers.len()) {
        return Err(s3_error!(
            NotImplemented,
            "this server completes uploads only with parts that are numbered 1, 2, 3 and so on"
        ));
    }
    for (number, wanted) in numbers.iter().zip(wanted) {
        let part = find_part(root, id, *number)
            .filter(|part| wanted.e_tag.is_none() || part.e_tag == wanted.e_tag)
            .ok_or_else(|| s3_error!(InvalidPart, "part {number} is not there, or another is"))?;
        if number != last && part.size.is_none_or(|size| size < PART_BYTES_MIN) {
            return Err(s3_error!(EntityTooSmall, "part {number} is too small"));
        }
    }
    Ok(numbers)
}

/// The files that a completion takes from an upload, linked to a place of their own meanwhile.
#[derive(Debug)]
pub(crate) struct SetAside {
    root: PathBuf,
    id: Uuid,
}

impl SetAside {
    /// Of an upload that is to be completed with these parts.
    pub(crate) fn new(
        root: &Path,
        (bucket, key): (&str, &str),
        id: Uuid,
        parts: &[i32],
    ) -> S3Result<Self> {
        let aside = Self {
            root: root.to_owned(),
            id,
        };
        let directory = layout::completing(root, id);
        fs::create_dir(&directory)
            .map_err(|_| s3_error!(OperationAborted, "the upload is being completed"))?;
        let parts = parts.iter().map(|number| layout::part(root, id, *number));
        let linked: io::Result<()> = parts
            .chain([
                layout::upload_attributes(root, bucket, key, id),
                layout::upload(root, id),
            ])
            .try_for_each(|file| {
                let name = file.file_name().unwrap_or_default();
                fs::hard_link(&file, directory.join(name))
            });
        match linked {
            Ok(()) => Ok(aside),
            Err(error) => {
                fs::remove_dir_all(&directory).map_err(failed)?;
                Err(failed(error))
            }
        }
    }

    /// The upload is as it was before.
    pub(crate) fn restore(self) -> io::Result<()> {
        let directory = layout::completing(&self.root, self.id);
        for name in names(&directory)? {
            // Does nothing where the store has not come yet and both names are of one file.
            fs::rename(directory.join(&name), self.root.join(&name))?;
        }
        fs::remove_dir_all(directory)
    }

    /// The upload has been completed: nothing is left of it.
    pub(crate) fn forget(self) -> io::Result<()> {
        fs::remove_dir_all(layout::completing(&self.root, self.id))?;
        let prefix = layout::part_prefix(self.id);
        for name in names(&self.root)? {
            if name.starts_with(&prefix) {
                fs::remove_file(self.root.join(name))?;
            }
        }
        Ok(())
    }
}

/// Restores every upload whose completion was under way when the process ended.
pub(crate) fn restore_all(root: &Path) -> io::Result<()> {
    for name in names(root)? {
        let id = name.strip_prefix(layout::COMPLETING);
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            let root = root.to_owned();
            SetAside { root, id }.restore()?;
        }
    }
    Ok(())
}

/// The names in a directory.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// What a client is told when the disk fails us.
pub(crate) fn failed(error: io::Error) -> S3Error {
    s3_error!(error, InternalError)
}
