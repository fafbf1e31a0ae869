//! Which copies are due to get a blob to where it belongs.

use std::collections::BTreeSet;

use crate::{LocationName, Topology};

/// The locations that a blob belongs to: all of them configured.
///
/// May be empty, when there are no default locations and the namespace has no regions. Then one copy anywhere is enough: no
/// copy is due, and none is surplus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequiredLocations(BTreeSet<LocationName>);

impl RequiredLocations {
    /// These locations.
    pub const fn of(locations: BTreeSet<LocationName>) -> Self {
        Self(locations)
    }

    /// The locations as a set of one's own.
    pub fn into_set(self) -> BTreeSet<LocationName> {
        self.0
    }

    /// The locations, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &LocationName> {
        self.0.iter()
    }

    /// The locations as a set.
    pub const fn as_set(&self) -> &BTreeSet<LocationName> {
        &self.0
    }

    /// Whether the location is one of them.
    pub fn contains(&self, location: &LocationName) -> bool {
        self.0.contains(location)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The copies of a blob that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyPlan {
    /// The blob is wherever it belongs.
    Complete,
    /// The blob is to be read once, from the first of the sources that can be read, and written to every target.
    Copy {
        /// Where it is, best first. At least one.
        sources: Vec<LocationName>,
        /// Where it belongs and is not, in order of preference. At least one.
        targets: Vec<LocationName>,
    },
    /// The blob is in no location that is configured: nothing can be copied, and nothing be pulled.
    NoSource {
        /// Where it belongs, in order of preference. Maybe nowhere.
        targets: Vec<LocationName>,
    },
}

/// Plans the copies that bring a blob wherever it belongs. `present` is where it is known to be, verified.
///
/// Copies that are somewhere else besides are left alone. Once the plan is carried out the next one is [`CopyPlan::Complete`];
/// if it was carried out in part, the next one has the rest.
pub fn plan_copies(
    topology: &Topology,
    required: &RequiredLocations,
    present: &BTreeSet<LocationName>,
) -> CopyPlan {
    let sources: Vec<_> = topology.rank(present).cloned().collect();
    let targets: Vec<_> = topology
        .rank(&required.0)
        .filter(|location| !present.contains(*location))
        .cloned()
        .collect();
    if sources.is_empty() {
        CopyPlan::NoSource { targets }
    } else if targets.is_empty() {
        CopyPlan::Complete
    } else {
        CopyPlan::Copy { sources, targets }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::topology::tests::{names, some_names, some_topology, topology};
    use crate::{Desired, PlacementRules};
    use proptest::prelude::*;

    /// Where the blobs of a namespace with these regions belong when there are no rules.
    pub(crate) fn required_locations(
        topology: &Topology,
        regions: &BTreeSet<LocationName>,
    ) -> RequiredLocations {
        let desired = Desired {
            usable: topology.locations(),
            defaults: topology.defaults(),
            regions: &BTreeMap::from([(1, regions.clone())]),
            rules: &PlacementRules::default(),
        };
        desired.locations(1, None)
    }

    #[test]
    fn blobs_belong_to_the_defaults_and_the_regions_of_their_namespace() {
        for (defaults, regions, expected) in [
            ("us eu", "", "us eu"),
            ("us", "ap", "us ap"),
            ("us", "us gone", "us"),
            ("", "", ""),
        ] {
            let topology = topology("us eu ap", "", defaults);
            let required = required_locations(&topology, &names(regions));
            assert_eq!(
                required.as_set(),
                &names(expected),
                "{defaults} and {regions}"
            );
            assert_eq!(required.is_empty(), expected.is_empty());
        }
    }

    #[test]
    fn copies_go_from_where_a_blob_is_to_where_it_belongs() {
        let topology = topology("us eu ap", "ap us", "us eu");
        let required = required_locations(&topology, &BTreeSet::new());
        let copy = |sources, targets| CopyPlan::Copy {
            sources: names(sources),
            targets: names(targets),
        };
        for (present, expected) in [
            ("us eu", CopyPlan::Complete),
            ("us eu ap", CopyPlan::Complete),
            ("us", copy("us", "eu")),
            ("ap", copy("ap", "us eu")),
            ("eu ap gone", copy("ap eu", "us")),
            (
                "gone",
                CopyPlan::NoSource {
                    targets: names("us eu"),
                },
            ),
        ] {
            assert_eq!(
                plan_copies(&topology, &required, &names(present)),
                expected,
                "{present}"
            );
        }
    }

    #[test]
    fn without_required_locations_one_copy_anywhere_is_enough() {
        let topology = topology("us eu", "", "");
        let required = required_locations(&topology, &BTreeSet::new());
        assert_eq!(
            plan_copies(&topology, &required, &names("eu")),
            CopyPlan::Complete
        );
        assert_eq!(
            plan_copies(&topology, &required, &BTreeSet::new()),
            CopyPlan::NoSource {
                targets: Vec::new()
            }
        );
    }

    proptest! {
        #[test]
        fn a_plan_reads_what_is_there_and_writes_what_is_missing(topology in some_topology(), regions in some_names(), present in some_names()) {
            let required = required_locations(&topology, &regions);
            prop_assert!(required.iter().all(|location| topology.contains(location)));
            if let CopyPlan::Copy { sources, targets } = plan_copies(&topology, &required, &present) {
                prop_assert!(!sources.is_empty() && !targets.is_empty());
                prop_assert!(sources.iter().all(|location| present.contains(location) && topology.contains(location)));
                prop_assert!(targets.iter().all(|location| !present.contains(location) && required.contains(location)));
            }
        }

        #[test]
        fn carrying_out_a_plan_in_any_order_and_in_parts_ends_complete(
            topology in some_topology(), regions in some_names(), present in some_names(), picks in prop::collection::vec(any::<prop::sample::Index>(), 8),
        ) {
            let required = required_locations(&topology, &regions);
            let mut present = present;
            let mut picks = picks.into_iter();
            loop {
                let plan = plan_copies(&topology, &required, &present);
                prop_assert_eq!(&plan, &plan_copies(&topology, &required, &present), "the same question has the same answer");
                match plan {
                    CopyPlan::Copy { targets, .. } => {
                        // One target at a time, chosen by chance; there are never more than six.
                        let pick = picks.next().expect("each copy leaves one fewer");
                        prop_assert!(present.insert(pick.get(&targets).clone()));
                    }
                    CopyPlan::Complete => break prop_assert!(required.as_set().is_subset(&present)),
                    CopyPlan::NoSource { .. } => break prop_assert!(!present.iter().any(|location| topology.contains(location))),
                }
            }
        }

        #[test]
        fn what_is_required_does_not_depend_on_the_preference(topology in some_topology(), regions in some_names()) {
            let mut reversed: Vec<_> = topology.locations().to_vec();
            reversed.reverse();
            let other = Topology::new(reversed.clone(), reversed, topology.defaults().clone()).unwrap();
            prop_assert_eq!(required_locations(&topology, &regions), required_locations(&other, &regions));
        }
    }
}
