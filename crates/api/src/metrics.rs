//! What Prometheus is told of the requests, under Quay's names where its dashboards use them and under ours.
//!
//! Values of labels come from closed lists: routes, methods, statuses that this crate answers with. Nothing that a client makes up is one.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts};
use roadstead_oci::Reference;

use crate::route::{HealthRoute, Route};

/// From what memory answers to a layer over a slow line.
const REQUEST_SECONDS: [f64; 12] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];

/// The bounds that Quay's histograms have, by its library's default.
const QUAY_SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The protocol of everything here, as Quay counts it.
const PROTOCOL: &str = "v2";

/// The media types that pushes are counted by; others are `other`.
const MANIFEST_TYPES: [&str; 5] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// How somebody said who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// A name and a password, or what stands in a password's place.
    Password,
    /// A token of `/v2/auth`.
    Token,
}

/// The series of the attempts with one proof.
#[derive(Debug)]
struct Attempts {
    accepted: IntCounter,
    refused: IntCounter,
    failed: IntCounter,
}

/// Counts requests. A request costs a few atomic additions and look-ups. Series that are known beforehand are looked up once, and are 0 until something
/// happens: an alert can stand on that.
#[derive(Debug)]
pub(crate) struct RequestCounters {
    requests: IntCounterVec,
    seconds: HistogramVec,
    in_flight: IntGauge,
    received: IntCounterVec,
    sent: IntCounterVec,
    connections: IntCounter,
    connections_open: IntGauge,
    logins: IntCounterVec,
    by_password: Attempts,
    by_token: Attempts,
    tokens: IntCounter,
    quay_seconds: HistogramVec,
    quay_pulls: IntCounterVec,
    quay_pulled_bytes: IntCounterVec,
    pulled_bytes: IntCounter,
    quay_pushes: IntCounterVec,
    quay_pushed_bytes: IntCounter,
    quay_logins: IntCounterVec,
    right_passwords: IntCounter,
    wrong_passwords: IntCounter,
}

impl Default for RequestCounters {
    fn default() -> Self {
        let counters =
            |name, help, labels: &[&str]| made(IntCounterVec::new(Opts::new(name, help), labels));
        let histogram = |name, help, buckets: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            made(HistogramVec::new(options, labels))
        };
        let logins = counters(
            "roadstead_auth_attempts_total",
            "What was presented to say who asks (password or token), and whether it was accepted, refused or could not be checked",
            &["proof", "outcome"],
        );
        let attempts = |proof| Attempts {
            accepted: logins.with_label_values(&[proof, "accepted"]),
            refused: logins.with_label_values(&[proof, "refused"]),
            failed: logins.with_label_values(&[proof, "failed"]),
        };
        let quay_pulled_bytes = counters(
            "quay_registry_image_pulled_estimated_bytes_total",
            "Sizes of the blobs that were asked for with GET, whoever delivers them and however much is taken",
            &["protocol"],
        );
        let quay_logins = counters(
            "quay_authentication_attempts_total",
            "Names and passwords that were presented, and whether they were right",
            &["auth_kind", "success"],
        );
        Self {
            requests: counters(
                "roadstead_http_requests_total",
                "Requests that were answered, to the end of the answer or as far as the client took it",
                &["route", "method", "status"],
            ),
            seconds: histogram(
                "roadstead_http_request_seconds",
                "Time from a request's header fields to the end of its answer",
                &REQUEST_SECONDS,
                &["route", "method"],
            ),
            in_flight: made(IntGauge::new(
                "roadstead_http_requests_in_flight",
                "Requests whose answer has not ended",
            )),
            received: counters(
                "roadstead_http_received_bytes_total",
                "Bytes of the bodies of requests",
                &["route"],
            ),
            sent: counters(
                "roadstead_http_sent_bytes_total",
                "Bytes of the bodies of answers",
                &["route"],
            ),
            connections: made(IntCounter::new(
                "roadstead_http_connections_total",
                "Connections that were served",
            )),
            connections_open: made(IntGauge::new(
                "roadstead_http_connections_open",
                "Connections that are being served",
            )),
            by_password: attempts("password"),
            by_token: attempts("token"),
            logins,
            tokens: made(IntCounter::new(
                "roadstead_tokens_issued_total",
                "Tokens that the token endpoint gave out",
            )),
            quay_seconds: histogram(
                "quay_request_duration_seconds",
                "Time to the beginning of the answer",
                &QUAY_SECONDS,
                &["method", "route", "status"],
            ),
            quay_pulls: counters(
                "quay_registry_image_pulls_total",
                "Manifests that were asked for with GET, by tag or digest",
                &["protocol", "ref", "status"],
            ),
            pulled_bytes: quay_pulled_bytes.with_label_values(&[PROTOCOL]),
            quay_pulled_bytes,
            quay_pushes: counters(
                "quay_registry_image_pushes_total",
                "Manifests that were pushed",
                &["protocol", "status", "media_type"],
            ),
            quay_pushed_bytes: made(IntCounter::new(
                "quay_registry_image_pushed_bytes_total",
                "Bytes of blobs that were uploaded",
            )),
            right_passwords: quay_logins.with_label_values(&["basic", "True"]),
            wrong_passwords: quay_logins.with_label_values(&["basic", "False"]),
            quay_logins,
        }
    }
}

