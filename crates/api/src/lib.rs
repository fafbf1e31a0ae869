//! The registry over HTTP: the OCI distribution specification v1.1 with what its draft has beyond it, Docker's registry API v2 as
//! its clients use it, the token endpoint, Quay's storage proxy, health checks, and the state and control of replication.
//!
//! [`RegistryService`] is a tower service from requests to answers; whoever has connections serves it. A request is read by
//! [`Route::parse`], let in by `authorization`, done by one file of `v2` or `v1`, which calls one function of `distribution` or `replication`, and answered
//! there or, when anything went wrong, by `error`.
//!
//! What every answer keeps to:
//!
//! - Errors have the JSON body, the codes and the statuses of the specification. What only an operator can mend is told to the log.
//! - Memory does not grow with the size of a blob; manifests and forms are bounded by [`ApiOptions`].
//! - Every request has an id, in `X-Request-Id` and in its one log line; no line holds a token, a password or a query.
//!
//! Invariant: no decision about rights, placement or content is made here; this crate reads and writes HTTP.

mod activity;
mod authorization;
mod body;
mod conditional;
mod error;
mod headers;
mod health;
mod links;
mod metrics;
mod options;
mod pagination;
mod percent;
mod places;
mod query;
mod range;
mod rate_limit;
mod request_body;
mod request_log;
mod response;
mod route;
mod service;
mod storage_proxy;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use activity::{ActivityListener, ClientEvent};
pub use body::{Body, BodyError};
pub use health::{
    Health, HealthDetails, HealthOptions, HealthReport, HealthServices, Probe, RevisionReport,
};
pub use options::{ApiOptions, ExternalUrl, ExternalUrlError, Redirects, StorageProxy, UrlScheme};
pub use percent::EncodingFault;
pub use places::ConcurrencyLimits;
pub use rate_limit::{Rate, RateLimits};
pub use route::{HealthRoute, PathPart, Route, RouteError};
pub use service::{RegistryService, ServiceParts};
