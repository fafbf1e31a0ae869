//! The storage locations of one registry as one of its instances sees them. Their state (up, down, draining) is not in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::LocationName;

/// The configured locations, in this instance's order of preference, and which of them every blob belongs to.
///
/// All instances of a registry have the same locations and defaults; the preference is each region's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Every location: the preferred ones in their order, then the others as configured.
    ranked: Vec<LocationName>,
    /// How many of them are there because they were preferred.
    preferred: usize,
    defaults: BTreeSet<LocationName>,
    costs: BTreeMap<LocationName, u32>,
}

impl Topology {
    /// Puts a topology together from `DISTRIBUTED_STORAGE_CONFIG` (its ids in their order), `DISTRIBUTED_STORAGE_PREFERENCE` and
    /// `DISTRIBUTED_STORAGE_DEFAULT_LOCATIONS`.
    ///
    /// With an empty preference the configured order is the preference, as in Quay, and no location is preferred explicitly:
    /// reads may go by health and latency first. A location preferred twice is preferred the
    /// first time. Without defaults a blob belongs to its namespace's regions only, and else stays where it was written.
    ///
    /// # Errors
    /// [`TopologyError`], with every fault of its kind at once.
    pub fn new(
        locations: Vec<LocationName>,
        preference: Vec<LocationName>,
        defaults: BTreeSet<LocationName>,
    ) -> Result<Self, TopologyError> {
        if locations.is_empty() {
            return Err(TopologyError::NoLocations);
        }
        let mut known = BTreeSet::new();
        let twice: Vec<_> = locations
            .iter()
            .filter(|location| !known.insert(*location))
            .cloned()
            .collect();
        if !twice.is_empty() {
            return Err(TopologyError::Duplicate { locations: twice });
        }
        let unknown = |named: &mut dyn Iterator<Item = &LocationName>| -> Vec<_> {
            named
                .filter(|location| !known.contains(location))
                .cloned()
                .collect()
        };
        let in_preference = unknown(&mut preference.iter());
        let in_defaults = unknown(&mut defaults.iter());
        if !in_preference.is_empty() || !in_defaults.is_empty() {
            return Err(TopologyError::Unknown {
                in_preference,
                in_defaults,
                known: locations,
            });
        }
        let mut ranked = Vec::with_capacity(locations.len());
        let add = |ranked: &mut Vec<_>, location| {
            if !ranked.contains(&location) {
                ranked.push(location);
            }
        };
        for location in preference {
            add(&mut ranked, location);
        }
        let preferred = ranked.len();
        for location in locations {
            add(&mut ranked, location);
        }
        Ok(Self {
            ranked,
            preferred,
            defaults,
            costs: BTreeMap::new(),
        })
    }

    /// The same locations with what reading from each costs, in any unit. What has no cost here costs nothing.
    ///
    /// Costs decide between locations that are not preferred, equally healthy and about equally fast.
    ///
    /// # Errors
    /// [`TopologyError::UnknownCosts`], with every name at once.
    pub fn with_costs(self, costs: BTreeMap<LocationName, u32>) -> Result<Self, TopologyError> {
        let named: Vec<_> = costs
            .keys()
            .filter(|location| !self.contains(location))
            .cloned()
            .collect();
        if named.is_empty() {
            Ok(Self { costs, ..self })
        } else {
            Err(TopologyError::UnknownCosts {
                named,
                known: self.ranked,
            })
        }
    }

    /// Every location: the preferred ones in their order, then the others in the configured order.
    pub fn locations(&self) -> &[LocationName] {
        &self.ranked
    }

    /// The location that comes first.
    #[expect(
        clippy::missing_panics_doc,
        reason = "`new` refuses a topology without locations"
    )]
    pub fn preferred(&self) -> &LocationName {
        self.ranked
            .first()
            .expect("a topology has at least one location")
    }

    /// Whether the preference names the location.
    pub fn prefers(&self, location: &LocationName) -> bool {
        self.ranked
            .iter()
            .take(self.preferred)
            .any(|one| one == location)
    }

    /// What reading from the location costs.
    pub fn cost(&self, location: &LocationName) -> u32 {
        self.costs.get(location).copied().unwrap_or(0)
    }

    /// The locations that every blob belongs to. Maybe none.
    pub const fn defaults(&self) -> &BTreeSet<LocationName> {
        &self.defaults
    }

    /// Whether the location is configured.
    pub fn contains(&self, location: &LocationName) -> bool {
        self.ranked.contains(location)
    }

    /// Those of these locations that are configured, best first.
    pub(crate) fn rank<'a>(
        &'a self,
        named: &'a BTreeSet<LocationName>,
    ) -> impl Iterator<Item = &'a LocationName> {
        self.ranked
            .iter()
            .filter(|location| named.contains(*location))
    }
}

/// Why locations, preference and defaults do not fit each other. The messages are for the operator who configured them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// There are no locations.
    #[error("no storage location is configured; configure at least one")]
    NoLocations,
    /// A location is configured more than once.
    #[error("storage locations are configured more than once: {}", list(locations))]
    Duplicate {
        /// Each, as often as it is too many.
        locations: Vec<LocationName>,
    },
    /// The preference or the defaults name locations that are not configured.
    #[error(
        "{}; the configured ones are {}",
        unknown(in_preference, in_defaults),
        list(known)
    )]
    Unknown {
        /// Unknown names in the preference, in its order.
        in_preference: Vec<LocationName>,
        /// Unknown names among the defaults.
        in_defaults: Vec<LocationName>,
        /// Every configured location.
        known: Vec<LocationName>,
    },
    /// A cost is given for locations that are not configured.
    #[error(
        "costs are given for storage locations that are not configured: {}; the configured ones are {}",
        list(named),
        list(known)
    )]
    UnknownCosts {
        /// Their names, in order.
        named: Vec<LocationName>,
        /// Every configured location.
        known: Vec<LocationName>,
    },
}

