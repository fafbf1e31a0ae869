//! Names of accounts that the operator lists, and may list anew while they are in use.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

/// A list of names. Its clones are the same list: what replaces it counts for all of them at once.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<RwLock<BTreeSet<String>>>);

impl Names {
    /// Whether the name is on the list.
    pub fn contains(&self, name: &str) -> bool {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.contains(name)
    }

    /// The name that comes first in the alphabet.
    pub fn first(&self) -> Option<String> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.first().cloned()
    }

    /// Puts other names in place of those on the list.
    pub fn replace(&self, names: BTreeSet<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

impl<S: Into<String>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        Self(Arc::new(RwLock::new(names)))
    }
}

impl<S: Into<String>, const COUNT: usize> From<[S; COUNT]> for Names {
    fn from(names: [S; COUNT]) -> Self {
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_the_same_list() {
        let names = Names::from(["bob", "alice"]);
        let other = names.clone();
        assert!(other.contains("bob") && other.first().as_deref() == Some("alice"));
        names.replace(BTreeSet::from(["carol".to_owned()]));
        assert!(other.contains("carol") && !other.contains("bob"));
    }
}
