//! The checker: what must hold in a database and its stores so that Quay could go on with them at once.
//!
//! Written from Quay's schema and what its rows are seen to say, not from our code: it shares no statement with it. It is for a
//! registry at rest, with no request, copy or collection under way.

mod labels;
mod manifests;
mod objects;
mod rows;
mod totals;

use std::collections::BTreeMap;

use roadstead_testkit::StoreFiles;

use crate::database::TestDatabase;

/// What is checked.
#[derive(Debug)]
pub(crate) struct World<'a> {
    /// The database.
    pub(crate) database: &'a TestDatabase,
    /// The directory of every configured location.
    pub(crate) stores: BTreeMap<String, StoreFiles>,
    /// For how long a pushed blob is protected: `PUSH_TEMP_TAG_EXPIRATION_SEC`.
    pub(crate) protected_seconds: u32,
    /// Whether quota sizes are kept.
    pub(crate) quota: bool,
    /// Whether all garbage has been collected, so that nothing unreferenced may be there.
    pub(crate) collected: bool,
}

impl World<'_> {
    /// Everything that is wrong, each as a sentence that names the row or the object.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut violations = rows::check(self);
        violations.extend(manifests::check(self.database));
        violations.extend(labels::check(self));
        violations.extend(objects::check(self));
        if self.quota {
            violations.extend(totals::check(self.database));
        }
        if self.collected {
            violations.extend(rows::check_collected(self.database));
        }
        violations
    }

    /// Finds nothing wrong.
    #[track_caller]
    pub(crate) fn assert_sound(&self) {
        let violations = self.violations();
        assert!(
            violations.is_empty(),
            "{} violations in {}:\n{}",
            violations.len(),
            self.database.name(),
            violations.join("\n")
        );
    }
}