/// What a request is counted as. Made before the request is taken apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) route: &'static str,
    method: &'static str,
    quay_route: &'static str,
    /// How a pulled manifest is named.
    pulled: Option<&'static str>,
    /// The media type of a pushed manifest.
    pushed: Option<&'static str>,
    uploads: bool,
}

impl Counted {
    pub(crate) fn of(route: Option<&Route>, method: &Method, content_type: Option<&str>) -> Self {
        let manifest = match route {
            Some(Route::Manifest { reference, .. }) => Some(reference),
            _ => None,
        };
        Self {
            route: route.map_or("none", Route::label),
            method: method_word(method),
            quay_route: route.map_or("none", |route| quay_endpoint(route, method)),
            pulled: manifest
                .filter(|_| method == Method::GET)
                .map(|reference| match reference {
                    Reference::Tag(_) => "tag",
                    Reference::Digest(_) => "digest",
                }),
            pushed: manifest
                .filter(|_| method == Method::PUT)
                .map(|_| media_type_word(content_type)),
            uploads: matches!(route, Some(Route::Uploads { .. } | Route::Upload { .. })),
        }
    }
}

impl RequestCounters {
    /// Counts a request as in flight until what this returns is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.inc();
        InFlight(Arc::clone(self))
    }

    /// Counts a connection as open until what this returns is dropped.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.inc();
        self.connections_open.inc();
        Connected(Arc::clone(self))
    }

    /// How many connections are open.
    pub(crate) fn connections_open(&self) -> usize {
        usize::try_from(self.connections_open.get()).unwrap_or(0)
    }

    /// An answer begins.
    pub(crate) fn answered(&self, counted: &Counted, status: StatusCode, took: Duration) {
        let status = status.as_str();
        self.quay_seconds
            .with_label_values(&[counted.method, counted.quay_route, status])
            .observe(took.as_secs_f64());
        if let Some(named) = counted.pulled {
            self.quay_pulls
                .with_label_values(&[PROTOCOL, named, status])
                .inc();
        }
        if let Some(media_type) = counted.pushed {
            self.quay_pushes
                .with_label_values(&[PROTOCOL, status, media_type])
                .inc();
        }
    }

    /// An answer has ended, or was given up.
    pub(crate) fn ended(
        &self,
        counted: &Counted,
        status: StatusCode,
        took: Duration,
        (received, sent): (u64, u64),
    ) {
        self.requests
            .with_label_values(&[counted.route, counted.method, status.as_str()])
            .inc();
        self.seconds
            .with_label_values(&[counted.route, counted.method])
            .observe(took.as_secs_f64());
        self.received
            .with_label_values(&[counted.route])
            .inc_by(received);
        self.sent.with_label_values(&[counted.route]).inc_by(sent);
        // What was sent with an upload that is refused is no blob's.
        if counted.uploads && status.is_success() {
            self.quay_pushed_bytes.inc_by(received);
        }
    }

    /// A blob of so many bytes is about to be delivered.
    pub(crate) fn note_blob_pull(&self, bytes: u64) {
        self.pulled_bytes.inc_by(bytes);
    }

    /// Somebody said who they are. `None`: it could not be found out.
    pub(crate) fn note_login(&self, proof: Proof, accepted: Option<bool>) {
        let attempts = match proof {
            Proof::Password => &self.by_password,
            Proof::Token => &self.by_token,
        };
        match accepted {
            Some(true) => attempts.accepted.inc(),
            Some(false) => attempts.refused.inc(),
            None => attempts.failed.inc(),
        }
        match (proof, accepted) {
            (Proof::Password, Some(true)) => self.right_passwords.inc(),
            (Proof::Password, Some(false)) => self.wrong_passwords.inc(),
            (Proof::Password, None) | (Proof::Token, _) => {}
        }
    }

    /// A token was given out.
    pub(crate) fn note_token(&self) {
        self.tokens.inc();
    }

    pub(crate) fn collect(&self) -> Vec<MetricFamily> {
        let collectors: [&dyn Collector; 15] = [
            &self.requests,
            &self.seconds,
            &self.in_flight,
            &self.received,
            &self.sent,
            &self.connections,
            &self.connections_open,
            &self.logins,
            &self.tokens,
            &self.quay_seconds,
            &self.quay_pulls,
            &self.quay_pulled_bytes,
            &self.quay_pushes,
            &self.quay_pushed_bytes,
            &self.quay_logins,
        ];
        collectors
            .into_iter()
            .flat_map(Collector::collect)
            .filter(|family| !family.get_metric().is_empty())
            .collect()
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<RequestCounters>);

