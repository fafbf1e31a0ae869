//! The endpoints under `/v2/`, one file for each thing that they are about. `end-N` are the rows of the table "Endpoints" of the
//! distribution specification.
//!
//! To add one: a variant and a row in `route`, a file here whose `answer` checks the method, admits the caller, and calls one
//! function of `distribution`; errors it may have get their status in `error`.

pub(crate) mod base;
pub(crate) mod blobs;
pub(crate) mod catalog;
pub(crate) mod manifests;
pub(crate) mod referrers;
pub(crate) mod tags;
pub(crate) mod token;
pub(crate) mod uploads;
