//! The crate's promises, tried on a real database, real directories and locations that fail on demand.

mod bad_pushes;
mod concurrency;
mod crashes;
mod fills;
mod fresh;
mod garbage;
mod hedges;
mod labels;
mod lists;
mod manifests;
mod mounting;
mod outages;
mod placing;
mod pull_log;
mod pulls;
mod pushes;
mod pushes_elsewhere;
mod quay_rows;
mod referrers;
mod slow_pulls;
mod spread;
mod tags;
mod verified_pulls;
mod world;
