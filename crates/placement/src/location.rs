//! The names of storage locations. What a location is and where it lies is storage's business.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a storage location: an id of `DISTRIBUTED_STORAGE_CONFIG`, a row of `imagestoragelocation`.
///
/// Any text that is not empty, has no control characters and at most [`LocationName::LENGTH_MAX`] characters; Quay allows
/// whatever YAML does. Ordered byte-wise. A clone is a reference count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocationName(Arc<str>);

impl LocationName {
    /// The most characters: what the column `imagestoragelocation.name` holds.
    pub const LENGTH_MAX: usize = 255;

    /// Checks a name.
    ///
    /// # Errors
    /// One for each rule.
    pub fn new(name: &str) -> Result<Self, LocationNameError> {
        if name.is_empty() {
            return Err(LocationNameError::Empty);
        }
        let characters = name.chars().count();
        if characters > Self::LENGTH_MAX {
            return Err(LocationNameError::TooLong { characters });
        }
        if name.chars().any(char::is_control) {
            return Err(LocationNameError::ControlCharacter {
                name: name.escape_debug().to_string(),
            });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LocationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for LocationName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LocationName({})", self.0)
    }
}

impl Borrow<str> for LocationName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for LocationName {
    type Err = LocationNameError;

    fn from_str(name: &str) -> Result<Self, LocationNameError> {
        Self::new(name)
    }
}

impl Serialize for LocationName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LocationName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::new(&name).map_err(serde::de::Error::custom)
    }
}

/// Why a text is not the name of a location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationNameError {
    /// There is no text.
    #[error("location name is empty; give every storage location a name")]
    Empty,
    /// It is longer than [`LocationName::LENGTH_MAX`].
    #[error(
        "location name has {characters} characters; at most {} are allowed",
        LocationName::LENGTH_MAX
    )]
    TooLong {
        /// How long it is.
        characters: usize,
    },
    /// It holds a line break, a NUL or the like.
    #[error("location name `{name}` has a control character; remove it")]
    ControlCharacter {
        /// The name, escaped.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_any_short_text_without_control_characters() {
        for name in ["us", "local_us", "s3 (Zürich)", "a,b", &"é".repeat(255)] {
            assert_eq!(LocationName::new(name).unwrap().as_str(), name);
        }
        assert_eq!(LocationName::new("").unwrap_err(), LocationNameError::Empty);
        assert_eq!(
            LocationName::new(&"é".repeat(256)).unwrap_err(),
            LocationNameError::TooLong { characters: 256 }
        );
        let error = LocationName::new("a\nb").unwrap_err();
        assert_eq!(
            error.to_string(),
            "location name `a\\nb` has a control character; remove it"
        );
    }
}
