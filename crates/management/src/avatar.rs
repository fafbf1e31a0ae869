//! What stands for somebody in a user interface: a hash and a colour, made of the address or the name, as Quay makes them.

use roadstead_metadata::AccountRecord;
use roadstead_oci::{Algorithm, Digest};
use schemars::JsonSchema;
use serde::Serialize;

/// Quay's colours, `AVATAR_COLORS`.
const COLORS: [&str; 32] = [
    "#969696", "#aec7e8", "#ff7f0e", "#ffbb78", "#2ca02c", "#98df8a", "#d62728", "#ff9896",
    "#9467bd", "#c5b0d5", "#8c564b", "#c49c94", "#e377c2", "#f7b6d2", "#7f7f7f", "#c7c7c7",
    "#bcbd22", "#1f77b4", "#17becf", "#9edae5", "#393b79", "#5254a3", "#6b6ecf", "#9c9ede",
    "#9ecae1", "#31a354", "#b5cf6b", "#a1d99b", "#8c6d31", "#ad494a", "#e7ba52", "#a55194",
];

/// What stands for somebody.
#[derive(Clone, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub struct Avatar {
    /// Whom it stands for.
    pub name: String,
    /// The SHA-256 of the address in lower case.
    pub hash: String,
    /// A colour, made of the hash.
    pub color: String,
    /// What sort of thing it stands for: `user`, `robot`, `org`, `team` or `app`.
    pub kind: &'static str,
}

impl Avatar {
    fn of(name: &str, address: &str, kind: &'static str) -> Self {
        let address = if address.is_empty() { name } else { address };
        let digest = Digest::of(Algorithm::Sha256, address.trim().to_lowercase().as_bytes());
        let hash = digest.hex().to_owned();
        // The first two digits, which is as many as it takes to tell the colours apart.
        let first = hash
            .get(..2)
            .and_then(|digits| usize::from_str_radix(digits, 16).ok())
            .unwrap_or_default();
        let color = COLORS[first % COLORS.len()].to_owned();
        Self {
            name: name.to_owned(),
            hash,
            color,
            kind,
        }
    }

    /// Of a user or a robot with this name and address.
    pub(crate) fn of_user(name: &str, email: &str, robot: bool) -> Self {
        Self::of(name, email, if robot { "robot" } else { "user" })
    }

    /// Of an organisation with this name and address.
    pub(crate) fn of_organization(name: &str, email: &str) -> Self {
        Self::of(name, email, "org")
    }

    /// Of an account.
    pub(crate) fn of_account(account: &AccountRecord) -> Self {
        let kind = if account.robot {
            "robot"
        } else if account.organization {
            "org"
        } else {
            "user"
        };
        Self::of(&account.username, &account.email, kind)
    }

    /// Of a team.
    pub(crate) fn of_team(name: &str) -> Self {
        Self::of(name, name, "team")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_avatar_is_made_of_the_address_whatever_its_case() {
        let one = Avatar::of("alice", "Alice@Example.test ", "user");
        let other = Avatar::of("alice", "alice@example.test", "user");
        assert_eq!(one, other);
        assert_eq!(one.hash.len(), 64);
        assert_eq!(Avatar::of_team("owners"), Avatar::of("owners", "", "team"));
    }
}
