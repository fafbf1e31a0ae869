//! The crate's promises, tried on a real database, real directories and locations that fail on demand.

mod concurrency;
mod crashes;
mod lists;
mod manifests;
mod mounting;
mod pulls;
mod pushes;
mod world;