impl InFlight {
    pub(crate) fn counters(&self) -> &RequestCounters {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connected(Arc<RequestCounters>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections_open.dec();
    }
}

/// Methods that nobody serves are one.
fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn media_type_word(content_type: Option<&str>) -> &'static str {
    let essence = content_type.and_then(|text| text.split(';').next());
    let essence = essence.unwrap_or_default().trim();
    MANIFEST_TYPES
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(essence))
        .unwrap_or("other")
}

/// What Quay calls what answers such a request; its dashboards choose by these names. Everything below `/api/v1` is `api`.
fn quay_endpoint(route: &Route, method: &Method) -> &'static str {
    let by_digest = |reference: &Reference| matches!(reference, Reference::Digest(_));
    match route {
        Route::Base => "v2.v2_support_enabled",
        Route::Token => "v2.generate_registry_jwt",
        Route::Catalog => "v2.catalog_search",
        Route::Tags { .. } => "v2.list_all_tags",
        Route::Manifest { reference, .. } => match (*method == Method::PUT, by_digest(reference)) {
            (false, _) if *method == Method::DELETE && by_digest(reference) => {
                "v2.delete_manifest_by_digest"
            }
            (false, _) if *method == Method::DELETE => "v2.delete_manifest_by_tag",
            (true, true) => "v2.write_manifest_by_digest",
            (true, false) => "v2.write_manifest_by_tagname",
            (false, true) => "v2.fetch_manifest_by_digest",
            (false, false) => "v2.fetch_manifest_by_tagname",
        },
        Route::Blob { .. } => match *method {
            Method::HEAD => "v2.check_blob_exists",
            Method::DELETE => "v2.delete_digest",
            _ => "v2.download_blob",
        },
        Route::Uploads { .. } => "v2.start_blob_upload",
        Route::Upload { .. } => match *method {
            Method::PATCH => "v2.upload_chunk",
            Method::PUT => "v2.monolithic_upload_or_last_chunk",
            Method::DELETE => "v2.cancel_upload",
            _ => "v2.fetch_existing_upload",
        },
        Route::Referrers { .. } => "v2.list_manifest_referrers",
        Route::Health(HealthRoute::Instance) => "web.instance_health",
        Route::Health(HealthRoute::EndToEnd) => "web.endtoend_health",
        Route::Health(HealthRoute::Warning) => "web.warning_health",
        Route::DatabaseRevision => "web.dbrevision_health",
        Route::Health(HealthRoute::ReadyToPull | HealthRoute::ReadyToPush) | Route::Locations => {
            "health"
        }
        Route::Api => "api",
        Route::InternalPing => "v1.internal_ping",
        Route::LegacyPing => "v1.ping",
        Route::StorageProxy => "storage-proxy",
        Route::StorageProxyAuth => "storageproxy.auth",
    }
}

