//! `/api/v1/`: what administrators ask and say. One file for each subject.

pub(crate) mod replication;
mod webhooks;
