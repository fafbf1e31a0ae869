//! The query parameters of lists: `n` and `last`. How long a page gets at most is decided where the list is made.

use std::borrow::Cow;

use crate::query::{Query, QueryError};

/// Why `n` is not a number of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`n` is not a number of entries; use the digits of 0 or more")]
pub(crate) struct PageNumberError;

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PageRequest<'a> {
    /// At most so many entries.
    pub(crate) entries: Option<u64>,
    /// Only what comes behind this, which need not exist.
    pub(crate) last: Option<Cow<'a, str>>,
}

/// Reads `n` and `last`. An `n` of any length is a number; one beyond 64 bits counts as the largest.
///
/// `next_page`, by which Quay's own links go on, is a sealed token that only Quay can read. It is passed over, so that a client
/// that comes from there with one begins anew, as Quay does with a token that has ended.
pub(crate) fn page_request<'a>(query: &Query<'a>) -> Result<PageRequest<'a>, PageError> {
    let entries = match query.get("n")? {
        None => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().unwrap_or(u64::MAX))
        }
        Some(_) => return Err(PageNumberError.into()),
    };
    let last = query.get("last")?.filter(|last| !last.is_empty());
    Ok(PageRequest { entries, last })
}

/// Why the parameters of a list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Number(#[from] PageNumberError),
}

impl From<PageError> for crate::error::ApiError {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Query(error) => error.into(),
            PageError::Number(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_entries_are_digits_of_any_length() {
        for (query, expected) in [
            ("", Ok(None)),
            ("n=0", Ok(Some(0))),
            ("n=10", Ok(Some(10))),
            ("n=007", Ok(Some(7))),
            ("n=1000000000000", Ok(Some(1_000_000_000_000))),
            ("n=99999999999999999999999999", Ok(Some(u64::MAX))),
            ("n=", Err(())),
            ("n=-1", Err(())),
            ("n=%2B1", Err(())),
            ("n=1.5", Err(())),
            ("n=abc", Err(())),
            ("n=0x10", Err(())),
        ] {
            let page = page_request(&Query::parse(Some(query)).expect("a good query"));
            assert_eq!(
                page.map(|page| page.entries).map_err(|_| ()),
                expected,
                "{query}"
            );
        }
    }
}
