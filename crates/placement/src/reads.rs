//! In which order the copies of a blob are tried.

use std::collections::BTreeSet;

use crate::{LocationName, Topology};

/// Ranks the locations that hold a blob for reading it: by preference first, the others in the configured order.
///
/// Locations that are not configured (any more) cannot be read from and are left out. Empty if none is left.
pub fn rank_reads(topology: &Topology, present: &BTreeSet<LocationName>) -> Vec<LocationName> {
    topology.rank(present).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{names, some_names, some_topology, topology};
    use proptest::prelude::*;

    #[test]
    fn reads_follow_the_preference_and_pass_over_unknown_locations() {
        let topology = topology("us eu ap", "eu", "us");
        for (present, expected) in [
            ("us eu ap", "eu us ap"),
            ("ap us", "us ap"),
            ("gone ap", "ap"),
            ("gone", ""),
            ("", ""),
        ] {
            assert_eq!(
                rank_reads(&topology, &names(present)),
                names::<Vec<_>>(expected),
                "{present}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_configured_copy_is_ranked_once_and_nothing_else(topology in some_topology(), present in some_names()) {
            let ranked = rank_reads(&topology, &present);
            let set: BTreeSet<_> = ranked.iter().cloned().collect();
            prop_assert_eq!(set.len(), ranked.len());
            let expected: BTreeSet<_> = present.into_iter().filter(|location| topology.contains(location)).collect();
            prop_assert_eq!(set, expected);
        }
    }
}
