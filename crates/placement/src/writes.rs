//! Where a new blob goes.

use std::collections::BTreeSet;

use crate::{LocationName, Topology};

/// Chooses the location that a new upload is written to: the first by preference, then by configured order, that is not known
/// to be unavailable.
///
/// # Errors
/// [`PlacementError::NoWritableLocation`] if all are.
pub fn choose_write(
    topology: &Topology,
    unavailable: &BTreeSet<LocationName>,
) -> Result<LocationName, PlacementError> {
    topology
        .locations()
        .iter()
        .find(|location| !unavailable.contains(*location))
        .cloned()
        .ok_or_else(|| PlacementError::NoWritableLocation {
            locations: topology.locations().to_vec(),
        })
}

/// Why there is no location for something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Every location is unavailable. It passes when one of them comes back.
    #[error("no storage location can be written to at present; all {} configured are unavailable", locations.len())]
    NoWritableLocation {
        /// Every configured location.
        locations: Vec<LocationName>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::{name, names, some_names, some_topology, topology};
    use proptest::prelude::*;

    #[test]
    fn writes_go_to_the_first_location_that_is_available() {
        let topology = topology("us eu ap", "eu", "us");
        for (unavailable, expected) in [
            ("", "eu"),
            ("us", "eu"),
            ("eu", "us"),
            ("eu us", "ap"),
            ("eu mars", "us"),
        ] {
            assert_eq!(
                choose_write(&topology, &names(unavailable)).unwrap(),
                name(expected)
            );
        }
        let error = choose_write(&topology, &names("us eu ap")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no storage location can be written to at present; all 3 configured are unavailable"
        );
    }

    proptest! {
        #[test]
        fn the_choice_is_configured_and_available_and_nothing_better_is(topology in some_topology(), unavailable in some_names()) {
            match choose_write(&topology, &unavailable) {
                Ok(chosen) => {
                    prop_assert!(topology.contains(&chosen) && !unavailable.contains(&chosen));
                    let better = topology.locations().iter().take_while(|location| **location != chosen);
                    prop_assert!(better.into_iter().all(|location| unavailable.contains(location)));
                }
                Err(PlacementError::NoWritableLocation { locations }) => {
                    prop_assert!(locations.iter().all(|location| unavailable.contains(location)));
                }
            }
        }
    }
}
