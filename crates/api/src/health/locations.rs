//! `/health/locations`: how every storage location fares, as this process has seen it. Nothing is asked for it, so that it answers at once.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use roadstead_locations::{LocationDocument, Locations};
use serde::Serialize;

/// How long the disks of local locations may take to say how full they are.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Report {
    data: Data,
    status_code: u16,
}

#[derive(Serialize)]
struct Data {
    locations: Vec<LocationDocument>,
}

/// The body: JSON without spaces, and a line feed, in the form of the other health checks.
pub(crate) async fn body(locations: &Locations) -> Bytes {
    let report = Report {
        data: Data {
            locations: locations.documents(PATIENCE).await,
        },
        status_code: StatusCode::OK.as_u16(),
    };
    let mut body = serde_json::to_vec(&report).expect("texts and numbers can be written");
    body.push(b'\n');
    body.into()
}
