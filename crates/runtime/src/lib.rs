//! What a program takes from the world around it: the time, new ids, chance, and tasks that a shutdown waits for; where tasks that ask the
//! same meet; and what was found out lately.
//!
//! Every crate that decides or stores something takes these from its caller, so that a whole region can run in a test
//! on a clock and on chance of the test's choosing. Reading the system's clock or randomness anywhere else is a lint error.
//!
//! Invariant: nothing here knows what a registry is.

mod clock;
mod gather;
mod ids;
mod recent;
mod tasks;

pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use gather::Gather;
pub use ids::{Ids, SeededIds, SystemIds};
pub use recent::Recent;
pub use tasks::{Shutdown, Tasks};

use std::sync::Arc;

/// The clock and the source of ids that one process, or one simulated region, runs on.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids and chance.
    pub ids: Arc<dyn Ids>,
}

impl Environment {
    /// The machine's clock and randomness.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            ids: Arc::new(SystemIds),
        }
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
