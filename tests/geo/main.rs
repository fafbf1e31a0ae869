//! More than one location: what survives the loss of one, of a process, and of an operator's patience.
//!
//! (The modules are marked as tests for the linter's sake, which lets tests unwrap.)

#[cfg(test)]
mod crash;
#[cfg(test)]
mod large_layer;
#[cfg(test)]
mod lost_store;
#[cfg(test)]
mod removal;
