//! Telling others by HTTP what has happened: who is told, what they are sent, and sending it until it was taken.
//!
//! | file | what it does |
//! |---|---|
//! | `address` | which addresses may be sent to, and how much of one is shown |
//! | `webhooks` | adding, listing and removing webhooks |
//! | `message` | what is sent: a document and its signature |
//! | `sender` | one request: its deadline, and what counts as taken |
//! | `delivery` | the loop: takes what is due under a lease, sends it, notes what came of it |
//!
//! What is to be sent are rows, which `metadata` writes with the events and which stay until they were taken or a day has passed. So everything
//! is sent at least once, and nobody who copies or pushes waits for it.
//!
//! Invariant: no log line, error or `Debug` form shows more of an address than scheme, host and port, or anything of a secret; what an address answers
//! is neither followed nor kept.

mod address;
mod delivery;
mod message;
mod metrics;
mod sender;
#[cfg(test)]
mod tests;
mod webhooks;

pub use address::AddressError;
pub use message::{EventDocument, SIGNATURE};
pub use sender::SenderError;
pub use webhooks::{AddError, NewHook, WebhookDocument, Webhooks};