/// Names and labels are written here, and are right or wrong whatever happens.
pub(crate) fn made<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("valid names")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(method: &Method, path: &str) -> &'static str {
        quay_endpoint(&Route::parse(path).unwrap(), method)
    }

    #[test]
    fn requests_have_the_names_by_which_quays_dashboards_choose() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let by_digest = format!("/v2/a/b/manifests/{digest}");
        let blob = format!("/v2/a/b/blobs/{digest}");
        for (method, path, name) in [
            (
                Method::GET,
                "/v2/a/b/manifests/v1",
                "v2.fetch_manifest_by_tagname",
            ),
            (Method::HEAD, &by_digest, "v2.fetch_manifest_by_digest"),
            (
                Method::PUT,
                "/v2/a/b/manifests/v1",
                "v2.write_manifest_by_tagname",
            ),
            (Method::DELETE, &by_digest, "v2.delete_manifest_by_digest"),
            (Method::GET, &blob, "v2.download_blob"),
            (Method::HEAD, &blob, "v2.check_blob_exists"),
            (
                Method::POST,
                "/v2/a/b/blobs/uploads/",
                "v2.start_blob_upload",
            ),
        ] {
            assert_eq!(endpoint(&method, path), name);
        }
    }

    #[test]
    fn nothing_that_a_client_makes_up_becomes_a_label() {
        let method = Method::from_bytes(b"BREW").unwrap();
        let counted = Counted::of(None, &method, Some("text/made-up"));
        assert_eq!((counted.route, counted.method), ("none", "other"));
        assert_eq!(media_type_word(Some("text/made-up")), "other");
        assert_eq!(media_type_word(None), "other");
        let parameter = format!("{}; charset=utf-8", MANIFEST_TYPES[0]);
        assert_eq!(media_type_word(Some(&parameter)), MANIFEST_TYPES[0]);
    }

    #[test]
    fn bytes_of_refused_uploads_are_not_counted_as_pushed() {
        let counters = RequestCounters::default();
        let route = Route::parse("/v2/a/b/blobs/uploads/").unwrap();
        let counted = Counted::of(Some(&route), &Method::POST, None);
        for status in [
            StatusCode::CREATED,
            StatusCode::ACCEPTED,
            StatusCode::UNAUTHORIZED,
            StatusCode::INTERNAL_SERVER_ERROR,
        ] {
            counters.ended(&counted, status, Duration::ZERO, (10, 0));
        }
        assert_eq!(counters.quay_pushed_bytes.get(), 20);
    }

    #[test]
    fn attempts_are_told_by_proof_and_outcome_and_passwords_under_quays_name_too() {
        let counters = RequestCounters::default();
        for (proof, accepted) in [
            (Proof::Password, Some(true)),
            (Proof::Password, Some(false)),
            (Proof::Password, None),
            (Proof::Token, Some(true)),
            (Proof::Token, Some(false)),
        ] {
            counters.note_login(proof, accepted);
        }
        for (labels, attempts) in [
            (["password", "accepted"], 1),
            (["password", "refused"], 1),
            (["password", "failed"], 1),
            (["token", "accepted"], 1),
            (["token", "refused"], 1),
            (["token", "failed"], 0),
        ] {
            let series = counters.logins.with_label_values(&labels);
            assert_eq!(series.get(), attempts, "{labels:?}");
        }
        for success in ["True", "False"] {
            let series = counters.quay_logins.with_label_values(&["basic", success]);
            assert_eq!(series.get(), 1, "{success}");
        }
    }

    #[test]
    fn what_is_in_flight_is_over_when_it_is_dropped() {
        let counters = Arc::new(RequestCounters::default());
        let (first, second) = (counters.begin(), counters.begin());
        assert_eq!(counters.in_flight.get(), 2);
        drop(first);
        drop(second);
        assert_eq!(counters.in_flight.get(), 0);
    }
}
