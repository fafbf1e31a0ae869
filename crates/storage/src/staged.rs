//! What was acknowledged of an upload's bytes, in a form that the caller keeps beside the session, so that any instance can go on from there.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The bytes of an upload that survive a crash.
///
/// A directory keeps them in one file, of which the offset says all. An object store keeps them in objects of which the parts are the
/// list, or, of a copy, in the parts of a multipart upload; a part that no acknowledged list names does not count, so that a writer that was
/// overtaken has destroyed nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// How many bytes.
    pub offset: u64,
    /// Where they lie, if the offset does not say it.
    pub parts: StagedParts,
}

impl Staged {
    /// Nothing yet.
    pub const NOTHING: Self = Self {
        offset: 0,
        parts: StagedParts(Form::Objects(Vec::new())),
    };

    /// So many bytes, in a store where the offset says all.
    pub const fn at(offset: u64) -> Self {
        Self {
            offset,
            parts: StagedParts(Form::Objects(Vec::new())),
        }
    }
}

/// What the bytes of an upload lie in, in order. Its text is for the database and of no use elsewhere; objects of the same writer and size take no
/// more room than one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StagedParts(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Objects of our own.
    Objects(Vec<Run>),
    /// A multipart upload of the store's.
    Multipart(MultipartUpload),
}

impl Default for Form {
    fn default() -> Self {
        Self::Objects(Vec::new())
    }
}

/// A multipart upload, whose parts are numbered from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MultipartUpload {
    #[serde(rename = "upload")]
    pub(crate) id: String,
    pub(crate) parts: Vec<MultipartPart>,
}

/// A part of a multipart upload: how long it is, and the tag by which the store knows its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MultipartPart(pub(crate) u64, pub(crate) String);

impl MultipartUpload {
    pub(crate) fn end(&self) -> u64 {
        self.parts
            .iter()
            .fold(0, |end, MultipartPart(bytes, _)| end.saturating_add(*bytes))
    }
}

/// Neighbouring parts of one writer and one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    writer: u64,
    start: u64,
    bytes: u64,
    count: u64,
}

/// One object with staged bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whoever wrote it. Two writers never write the same object.
    pub(crate) writer: u64,
    /// Where in the upload it begins.
    pub(crate) start: u64,
    /// How long it is.
    pub(crate) bytes: u64,
}

impl Part {
    pub(crate) const fn end(self) -> u64 {
        self.start + self.bytes
    }
}

impl StagedParts {
    pub(crate) fn of_multipart(upload: MultipartUpload) -> Self {
        Self(Form::Multipart(upload))
    }

    /// The multipart upload, if it is one.
    pub(crate) fn multipart(&self) -> Option<&MultipartUpload> {
        match &self.0 {
            Form::Objects(_) => None,
            Form::Multipart(upload) => Some(upload),
        }
    }

    fn runs(&self) -> &[Run] {
        match &self.0 {
            Form::Objects(runs) => runs,
            Form::Multipart(_) => &[],
        }
    }

    /// Every object, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Part> + '_ {
        self.runs().iter().flat_map(|run| {
            (0..run.count).map(|number| Part {
                writer: run.writer,
                start: run.start + number * run.bytes,
                bytes: run.bytes,
            })
        })
    }

    /// The last object.
    pub(crate) fn last(&self) -> Option<Part> {
        self.runs().last().map(|run| Part {
            writer: run.writer,
            start: run.start + (run.count - 1) * run.bytes,
            bytes: run.bytes,
        })
    }

    pub(crate) fn push(&mut self, part: Part) {
        let Form::Objects(runs) = &mut self.0 else {
            return;
        };
        match runs.last_mut() {
            Some(run)
                if run.writer == part.writer
                    && run.bytes == part.bytes
                    && run.start + run.count * run.bytes == part.start =>
            {
                run.count += 1;
            }
            _ => runs.push(Run {
                writer: part.writer,
                start: part.start,
                bytes: part.bytes,
                count: 1,
            }),
        }
    }

    /// Takes the last object off.
    pub(crate) fn pop(&mut self) {
        let Form::Objects(runs) = &mut self.0 else {
            return;
        };
        if let Some(run) = runs.last_mut() {
            run.count -= 1;
            if run.count == 0 {
                runs.pop();
            }
        }
    }

    /// Up to which byte the parts reach.
    pub(crate) fn end(&self) -> u64 {
        match &self.0 {
            Form::Objects(_) => self.last().map_or(0, Part::end),
            Form::Multipart(upload) => upload.end(),
        }
    }

    /// How many objects there are.
    pub(crate) fn count(&self) -> u64 {
        self.runs().iter().map(|run| run.count).sum()
    }
}

