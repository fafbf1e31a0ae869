//! Beside Quay and after it: a database and buckets that a real Quay wrote, taken over, worked on, and found by a checker to be such
//! as Quay would have left them. On PostgreSQL, with the real programs.
//!
//! (The modules are marked as tests for the linter's sake, which lets tests unwrap.)

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod body;
#[cfg(test)]
mod buckets;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod churn;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod database;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod invariants;
#[cfg(test)]
mod logins;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod side_by_side;
#[cfg(test)]
mod snapshot;
#[cfg(test)]
mod takeover;
