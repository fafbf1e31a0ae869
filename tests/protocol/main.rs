//! The protocol from outside: the ground of the OCI conformance suite in our own words, and everything that can be wrong about a
//! request, a client or a machine.
//!
//! (The modules are marked as tests for the linter's sake, which lets tests unwrap.)

#[cfg(test)]
mod api_document;
#[cfg(test)]
mod authentication;
#[cfg(test)]
mod blobs;
#[cfg(test)]
mod call;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod front_door;
#[cfg(test)]
mod health;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod names;
#[cfg(test)]
mod referrers;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod start;
#[cfg(test)]
mod storage_failures;
#[cfg(test)]
mod storage_proxy;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod wire;
