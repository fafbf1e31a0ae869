//! How the types that are text at heart are shown in error messages and in JSON. Their grammars are with the types.

/// The most characters of a client's text that an error message repeats.
const EXCERPT_CHARACTERS_MAX: usize = 64;

/// The text in backquotes, control characters escaped, cut after [`EXCERPT_CHARACTERS_MAX`] characters.
///
/// Keeps error messages to one line and to a size that does not depend on what the client sent.
pub(crate) fn excerpt(text: &str) -> String {
    cut(text, EXCERPT_CHARACTERS_MAX)
}

/// As [`excerpt`], with another limit.
pub(crate) fn cut(text: &str, characters_max: usize) -> String {
    let mut shown = String::from("`");
    let mut characters = text.chars();
    for character in characters.by_ref().take(characters_max) {
        shown.extend(character.escape_debug());
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown.push('`');
    shown
}

/// Serialises a type as the text of its `Display` and reads it back through its `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line_whatever_the_client_sent() {
        assert_eq!(excerpt("plain"), "`plain`");
        assert_eq!(excerpt("a\nb\0"), "`a\\nb\\0`");
        let long = excerpt(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), EXCERPT_CHARACTERS_MAX + 3);
        assert!(long.ends_with("…`"));
    }
}
