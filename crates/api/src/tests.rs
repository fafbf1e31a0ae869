//! The service as clients meet it: requests in, answers out, on a real database, real directories and locations that fail on demand.

mod accounts;
mod activity;
mod authentication;
mod bad_input;
mod coexistence;
mod door;
mod failures;
mod lists;
mod logging;
mod manifests;
mod matrix;
mod mounting;
mod organizations;
mod overload;
mod owners;
mod probes;
mod pulls;
mod pushes;
mod quotas;
mod rates;
mod replication;
mod robots;
mod statements;
mod storage_proxy;
mod world;