fn list(locations: &[LocationName]) -> String {
    let quoted: Vec<_> = locations
        .iter()
        .map(|location| format!("`{location}`"))
        .collect();
    quoted.join(", ")
}

fn unknown(in_preference: &[LocationName], in_defaults: &[LocationName]) -> String {
    let parts: Vec<_> = [
        ("preference", in_preference),
        ("default locations", in_defaults),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(place, names)| {
        format!(
            "the storage {place} has locations that are not configured: {}",
            list(names)
        )
    })
    .collect();
    parts.join("; ")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn name(name: &str) -> LocationName {
        LocationName::new(name).unwrap()
    }

    pub(crate) fn names<C: FromIterator<LocationName>>(list: &str) -> C {
        list.split_whitespace().map(name).collect()
    }

    pub(crate) fn topology(locations: &str, preference: &str, defaults: &str) -> Topology {
        Topology::new(names(locations), names(preference), names(defaults)).unwrap()
    }

    /// Any of eight names, of which a topology may have some and a database others.
    pub(crate) fn some_names() -> impl Strategy<Value = BTreeSet<LocationName>> {
        prop::sample::subsequence("a b c d e f g h".split(' ').collect::<Vec<_>>(), 0..=8)
            .prop_map(|chosen| chosen.into_iter().map(name).collect())
    }

    pub(crate) fn some_topology() -> impl Strategy<Value = Topology> {
        let all: Vec<LocationName> = names("a b c d e f");
        prop::sample::subsequence(all, 1..=6)
            .prop_shuffle()
            .prop_flat_map(|locations| {
                let count = locations.len();
                let preference =
                    prop::sample::subsequence(locations.clone(), 0..=count).prop_shuffle();
                let defaults = prop::sample::subsequence(locations.clone(), 0..=count);
                (Just(locations), preference, defaults)
            })
            .prop_map(|(locations, preference, defaults)| {
                Topology::new(locations, preference, defaults.into_iter().collect()).unwrap()
            })
    }

    #[test]
    fn preferred_locations_come_first_and_the_others_follow_as_configured() {
        for (locations, preference, expected) in [
            ("us eu ap", "", "us eu ap"),
            ("us eu ap", "ap", "ap us eu"),
            ("us eu ap", "eu us", "eu us ap"),
            ("us eu", "eu eu us eu", "eu us"),
        ] {
            let topology = topology(locations, preference, "us");
            assert_eq!(topology.locations(), names::<Vec<_>>(expected));
            assert_eq!(topology.preferred(), &topology.locations()[0]);
        }
    }

    #[test]
    fn unknown_names_are_refused_all_at_once_with_the_known_ones() {
        let error =
            Topology::new(names("us eu"), names("us,eu eu mars"), names("moon us")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the storage preference has locations that are not configured: `us,eu`, `mars`; \
             the storage default locations has locations that are not configured: `moon`; the configured ones are `us`, `eu`"
        );
    }

    #[test]
    fn no_locations_and_locations_given_twice_are_refused() {
        let error = Topology::new(Vec::new(), Vec::new(), BTreeSet::new()).unwrap_err();
        assert_eq!(error, TopologyError::NoLocations);
        let error = Topology::new(names("us eu us"), Vec::new(), BTreeSet::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "storage locations are configured more than once: `us`"
        );
    }

    #[test]
    fn only_what_the_preference_names_is_preferred() {
        for (preference, expected) in [("", ""), ("ap", "ap"), ("eu us eu", "us eu")] {
            let topology = topology("us eu ap", preference, "us");
            let preferred: BTreeSet<_> = topology
                .locations()
                .iter()
                .filter(|location| topology.prefers(location))
                .cloned()
                .collect();
            assert_eq!(preferred, names(expected));
        }
        assert!(!topology("us", "us", "").prefers(&name("mars")));
    }

    #[test]
    fn costs_of_unknown_locations_are_refused() {
        let topology = topology("us eu", "", "");
        let costs = |list: &str| -> BTreeMap<_, _> {
            names::<Vec<_>>(list)
                .into_iter()
                .map(|name| (name, 3))
                .collect()
        };
        let priced = topology.clone().with_costs(costs("eu")).unwrap();
        assert_eq!(priced.cost(&name("eu")), 3);
        assert_eq!(priced.cost(&name("us")), 0);
        let error = topology.with_costs(costs("mars eu moon")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "costs are given for storage locations that are not configured: `mars`, `moon`; the configured ones are `us`, `eu`"
        );
    }

    proptest! {
        #[test]
        fn every_location_is_ranked_once(topology in some_topology()) {
            let distinct: BTreeSet<_> = topology.locations().iter().collect();
            prop_assert_eq!(distinct.len(), topology.locations().len());
            prop_assert!(topology.defaults().iter().all(|location| topology.contains(location)));
        }
    }
}
