//! How texts stand in URLs: RFC 3986 section 2.

/// Adds `name=value` to a URL, which has no fragment. The name is put there as it is.
pub(crate) fn push_pair(url: &mut String, name: &str, value: &str) {
    url.push(if url.contains('?') { '&' } else { '?' });
    url.push_str(name);
    url.push('=');
    url.push_str(&encoded(value));
}

/// A text of which only unreserved characters stand for themselves.
pub(crate) fn encoded(text: &str) -> String {
    escaped(text, b"", *b"0123456789ABCDEF")
}

/// As [`encoded`], with the escapes in small letters.
pub(crate) fn encoded_small(text: &str) -> String {
    escaped(text, b"", *b"0123456789abcdef")
}

/// A path, whose slashes stand for themselves.
pub(crate) fn encoded_path(path: &str) -> String {
    escaped(path, b"/", *b"0123456789ABCDEF")
}

fn escaped(text: &str, also_plain: &[u8], digits: [u8; 16]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if is_plain || also_plain.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            for digit in [byte >> 4, byte & 15] {
                escaped.push(char::from(digits[usize::from(digit)]));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_unreserved_characters_is_escaped() {
        assert_eq!(
            encoded("aZ09-._~ +/=&%é"),
            "aZ09-._~%20%2B%2F%3D%26%25%C3%A9"
        );
        assert_eq!(encoded_small("/a b%2F"), "%2fa%20b%252F");
        assert_eq!(encoded_path("/a b/c"), "/a%20b/c");
        let mut url = "https://host/path".to_owned();
        push_pair(&mut url, "a", "1 2");
        push_pair(&mut url, "b", "?");
        assert_eq!(url, "https://host/path?a=1%202&b=%3F");
    }
}
