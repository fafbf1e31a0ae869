//! The three headers that speak of byte ranges: `Range` of a download, `Content-Range` of an uploaded chunk, and the `Range` with
//! which an upload tells how far it has come.

use std::ops::Range;

use http::HeaderValue;
use roadstead_distribution::ChunkRange;

/// What a `Range` header asks for of content of a known size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RangeRequest {
    /// All of it: there is no header, it is in another unit, or it asks for several ranges, which RFC 9110, section 14.2 lets a
    /// server ignore.
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Nothing that there is, or nothing that can be read.
    Unsatisfiable,
}

impl RangeRequest {
    /// Reads a `Range` header of RFC 9110, section 14.1.2: `bytes=0-499`, `bytes=500-`, `bytes=-500`.
    ///
    /// A range whose end lies before its start, or that has no numbers, is [`RangeRequest::Unsatisfiable`] (section 14.2 allows to
    /// reject it, and the conformance suite expects that).
    pub(crate) fn of(header: Option<&HeaderValue>, size: u64) -> Self {
        let Some(header) = header else {
            return Self::Whole;
        };
        let Some(set) = header.to_str().ok().and_then(bytes_unit) else {
            return Self::Whole;
        };
        if set.contains(',') {
            return Self::Whole;
        }
        match set.trim().split_once('-') {
            Some(("", length)) => match number(length) {
                Some(length) if length > 0 && size > 0 => {
                    Self::Part(size.saturating_sub(length)..size)
                }
                Some(_) | None => Self::Unsatisfiable,
            },
            Some((start, "")) => match number(start) {
                Some(start) if start < size => Self::Part(start..size),
                Some(_) | None => Self::Unsatisfiable,
            },
            Some((start, last)) => match (number(start), number(last)) {
                (Some(start), Some(last)) if start <= last && start < size => {
                    Self::Part(start..last.saturating_add(1).min(size))
                }
                _ => Self::Unsatisfiable,
            },
            None => Self::Unsatisfiable,
        }
    }
}

/// What follows `bytes=`, the unit in any case.
fn bytes_unit(header: &str) -> Option<&str> {
    let (unit, set) = header.split_once('=')?;
    unit.trim().eq_ignore_ascii_case("bytes").then_some(set)
}

/// A number of digits only; one too large for 64 bits is as good as the largest.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Why a `Content-Range` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContentRangeError {
    /// It is not of the form that is expected.
    #[error("the Content-Range header cannot be read; write it as `<first byte>-<last byte>`")]
    Malformed,
    /// The last byte lies before the first.
    #[error("the Content-Range header ends at byte {last}, before its start at byte {start}")]
    Backwards {
        /// The first byte.
        start: u64,
        /// The last byte.
        last: u64,
    },
    /// The chunk does not fit in the total that the same header gives.
    #[error("the Content-Range header ends at byte {last} of a total of {total} bytes")]
    BeyondTotal {
        /// The last byte.
        last: u64,
        /// The total.
        total: u64,
    },
}

/// Reads the `Content-Range` of a chunk. Whether the body has that length is not looked at.
///
/// The distribution specification writes `0-99`. Clients that follow RFC 9110, section 14.4 write `bytes 0-99/200` or
/// `bytes 0-99/*`; `bytes=0-99` is seen too. All mean the same. As in Quay, an end one byte before the start is an empty chunk.
pub(crate) fn content_range(header: &HeaderValue) -> Result<ChunkRange, ContentRangeError> {
    let text = header
        .to_str()
        .map_err(|_| ContentRangeError::Malformed)?
        .trim();
    let text = match text.split_at_checked(5) {
        Some((unit, rest))
            if unit.eq_ignore_ascii_case("bytes") && rest.starts_with([' ', '=']) =>
        {
            rest.trim_start_matches([' ', '='])
        }
        Some(_) | None => text,
    };
    let (range, total) = match text.split_once('/') {
        None | Some((_, "*")) => (text.trim_end_matches("/*"), None),
        Some((range, total)) => (range, Some(exact(total)?)),
    };
    let (start, last) = range.split_once('-').ok_or(ContentRangeError::Malformed)?;
    let (start, last) = (exact(start)?, exact(last)?);
    let range =
        ChunkRange::inclusive(start, last).ok_or(ContentRangeError::Backwards { start, last })?;
    match total {
        Some(total) if start + range.length() > total => {
            Err(ContentRangeError::BeyondTotal { last, total })
        }
        Some(_) | None => Ok(range),
    }
}

