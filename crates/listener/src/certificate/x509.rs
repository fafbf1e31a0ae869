//! What a certificate says of itself: its time and its names. (The TLS library checks names and signatures, and hands neither out.)
//!
//! DER as in X.690, of which certificates (RFC 5280, section 4.1) use little. What does not fit is no certificate; nothing panics.

use std::net::{Ipv4Addr, Ipv6Addr};

use chrono::NaiveDate;
use roadstead_runtime::Timestamp;

/// The most names that are told of.
const NAMES_MAX: usize = 100;

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// `id-ce-subjectAltName`, 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// A server's certificate, as far as an operator wants to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// Its alternative names: host names, and addresses as text.
    pub(crate) names: Vec<String>,
}

/// Reads a certificate.
pub(crate) fn read_leaf(der: &[u8]) -> Option<Leaf> {
    let mut certificate = Elements(Elements(der).expect(SEQUENCE)?);
    let mut body = Elements(certificate.expect(SEQUENCE)?);
    let (first, _) = body.next()?;
    if first == VERSION {
        // The serial number, which stands first where there is no version.
        body.next()?;
    }
    // Signature algorithm, issuer.
    body.expect(SEQUENCE)?;
    body.expect(SEQUENCE)?;
    let mut validity = Elements(body.expect(SEQUENCE)?);
    let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
    // Subject, public key.
    body.expect(SEQUENCE)?;
    body.expect(SEQUENCE)?;
    let mut names = Vec::new();
    while let Some((tag, content)) = body.next() {
        if tag == EXTENSIONS {
            names = alternative_names(content)?;
        }
    }
    Some(Leaf {
        not_before,
        not_after,
        names,
    })
}

fn alternative_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Elements(Elements(extensions).expect(SEQUENCE)?);
    while let Some((tag, content)) = extensions.next() {
        let mut extension = Elements(content);
        if tag != SEQUENCE || extension.expect(OBJECT)? != ALTERNATIVE_NAMES {
            continue;
        }
        let value = loop {
            // Whether it is critical may stand before it.
            if let (OCTETS, value) = extension.next()? {
                break value;
            }
        };
        let mut names = Elements(Elements(value).expect(SEQUENCE)?);
        return Some(
            std::iter::from_fn(|| names.next())
                .filter_map(|(tag, content)| name(tag, content))
                .take(NAMES_MAX)
                .collect(),
        );
    }
    Some(Vec::new())
}

fn name(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        DNS_NAME => std::str::from_utf8(content)
            .ok()
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()))
            .map(str::to_owned),
        IP_ADDRESS => match content.len() {
            4 => Some(Ipv4Addr::from(*content.first_chunk()?).to_string()),
            16 => Some(Ipv6Addr::from(*content.first_chunk()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280, section 4.1.2.5).
fn time((tag, content): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u32>().ok();
    NaiveDate::from_ymd_opt(year, part(0)?, part(2)?)?
        .and_hms_opt(part(4)?, part(6)?, part(8)?)
        .map(|time| time.and_utc())
}

/// The elements that stand one behind the other in some bytes.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// The content of the next element, which has to be of this kind.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| content)
    }

    /// The next element: its tag and its content. Lengths of more than three bytes are no certificate's.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let bytes = usize::from(first & 0x7f);
            if !(1..=3).contains(&bytes) {
                return None;
            }
            let (length, behind) = rest.split_at_checked(bytes)?;
            rest = behind;
            length
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte))
        };
        let (content, behind) = rest.split_at_checked(length)?;
        self.0 = behind;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_as_the_standard_says() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31 23:59:59 UTC")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01 00:00:00 UTC")),
            (
                GENERALIZED_TIME,
                "20500101000000Z",
                Some("2050-01-01 00:00:00 UTC"),
            ),
            (
                GENERALIZED_TIME,
                "99991231235959Z",
                Some("9999-12-31 23:59:59 UTC"),
            ),
            (UTC_TIME, "491331235959Z", None),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "491231235959+0100", None),
            (UTC_TIME, "é91231235959Z", None),
            (OCTETS, "491231235959Z", None),
        ] {
            let read = time((tag, text.as_bytes())).map(|time| time.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read_leaf(&bytes);
        }
    }
}
