//! The answer to a health check, as Quay writes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::HealthDetails;
use super::watched::Known;

/// The answer to one health check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthReport {
    services: BTreeMap<&'static str, Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    known: Known,
    /// Whether it decides.
    counts: bool,
}

impl HealthReport {
    /// Takes in what is known of a service.
    pub(super) fn insert(&mut self, name: &'static str, known: Known, counts: bool) {
        self.services.insert(name, Finding { known, counts });
    }

    /// Takes in a service that is what it is at every moment.
    pub(super) fn insert_fact(&mut self, name: &'static str, outcome: Result<(), Arc<str>>) {
        let known = Known {
            outcome: outcome.map(|()| None),
            age: Some(Duration::ZERO),
        };
        self.insert(name, known, true);
    }

    /// Whether every service that counts works.
    pub fn healthy(&self) -> bool {
        self.services
            .values()
            .all(|finding| finding.known.outcome.is_ok() || !finding.counts)
    }

    /// 200 or 503.
    pub fn status(&self) -> StatusCode {
        if self.healthy() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// How old the oldest answer is that this goes by; none if a service was never asked.
    pub fn age(&self) -> Option<Duration> {
        let ages = self.services.values().map(|finding| finding.known.age);
        ages.min_by_key(|age| std::cmp::Reverse(age.unwrap_or(Duration::MAX)))?
    }

    /// The body for everybody: JSON without spaces and with sorted keys, and a line feed.
    pub fn body(&self) -> Bytes {
        self.written(None)
    }

    /// The body for superusers, in the same form.
    pub fn body_with_details(&self, details: &HealthDetails, key_id: Option<&str>) -> Bytes {
        self.written(Some(Expanded {
            config_provider: &details.config_provider,
            hostname: &details.hostname,
            is_testing: details.is_testing,
            local_service_key_id: key_id,
            notes: self.notes(),
        }))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (name, finding) in &self.services {
            if !finding.counts {
                notes.push(format!("{name} skipped in compute health"));
            }
            if let Some(reason) = finding.known.failure() {
                notes.push(format!("{name}: {reason}"));
            }
        }
        notes
    }

    fn written(&self, details: Option<Expanded<'_>>) -> Bytes {
        #[derive(Serialize)]
        struct Report<'a> {
            data: Data<'a>,
            status_code: u16,
        }
        // In the order of the alphabet, as the fields of all these.
        #[derive(Serialize)]
        struct Data<'a> {
            #[serde(flatten)]
            details: Option<Expanded<'a>>,
            services: BTreeMap<&'static str, bool>,
            #[serde(skip_serializing_if = "Option::is_none")]
            services_expanded: Option<BTreeMap<&'static str, Service<'a>>>,
        }
        #[derive(Serialize)]
        struct Service<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            age_seconds: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            failure: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
            status: bool,
        }
        let services_expanded = details.is_some().then(|| {
            self.services
                .iter()
                .map(|(name, finding)| {
                    let known = &finding.known;
                    let service = Service {
                        age_seconds: known.age.map(|age| age.as_secs()),
                        failure: known.failure(),
                        message: known.message(),
                        status: known.outcome.is_ok(),
                    };
                    (*name, service)
                })
                .collect()
        });
        let report = Report {
            data: Data {
                details,
                services: self
                    .services
                    .iter()
                    .map(|(name, finding)| (*name, finding.known.outcome.is_ok()))
                    .collect(),
                services_expanded,
            },
            status_code: self.status().as_u16(),
        };
        line_of_json(&report)
    }
}

#[derive(Serialize)]
struct Expanded<'a> {
    config_provider: &'a str,
    hostname: &'a str,
    is_testing: bool,
    local_service_key_id: Option<&'a str>,
    notes: Vec<String>,
}

/// Whether the schema of the database is the one that this program knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionReport {
    pub(super) db_revision: Option<String>,
    pub(super) local_revision: String,
}

impl RevisionReport {
    /// 200 if it is; else 400, as in Quay.
    pub fn status(&self) -> StatusCode {
        if self.db_revision.as_deref() == Some(&*self.local_revision) {
            StatusCode::OK
        } else {
            StatusCode::BAD_REQUEST
        }
    }

    /// The body, as Quay writes it.
    pub fn body(&self) -> Bytes {
        #[derive(Serialize)]
        struct Report<'a> {
            data: Data<'a>,
            status_code: u16,
        }
        #[derive(Serialize)]
        struct Data<'a> {
            db_revision: Option<&'a str>,
            local_revision: &'a str,
        }
        line_of_json(&Report {
            data: Data {
                db_revision: self.db_revision.as_deref(),
                local_revision: &self.local_revision,
            },
            status_code: self.status().as_u16(),
        })
    }
}

fn line_of_json(content: &impl Serialize) -> Bytes {
    let mut body =
        serde_json::to_vec(content).expect("texts, numbers and truth values can be written");
    body.push(b'\n');
    body.into()
}
