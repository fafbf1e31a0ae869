//! The log of actions, as owners and superusers read it.

use std::collections::BTreeMap;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta};
use roadstead_metadata::{LogCount, LogPage, LogPosition, LogRecord, LogScope};
use roadstead_runtime::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::avatar::Avatar;
use crate::error::ManagementError;
use crate::forms::Moment;
use crate::management::Management;

/// How many entries a page has, as in Quay.
const PAGE: u32 = 20;

/// Over how many days entries are counted at once, at most: counting reads them all.
const COUNTED_DAYS_MAX: i64 = 31;

/// Which entries to read.
#[derive(Clone, Debug)]
pub struct LogListing<'a> {
    /// Whose entries.
    pub scope: LogScope,
    /// Only of what this account did.
    pub performer: Option<&'a str>,
    /// From this day on: `11/25/2026`. A day ago if left out.
    pub start: Option<&'a str>,
    /// To this day, which belongs to it. Today if left out.
    pub end: Option<&'a str>,
    /// Behind which the page begins: what the page before said.
    pub after: Option<LogCursor>,
}

/// By which a page of the log is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogCursor(LogPosition);

/// The text is not one that a page said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoLogCursor;

impl std::fmt::Display for LogCursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = self.0.at;
        let (seconds, nanos) = (at.timestamp(), at.timestamp_subsec_nanos());
        write!(formatter, "{seconds}-{nanos}-{}", self.0.id)
    }
}

impl FromStr for LogCursor {
    type Err = NoLogCursor;

    fn from_str(text: &str) -> Result<Self, NoLogCursor> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().ok_or(NoLogCursor);
        let seconds: u32 = part()?.parse().map_err(|_| NoLogCursor)?;
        let nanos: u32 = part()?.parse().map_err(|_| NoLogCursor)?;
        let id: i64 = part()?.parse().map_err(|_| NoLogCursor)?;
        let at = DateTime::from_timestamp(seconds.into(), nanos).ok_or(NoLogCursor)?;
        Ok(Self(LogPosition { at, id }))
    }
}

/// A page of the log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogList {
    /// From when on it was read.
    pub start_time: Moment,
    /// To when.
    pub end_time: Moment,
    /// The entries, the youngest first.
    pub logs: Vec<LogView>,
    /// By which the next page is asked for, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_page: Option<String>,
}

/// An entry of the log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogView {
    /// What happened.
    pub kind: String,
    /// The details, as each kind has them.
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// From where.
    pub ip: Option<String>,
    /// When.
    pub datetime: Moment,
    /// Who did it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performer: Option<LogPerformer>,
    /// In which namespace, where entries of several are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<LogNamespace>,
}

/// Who did something.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogPerformer {
    /// Always `user`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// Whether that is a robot.
    pub is_robot: bool,
    /// What stands for it.
    pub avatar: Avatar,
}

/// Where something happened.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogNamespace {
    /// `user` or `org`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// What stands for it.
    pub avatar: Avatar,
}

/// How many entries there are.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogCounts {
    /// By kind and day, the older days first.
    pub aggregated: Vec<LogCountView>,
}

/// How many entries of a kind there are of a day.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LogCountView {
    /// The kind.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// The day.
    pub datetime: Moment,
}

impl Management {
    /// Lists entries of the log, 20 a page, the youngest first.
    pub async fn list_log(&self, listing: &LogListing<'_>) -> Result<LogList, ManagementError> {
        let (from, until) = self.days_of(listing)?;
        let mut found = self
            .database
            .log_page(&LogPage {
                scope: listing.scope,
                performer: listing.performer,
                from,
                until,
                after: listing.after.map(|cursor| cursor.0),
                limit: PAGE + 1,
            })
            .await?;
        let limit = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        Ok(LogList {
            start_time: Moment(from),
            end_time: Moment(until),
            next_page: found
                .last()
                .filter(|_| more)
                .map(|last| LogCursor(last.position).to_string()),
            logs: found
                .into_iter()
                .map(|record| view(record, listing.scope))
                .collect(),
        })
    }

    /// Counts entries of the log by kind and day, over 31 days at most.
    pub async fn count_log(&self, listing: &LogListing<'_>) -> Result<LogCounts, ManagementError> {
        let (from, until) = self.days_of(listing)?;
        if until - from > TimeDelta::days(COUNTED_DAYS_MAX + 1) {
            return Err(ManagementError::invalid(
                "endtime",
                format!("is more than {COUNTED_DAYS_MAX} days behind `starttime`"),
            ));
        }
        let counts = self
            .database
            .log_counts(listing.scope, listing.performer, (from, until))
            .await?;
        Ok(LogCounts {
            aggregated: counts.into_iter().map(LogCountView::from).collect(),
        })
    }

    /// The time that a listing is about: from the beginning of the first day, or a day ago, to the end of the last, or a day from now.
    fn days_of(&self, listing: &LogListing<'_>) -> Result<(Timestamp, Timestamp), ManagementError> {
        let now = self.environment.now();
        let day = TimeDelta::days(1);
        let from = match listing.start {
            Some(text) => midnight("starttime", text)?,
            None => now.checked_sub_signed(day).unwrap_or(now),
        };
        let until = match listing.end {
            Some(text) => midnight("endtime", text)?,
            None => now,
        };
        let until = until.checked_add_signed(day).unwrap_or(until);
        if until < from {
            return Err(ManagementError::invalid("endtime", "is before `starttime`"));
        }
        Ok((from, until))
    }
}

fn midnight(field: &'static str, text: &str) -> Result<Timestamp, ManagementError> {
    NaiveDate::parse_from_str(text, "%m/%d/%Y")
        .ok()
        .filter(|day| (1970..=9999).contains(&day.year()))
        .map(|day| day.and_time(NaiveTime::MIN).and_utc())
        .ok_or_else(|| ManagementError::invalid(field, "is a day: month/day/year, as 11/25/2026"))
}

fn view(record: LogRecord, scope: LogScope) -> LogView {
    let namespace = match scope {
        LogScope::Everything => record.namespace.map(|name| {
            log_namespace(
                name,
                &record.namespace_email,
                record.namespace_is_organization,
            )
        }),
        LogScope::Namespace(_) | LogScope::Repository(_) => None,
    };
    let (email, is_robot) = (record.performer_email, record.performer_is_robot);
    LogView {
        kind: record.kind,
        // One that cannot be read tells nothing more.
        metadata: serde_json::from_str(&record.metadata).unwrap_or_default(),
        ip: record.ip,
        datetime: Moment(record.position.at),
        performer: record.performer.map(|name| LogPerformer {
            kind: "user".to_owned(),
            avatar: Avatar::of_user(&name, &email, is_robot),
            name,
            is_robot,
        }),
        namespace,
    }
}

fn log_namespace(name: String, email: &str, organization: bool) -> LogNamespace {
    let (kind, avatar) = if organization {
        ("org", Avatar::of_organization(&name, email))
    } else {
        ("user", Avatar::of_user(&name, email, false))
    };
    LogNamespace {
        kind: kind.to_owned(),
        name,
        avatar,
    }
}

impl From<LogCount> for LogCountView {
    fn from(count: LogCount) -> Self {
        Self {
            kind: count.kind,
            count: count.count,
            datetime: Moment(count.day),
        }
    }
}
