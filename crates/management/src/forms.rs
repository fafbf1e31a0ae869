//! The forms of what is sent: names, addresses, passwords, texts. What they say is Quay's rule for what is new; what is there already may look otherwise.

use std::borrow::Cow;
use std::fmt;

use roadstead_runtime::Timestamp;
use roadstead_secrets::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::ManagementError;

/// The shortest name of a user, an organisation, a team or a robot.
const NAME_LENGTH_MIN: usize = 2;

/// The longest.
const NAME_LENGTH_MAX: usize = 255;

/// Quay's rule for names, in words that JSON Schema understands.
pub(crate) const NAME_PATTERN: &str = "^([a-z0-9]+(?:[._-][a-z0-9]+)*)$";

/// The shortest password.
const PASSWORD_LENGTH_MIN: usize = 8;

/// The longest password. bcrypt reads its first 72 bytes.
const PASSWORD_LENGTH_MAX: usize = 255;

/// The longest address.
const EMAIL_LENGTH_MAX: usize = 254;

/// A password that somebody sends: eight characters or more, no blanks among them.
#[derive(Clone, Debug)]
pub struct Password(Secret);

impl Password {
    /// Takes a password that fits the rule.
    pub fn new(text: impl Into<String>) -> Result<Self, ManagementError> {
        let text = text.into();
        let length = text.chars().count();
        if (PASSWORD_LENGTH_MIN..=PASSWORD_LENGTH_MAX).contains(&length)
            && !text
                .chars()
                .any(|letter| letter.is_whitespace() || letter == '\0')
        {
            Ok(Self(Secret::new(text)))
        } else {
            Err(ManagementError::invalid(
                "password",
                format!(
                    "has to have {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters and no blanks"
                ),
            ))
        }
    }

    pub(crate) const fn secret(&self) -> &Secret {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Password {
    fn schema_name() -> Cow<'static, str> {
        "Password".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "password",
            "minLength": PASSWORD_LENGTH_MIN,
            "maxLength": PASSWORD_LENGTH_MAX,
            "pattern": r"^\S+$",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A secret that is shown to the one whom it was made for.
#[derive(Clone, Debug)]
pub struct Shown(pub(crate) Secret);

impl Shown {
    /// The text. The caller answers for where it goes.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl JsonSchema for Shown {
    fn schema_name() -> Cow<'static, str> {
        "Shown".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A moment as Quay writes it: `Wed, 25 Nov 2026 10:00:00 -0000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}",
            self.0.format("%a, %d %b %Y %H:%M:%S -0000")
        )
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4,} [0-9]{2}:[0-9]{2}:[0-9]{2} -0000$",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// The name of something new.
pub(crate) fn name<'a>(field: &'static str, text: &'a str) -> Result<&'a str, ManagementError> {
    let fits = (NAME_LENGTH_MIN..=NAME_LENGTH_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        && text.split(['.', '_', '-']).all(|part| !part.is_empty());
    if fits {
        Ok(text)
    } else {
        Err(ManagementError::invalid(
            field,
            format!(
                "has to have {NAME_LENGTH_MIN} to {NAME_LENGTH_MAX} lower-case letters and digits, with single `.`, `_` or `-` between them"
            ),
        ))
    }
}

/// The name of something that may be there. What no name can be is not.
pub(crate) fn known<'a>(what: &'static str, name: &'a str) -> Result<&'a str, ManagementError> {
    if name.is_empty() || name.len() > 2 * NAME_LENGTH_MAX + 1 || name.contains('\0') {
        return Err(ManagementError::unknown(
            what,
            name.escape_debug().take(40).collect::<String>(),
        ));
    }
    Ok(name)
}

/// An address; an empty one is none.
pub(crate) fn email<'a>(
    field: &'static str,
    text: Option<&'a str>,
) -> Result<Option<&'a str>, ManagementError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let fits = text.len() <= EMAIL_LENGTH_MAX
        && !text.contains(['\0', ' ', '\n', '\r', '\t'])
        && text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty()
                && !domain.contains('@')
                && domain.contains('.')
                && domain.split('.').all(|label| !label.is_empty())
        });
    if fits {
        Ok(Some(text))
    } else {
        Err(ManagementError::invalid(
            field,
            "has to be an e-mail address such as `alice@example.com`",
        ))
    }
}

/// A text of at most so many characters.
pub(crate) fn text<'a>(
    field: &'static str,
    text: &'a str,
    most: usize,
) -> Result<&'a str, ManagementError> {
    if text.contains('\0') {
        return Err(ManagementError::invalid(
            field,
            "has a character U+0000, which the database does not take",
        ));
    }
    if text.chars().count() > most {
        return Err(ManagementError::invalid(
            field,
            format!("has more than {most} characters"),
        ));
    }
    Ok(text)
}

/// The same of a text that may be missing.
pub(crate) fn optional<'a>(
    field: &'static str,
    value: Option<&'a str>,
    most: usize,
) -> Result<Option<&'a str>, ManagementError> {
    value.map(|value| text(field, value, most)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_quay_takes() {
        for fits in ["ab", "acme", "a.b-c_d", "0x", &"a".repeat(255)] {
            assert!(name("name", fits).is_ok(), "{fits}");
        }
        for unfit in [
            "",
            "a",
            "Acme",
            "a..b",
            ".ab",
            "ab-",
            "a--b",
            "a+b",
            "a/b",
            "ä1",
            "a\0b",
            "a b",
            &"a".repeat(256),
        ] {
            assert!(name("name", unfit).is_err(), "{unfit:?}");
        }
    }

    #[test]
    fn passwords_have_eight_characters_and_no_blanks_and_are_never_printed() {
        let password = Password::new("correct-horse").unwrap();
        assert!(!format!("{password:?}").contains("horse"));
        for unfit in ["", "1234567", "correct horse", "tab\tinside", "nul\0inside"] {
            assert!(Password::new(unfit).is_err(), "{unfit:?}");
        }
        let refused = serde_json::from_str::<Password>("\"short\"").unwrap_err();
        assert!(!refused.to_string().contains("short"));
    }

    #[test]
    fn addresses_have_one_at_and_a_domain_with_a_dot() {
        assert_eq!(email("email", Some("")).unwrap(), None);
        assert!(email("email", Some("a@b.example")).unwrap().is_some());
        for unfit in [
            "a", "a@b", "@b.c", "a@b@c.d", "a@.c", "a@b.", "a\0@b.c", "a b@c.d",
        ] {
            assert!(email("email", Some(unfit)).is_err(), "{unfit:?}");
        }
    }

    #[test]
    fn moments_are_written_as_quay_does() {
        let at = Timestamp::from_timestamp(1_795_347_992, 0).unwrap();
        assert_eq!(Moment(at).to_string(), "Sun, 22 Nov 2026 11:46:32 -0000");
    }
}
