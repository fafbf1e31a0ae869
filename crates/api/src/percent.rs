//! Percent-encoding of RFC 3986, section 2.1, in both directions. Which text is allowed where is not decided here: the grammars
//! of names, tags and digests see the decoded text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Why an encoded text stands for no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingFault {
    /// A `%` is not followed by two hexadecimal digits.
    #[error("a `%` is not followed by two hexadecimal digits")]
    Escape,
    /// The decoded bytes are not UTF-8.
    #[error("the decoded bytes are not UTF-8")]
    NotUtf8,
    /// The decoded text holds a NUL, which no text of a database can. Grammars, where there is one, see to that themselves.
    #[error("it holds a NUL")]
    Nul,
    /// The decoded text holds a slash, which some proxies would take for a division of the path.
    #[error("it holds an encoded slash; write the slash itself")]
    Slash,
}

/// Decodes every `%XX`, once. A `+` stays what it is.
pub(crate) fn decode(text: &str) -> Result<Cow<'_, str>, EncodingFault> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (
                bytes.next().and_then(hex_value),
                bytes.next().and_then(hex_value),
            );
            let (Some(high), Some(low)) = (high, low) else {
                return Err(EncodingFault::Escape);
            };
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    match String::from_utf8(decoded) {
        Ok(decoded) => Ok(Cow::Owned(decoded)),
        Err(_) => Err(EncodingFault::NotUtf8),
    }
}

/// Encodes every byte that is not unreserved (RFC 3986, section 2.3).
pub(crate) fn encode(text: &str) -> Cow<'_, str> {
    if text.bytes().all(is_unreserved) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if is_unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
        }
    }
    Cow::Owned(encoded)
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_decoded_once_and_broken_ones_are_refused() {
        for (encoded, decoded) in [
            ("plain", Ok("plain")),
            ("sha256%3Aab", Ok("sha256:ab")),
            ("%2e%2E", Ok("..")),
            ("%252e", Ok("%2e")),
            ("a+b", Ok("a+b")),
            ("%00", Ok("\0")),
            ("%", Err(EncodingFault::Escape)),
            ("%4", Err(EncodingFault::Escape)),
            ("%zz", Err(EncodingFault::Escape)),
            ("%+1", Err(EncodingFault::Escape)),
            ("%ff", Err(EncodingFault::NotUtf8)),
            ("%c3%28", Err(EncodingFault::NotUtf8)),
        ] {
            assert_eq!(
                decode(encoded).as_deref(),
                decoded.as_ref().copied(),
                "{encoded}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_itself(text in ".*") {
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded).expect("our own encoding"), text.as_str());
        }
    }
}