/// A number of digits only that fits in 63 bits, as sizes in the database do.
fn exact(text: &str) -> Result<u64, ContentRangeError> {
    number(text)
        .filter(|number| i64::try_from(*number).is_ok())
        .ok_or(ContentRangeError::Malformed)
}

/// How far an upload has come, in the form of section "Pushing a blob in chunks" of the distribution specification:
/// `0-<last byte>`. An upload without bytes is `0-0`, the one text of that form that clients do not choke on; it is also that of
/// an upload of one byte, so a client that has to tell them apart sends the first byte again and gets a 416.
pub(crate) fn upload_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str, size: u64) -> RangeRequest {
        RangeRequest::of(Some(&HeaderValue::from_str(text).expect("a header")), size)
    }

    #[test]
    fn single_ranges_are_cut_to_the_content_and_all_others_are_whole_or_unsatisfiable() {
        use RangeRequest::{Part, Unsatisfiable, Whole};
        for (text, size, expected) in [
            ("bytes=0-0", 10, Part(0..1)),
            ("bytes=2-5", 10, Part(2..6)),
            ("bytes=2-", 10, Part(2..10)),
            ("bytes=-3", 10, Part(7..10)),
            ("bytes=-30", 10, Part(0..10)),
            ("bytes=8-50", 10, Part(8..10)),
            ("BYTES=1-1", 10, Part(1..2)),
            ("bytes=0-99999999999999999999999999", 10, Part(0..10)),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=10-20", 10, Unsatisfiable),
            ("bytes=99999999999999999999999999-", 10, Unsatisfiable),
            ("bytes=5-0", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Unsatisfiable),
            ("bytes=-", 10, Unsatisfiable),
            ("bytes=", 10, Unsatisfiable),
            ("bytes=a-b", 10, Unsatisfiable),
            ("bytes=+1-2", 10, Unsatisfiable),
            ("bytes=0-1,3-4", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("nonsense", 10, Whole),
        ] {
            assert_eq!(range(text, size), expected, "{text} of {size}");
        }
        assert_eq!(RangeRequest::of(None, 10), Whole);
    }

    #[test]
    fn a_chunk_may_be_described_in_the_form_of_the_specification_or_of_http() {
        for text in [
            "10-19",
            "bytes 10-19",
            "bytes 10-19/30",
            "bytes 10-19/*",
            "bytes=10-19",
            "10-19/20",
            "Bytes 10-19/*",
        ] {
            let header = HeaderValue::from_str(text).expect("a header");
            let range = content_range(&header).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((range.start(), range.length()), (10, 10), "{text}");
        }
        let empty = content_range(&HeaderValue::from_static("5-4")).expect("an empty chunk");
        assert_eq!((empty.start(), empty.length()), (5, 0));
    }

    #[test]
    fn a_chunk_that_contradicts_itself_is_refused() {
        for (text, expected) in [
            ("", ContentRangeError::Malformed),
            ("-", ContentRangeError::Malformed),
            ("5", ContentRangeError::Malformed),
            ("a-b", ContentRangeError::Malformed),
            ("-5", ContentRangeError::Malformed),
            ("0--1", ContentRangeError::Malformed),
            ("+0-1", ContentRangeError::Malformed),
            ("0-1/x", ContentRangeError::Malformed),
            ("bytes */10", ContentRangeError::Malformed),
            ("0-9223372036854775808", ContentRangeError::Malformed),
            ("0-99999999999999999999999", ContentRangeError::Malformed),
            ("lines 0-1", ContentRangeError::Malformed),
            ("9-3", ContentRangeError::Backwards { start: 9, last: 3 }),
            (
                "0-9/5",
                ContentRangeError::BeyondTotal { last: 9, total: 5 },
            ),
        ] {
            let header = HeaderValue::from_str(text).expect("a header");
            assert_eq!(content_range(&header), Err(expected), "{text}");
        }
        assert_eq!(
            content_range(&HeaderValue::from_bytes(b"0-\xff").expect("a header")),
            Err(ContentRangeError::Malformed)
        );
    }

    #[test]
    fn progress_is_told_as_the_last_byte_received() {
        for (offset, expected) in [(0, "0-0"), (1, "0-0"), (2, "0-1"), (100, "0-99")] {
            assert_eq!(upload_range(offset), expected);
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_beyond_the_content(text in "bytes=[0-9]{0,22}-[0-9]{0,22}", size in 0_u64..100) {
            if let RangeRequest::Part(part) = range(&text, size) {
                prop_assert!(part.start < part.end && part.end <= size, "{part:?} of {size}");
            }
        }
    }
}