/// `<writer in hex>:<start>:<bytes>:<count>` for each run of objects, with commas between; nothing for none. A multipart upload is JSON.
impl fmt::Display for StagedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(upload) = self.multipart() {
            let text = serde_json::to_string(upload).map_err(|_| fmt::Error)?;
            return f.write_str(&text);
        }
        for (number, run) in self.runs().iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(
                f,
                "{comma}{:x}:{}:{}:{}",
                run.writer, run.start, run.bytes, run.count
            )?;
        }
        Ok(())
    }
}

/// Why a text is not a list of parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a list of staged parts: {problem}")]
pub struct StagedPartsError {
    text: String,
    problem: &'static str,
}

impl FromStr for StagedParts {
    type Err = StagedPartsError;

    fn from_str(text: &str) -> Result<Self, StagedPartsError> {
        let wrong = |problem| StagedPartsError {
            text: text.to_owned(),
            problem,
        };
        if text.starts_with('{') {
            let upload: MultipartUpload =
                serde_json::from_str(text).map_err(|_| wrong("it is no multipart upload"))?;
            let empty = |MultipartPart(bytes, _): &MultipartPart| *bytes == 0;
            if upload.parts.iter().any(empty) {
                return Err(wrong("a part is empty"));
            }
            return Ok(Self::of_multipart(upload));
        }
        let mut runs: Vec<Run> = Vec::new();
        for run in text.split(',').filter(|_| !text.is_empty()) {
            let fields: Vec<&str> = run.split(':').collect();
            let [writer, start, bytes, count] = fields.as_slice() else {
                return Err(wrong("a part has four fields"));
            };
            let number = |field: &str| {
                field
                    .parse::<u64>()
                    .map_err(|_| wrong("a field is not a number"))
            };
            let run = Run {
                writer: u64::from_str_radix(writer, 16)
                    .map_err(|_| wrong("a writer is not a number"))?,
                start: number(start)?,
                bytes: number(bytes)?,
                count: number(count)?,
            };
            if run.bytes == 0 || run.count == 0 {
                return Err(wrong("a part is empty"));
            }
            let end_of = |run: &Run| run.bytes.checked_mul(run.count)?.checked_add(run.start);
            let begins_at = match runs.last() {
                Some(last) => end_of(last),
                None => Some(0),
            };
            if begins_at != Some(run.start) || end_of(&run).is_none() {
                return Err(wrong("its parts do not follow each other"));
            }
            runs.push(run);
        }
        Ok(Self(Form::Objects(runs)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_found_again_in_their_text(sizes in prop::collection::vec((0..3_u64, 1..5_u64), 0..50)) {
            let (mut parts, mut expected, mut start) = (StagedParts::default(), Vec::new(), 0);
            for (writer, bytes) in sizes {
                let part = Part { writer, start, bytes };
                parts.push(part);
                expected.push(part);
                start += bytes;
            }
            prop_assert_eq!(parts.iter().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(parts.count(), expected.len() as u64);
            prop_assert_eq!(parts.end(), start);
            let read: StagedParts = parts.to_string().parse().unwrap();
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), expected.clone());
            while let Some(last) = expected.pop() {
                prop_assert_eq!(parts.last(), Some(last));
                parts.pop();
            }
            prop_assert_eq!(parts, StagedParts::default());
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:,]{0,40}|.*") {
            if let Ok(parts) = text.parse::<StagedParts>() {
                prop_assert_eq!(parts.to_string().parse::<StagedParts>().unwrap(), parts);
            }
        }
    }

    #[test]
    fn many_parts_of_one_writer_take_little_room() {
        let mut parts = StagedParts::default();
        for number in 0..10_000 {
            parts.push(Part {
                writer: 0xabc,
                start: number << 23,
                bytes: 1 << 23,
            });
        }
        assert_eq!(parts.to_string(), "abc:0:8388608:10000");
    }

    #[test]
    fn a_multipart_upload_is_found_again_in_its_text() {
        let parts = StagedParts::of_multipart(MultipartUpload {
            id: "2~\"ü".to_owned(),
            parts: vec![
                MultipartPart(8 << 20, "\"etag-1\"".to_owned()),
                MultipartPart(5, String::new()),
            ],
        });
        assert_eq!(parts.end(), (8 << 20) + 5);
        assert_eq!((parts.count(), parts.last()), (0, None));
        assert_eq!(parts.to_string().parse::<StagedParts>().unwrap(), parts);
        for text in [
            "{",
            "{}",
            r#"{"upload":"a","parts":[[0,"t"]]}"#,
            r#"{"upload":"a","parts":[[-1,"t"]]}"#,
        ] {
            text.parse::<StagedParts>().unwrap_err();
        }
    }

    #[test]
    fn parts_with_gaps_are_refused() {
        for text in [
            "1:5:5:1",
            "1:0:5:1,1:6:1:1",
            "1:0:5",
            "1:0:0:1",
            "x:0:1:1",
            "1:0:18446744073709551615:2",
        ] {
            text.parse::<StagedParts>().unwrap_err();
        }
    }
}
