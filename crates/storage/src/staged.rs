//! What was acknowledged of an upload's bytes, in a form that the caller keeps beside the session, so that any instance can go on from there.

use std::fmt;
use std::str::FromStr;

/// The bytes of an upload that survive a crash.
///
/// A directory keeps them in one file, of which the offset says all. An object store keeps them in objects of which the parts are the
/// list; a part that no acknowledged list names does not count, so that a writer that was overtaken has destroyed nothing.
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
        parts: StagedParts(Vec::new()),
    };

    /// So many bytes, in a store where the offset says all.
    pub const fn at(offset: u64) -> Self {
        Self {
            offset,
            parts: StagedParts(Vec::new()),
        }
    }
}

/// The objects that the bytes of an upload lie in, in order. Its text is for the database and of no use elsewhere; parts of the same writer
/// and size take no more room than one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StagedParts(Vec<Run>);

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
    /// Every part, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Part> + '_ {
        self.0.iter().flat_map(|run| {
            (0..run.count).map(|number| Part {
                writer: run.writer,
                start: run.start + number * run.bytes,
                bytes: run.bytes,
            })
        })
    }

    /// The last part.
    pub(crate) fn last(&self) -> Option<Part> {
        self.0.last().map(|run| Part {
            writer: run.writer,
            start: run.start + (run.count - 1) * run.bytes,
            bytes: run.bytes,
        })
    }

    pub(crate) fn push(&mut self, part: Part) {
        match self.0.last_mut() {
            Some(run)
                if run.writer == part.writer
                    && run.bytes == part.bytes
                    && run.start + run.count * run.bytes == part.start =>
            {
                run.count += 1;
            }
            _ => self.0.push(Run {
                writer: part.writer,
                start: part.start,
                bytes: part.bytes,
                count: 1,
            }),
        }
    }

    /// Takes the last part off.
    pub(crate) fn pop(&mut self) {
        if let Some(run) = self.0.last_mut() {
            run.count -= 1;
            if run.count == 0 {
                self.0.pop();
            }
        }
    }

    /// Up to which byte the parts reach.
    pub(crate) fn end(&self) -> u64 {
        self.last().map_or(0, Part::end)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|run| run.count).sum()
    }
}

/// `<writer in hex>:<start>:<bytes>:<count>` for each run, with commas between; nothing for none.
impl fmt::Display for StagedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, run) in self.0.iter().enumerate() {
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
        Ok(Self(runs))
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
