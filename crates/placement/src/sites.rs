//! Which regions may be taken out.

use std::collections::BTreeSet;

use crate::LocationName;

/// Whether a region may be taken out so that another goes on: one that runs and is not out itself. Regions go by the location that they prefer.
pub fn may_leave(
    region: &LocationName,
    running: &BTreeSet<LocationName>,
    out: &BTreeSet<LocationName>,
) -> bool {
    running
        .iter()
        .any(|other| other != region && !out.contains(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_leaves_when_another_stays() {
        let regions = |names: &[&str]| -> BTreeSet<LocationName> {
            let names = names.iter().map(|name| LocationName::new(name));
            names.map(|name| name.expect("a good name")).collect()
        };
        let us = LocationName::new("us").expect("a good name");
        for (running, out, may) in [
            (&["us", "eu"][..], &[][..], true),
            (&["us", "eu"], &["us"], true),
            (&["us", "eu"], &["eu"], false),
            (&["us", "eu", "asia"], &["eu"], true),
            (&["us"], &[], false),
            (&[], &[], false),
            (&["eu"], &[], true),
        ] {
            assert_eq!(
                may_leave(&us, &regions(running), &regions(out)),
                may,
                "{running:?} {out:?}"
            );
        }
    }
}
