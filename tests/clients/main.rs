//! Other people's clients against the registry: what they push is what everybody pulls.
//!
//! (The modules are marked as tests for the linter's sake, which lets tests unwrap.)

#[cfg(test)]
mod images;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod server;
#[cfg(test)]
mod walk;
