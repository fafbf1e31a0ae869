//! Whether a blob that is read elsewhere is written to this region's own location on the way.

use std::collections::BTreeSet;

use crate::{LocationName, RequiredLocations, Standings, Topology};

/// Why a blob is not written to this region's own location on the way to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoFill {
    /// It is there.
    #[error("the blob is at this region's own location")]
    AlreadyThere,
    /// It does not belong there: a copy would be surplus, and perhaps where its namespace does not want it.
    #[error("the blob does not belong to this region's own location")]
    NotRequired,
    /// The location takes nothing new: it is being drained or removed.
    #[error("this region's own location is closed for new bytes")]
    Closed,
    /// Its circuit for writing is not closed. Trials are left to pushes, which go on at another location if one fails.
    #[error("this region's own location cannot be written to at present")]
    NotWritable,
}

/// Decides whether a blob that is served from `served_from` is written to this region's own location at the same time, and returns
/// that location.
///
/// A region's own location is the first of its preference; the others of the preference may well be other regions'. `present` is
/// where the blob is known to be, verified; what turned out to be gone or damaged is left out of it. `required` is where it
/// belongs, and `closed` what takes nothing new. Without required locations nothing is filled: one copy anywhere is enough then.
///
/// # Errors
/// The reason why not.
pub fn should_fill(
    topology: &Topology,
    present: &BTreeSet<LocationName>,
    served_from: &LocationName,
    required: &RequiredLocations,
    closed: &BTreeSet<LocationName>,
    standings: &Standings,
) -> Result<LocationName, NoFill> {
    let own = topology.preferred();
    if own == served_from || present.contains(own) {
        Err(NoFill::AlreadyThere)
    } else if !required.contains(own) {
        Err(NoFill::NotRequired)
    } else if closed.contains(own) {
        Err(NoFill::Closed)
    } else if !standings.get(own).write.is_closed() {
        Err(NoFill::NotWritable)
    } else {
        Ok(own.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copies::tests::required_locations;
    use crate::standings::tests::{degraded, half_open, open, some_standings, standings};
    use crate::topology::tests::{name, names, some_names, some_topology, topology};
    use crate::{CopyPlan, Reason, plan_copies};
    use proptest::prelude::*;

    #[test]
    fn a_blob_from_elsewhere_is_kept_if_it_belongs_here_and_here_takes_it() {
        let topology = topology("us eu ap", "eu us", "us");
        let well = Standings::unknown();
        let slow = standings(&[("eu", degraded(Reason::SlowAnswers))]);
        let on_trial = standings(&[("eu", half_open(3))]);
        let down = standings(&[("eu", open(Reason::WrongBytes))]);
        for (present, regions, closed, standings, expected) in [
            ("us", "eu", "", &well, Ok(name("eu"))),
            ("us ap", "eu ap", "us", &slow, Ok(name("eu"))),
            ("us eu", "eu", "", &well, Err(NoFill::AlreadyThere)),
            ("us", "ap", "", &well, Err(NoFill::NotRequired)),
            ("us", "eu", "eu", &well, Err(NoFill::Closed)),
            ("us", "eu", "", &on_trial, Err(NoFill::NotWritable)),
            ("us", "eu", "", &down, Err(NoFill::NotWritable)),
        ] {
            let required = required_locations(&topology, &names(regions));
            let filled = should_fill(
                &topology,
                &names(present),
                &name("us"),
                &required,
                &names(closed),
                standings,
            );
            assert_eq!(filled, expected, "{present}, {regions}, {closed}");
        }
    }

    proptest! {
        #[test]
        fn a_fill_is_a_copy_that_is_due(
            topology in some_topology(), regions in some_names(), present in some_names(), closed in some_names(), standings in some_standings(),
        ) {
            let required = required_locations(&topology, &regions);
            let Some(from) = present.iter().find(|location| topology.contains(location)) else {
                return Ok(());
            };
            if let Ok(target) = should_fill(&topology, &present, from, &required, &closed, &standings) {
                let CopyPlan::Copy { targets, .. } = plan_copies(&topology, &required, &present) else {
                    return Err(TestCaseError::fail("nothing is due"));
                };
                prop_assert!(targets.contains(&target) && !closed.contains(&target));
            }
        }
    }
}
