//! What may be given up when a location leaves.

use std::collections::BTreeSet;

use crate::{LocationName, RequiredLocations, Topology};

/// What to do about one blob at a location that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RemovalStep {
    /// The blob is held elsewhere: its placement at the leaving location may go.
    Forget,
    /// The leaving location has the only copy that can be read: it must be copied first.
    SoleCopy,
    /// The blob is not at the leaving location. There is nothing to do.
    NotThere,
}

/// Decides whether the copy of a blob at a leaving location may be given up. `present` is where the blob is known to be, verified.
///
/// Only another copy at a configured location counts: what is recorded for a location that nobody can read any more is no copy.
/// `leaving` itself may be configured or, as when Quay removes a location, not any more.
pub fn plan_removal(
    topology: &Topology,
    leaving: &LocationName,
    present: &BTreeSet<LocationName>,
) -> RemovalStep {
    if !present.contains(leaving) {
        RemovalStep::NotThere
    } else if topology.rank(present).any(|location| location != leaving) {
        RemovalStep::Forget
    } else {
        RemovalStep::SoleCopy
    }
}

/// Where a blob may be brought that only locations of `closed` hold, best first: to any location that takes bytes, one of which is enough.
/// Nowhere when it is held elsewhere too, or belongs to a location that takes bytes: there it is copied anyway.
pub fn plan_refuge(
    topology: &Topology,
    required: &RequiredLocations,
    closed: &BTreeSet<LocationName>,
    present: &BTreeSet<LocationName>,
) -> Vec<LocationName> {
    let open = |location: &LocationName| topology.contains(location) && !closed.contains(location);
    if !present.iter().any(|location| closed.contains(location))
        || present.iter().any(open)
        || required.iter().any(open)
    {
        return Vec::new();
    }
    let open = topology.locations().iter().filter(|one| open(one));
    open.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::tests::required_locations;
    use crate::topology::tests::{name, names, some_names, some_topology, topology};
    use crate::{CopyPlan, plan_copies};
    use proptest::prelude::*;

    #[test]
    fn a_copy_is_forgotten_only_while_there_is_another_that_can_be_read() {
        let topology = topology("us eu", "", "us eu");
        for (leaving, present, expected) in [
            ("us", "us eu", RemovalStep::Forget),
            ("us", "us", RemovalStep::SoleCopy),
            ("us", "eu", RemovalStep::NotThere),
            ("us", "", RemovalStep::NotThere),
            ("us", "us gone", RemovalStep::SoleCopy),
            ("gone", "us gone", RemovalStep::Forget),
            ("gone", "gone", RemovalStep::SoleCopy),
            ("gone", "gone other", RemovalStep::SoleCopy),
        ] {
            assert_eq!(
                plan_removal(&topology, &name(leaving), &names(present)),
                expected,
                "{leaving} of {present}"
            );
        }
    }

    #[test]
    fn a_blob_takes_refuge_only_where_nothing_else_brings_it_anywhere() {
        for (defaults, closed, present, expected) in [
            ("us", "us", "us", "eu ap"),
            ("us", "us eu", "us eu", "ap"),
            ("us", "us", "us ap", ""),
            ("us eu", "us", "us", ""),
            ("us", "", "us", ""),
            ("us", "us eu ap", "us", ""),
            ("", "us", "us", "eu ap"),
            ("us", "us", "us gone", "eu ap"),
            ("us", "us", "", ""),
            ("us", "us", "gone", ""),
        ] {
            let topology = topology("us eu ap", "us eu", defaults);
            let required = required_locations(&topology, &names(""));
            let refuge = plan_refuge(&topology, &required, &names(closed), &names(present));
            let refuge: Vec<&str> = refuge.iter().map(LocationName::as_str).collect();
            assert_eq!(refuge.join(" "), expected, "{present} with {closed} closed");
        }
    }

    proptest! {
        #[test]
        fn removing_locations_one_after_the_other_never_gives_up_the_last_copy(
            topology in some_topology(), present in some_names(), leaving in some_names().prop_map(Vec::from_iter).prop_shuffle(),
        ) {
            let mut left = present.clone();
            for location in leaving {
                match plan_removal(&topology, &location, &left) {
                    RemovalStep::Forget => prop_assert!(left.remove(&location)),
                    RemovalStep::SoleCopy => prop_assert!(left.contains(&location)),
                    RemovalStep::NotThere => prop_assert!(!left.contains(&location)),
                }
                let again = plan_removal(&topology, &location, &left);
                prop_assert!(again != RemovalStep::Forget, "forgetting is done once");
            }
            let readable = |set: &BTreeSet<LocationName>| set.iter().any(|location| topology.contains(location));
            prop_assert_eq!(readable(&left), readable(&present));
            prop_assert_eq!(left.is_empty(), present.is_empty());
        }

        #[test]
        fn a_sole_copy_that_has_been_copied_may_go(topology in some_topology(), present in some_names()) {
            let leaving = topology.preferred().clone();
            let everywhere = required_locations(&topology, &topology.locations().iter().cloned().collect());
            let mut present = present;
            present.insert(leaving.clone());
            if let CopyPlan::Copy { targets, .. } = plan_copies(&topology, &everywhere, &present) {
                present.extend(targets);
            }
            let expected = if topology.locations().len() > 1 { RemovalStep::Forget } else { RemovalStep::SoleCopy };
            prop_assert_eq!(plan_removal(&topology, &leaving, &present), expected);
        }
    }
}
