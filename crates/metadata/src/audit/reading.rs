//! Reading the log of actions: of a namespace, of a repository, or all of it, page by page from the youngest entry on.
//!
//! Each scope has an index of Quay's that begins with it and goes on with the time, so that a page reads as many entries as it has. One that asks
//! for a performer too may pass over others' entries of the same days.

use chrono::NaiveDateTime;
use roadstead_runtime::Timestamp;
use sea_orm::Value;

use crate::database::{Connection, Database, params};
use crate::error::MetadataError;
use crate::ids::{RepositoryId, UserId};
use crate::locations::limit_column;
use crate::row::FromRow;

/// Whose entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogScope {
    /// Everybody's.
    Everything,
    /// Of a user's or organisation's namespace, its repositories included.
    Namespace(UserId),
    /// Of a repository.
    Repository(RepositoryId),
}

/// An entry's place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPosition {
    /// When it was written.
    pub at: Timestamp,
    /// Its row.
    pub id: i64,
}

/// One page of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogPage<'a> {
    /// Whose entries.
    pub scope: LogScope,
    /// Only of what this account did.
    pub performer: Option<&'a str>,
    /// From this time on.
    pub from: Timestamp,
    /// To this time, which does not belong to it.
    pub until: Timestamp,
    /// Only what is older than this entry.
    pub after: Option<LogPosition>,
    /// How many at most.
    pub limit: u32,
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// Where it is in the log.
    pub position: LogPosition,
    /// What happened, by Quay's name.
    pub kind: String,
    /// The details: a JSON object as a rule.
    pub metadata: String,
    /// From where.
    pub ip: Option<String>,
    /// Who did it; none: the anonymous, or somebody whose account is gone.
    pub performer: Option<String>,
    /// The address of that account.
    pub performer_email: String,
    /// Whether that is a robot.
    pub performer_is_robot: bool,
    /// In which namespace, if that is still there.
    pub namespace: Option<String>,
    /// The address of that account.
    pub namespace_email: String,
    /// Whether that is an organisation.
    pub namespace_is_organization: bool,
}

/// How many entries of one kind there are of one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCount {
    /// The kind.
    pub kind: String,
    /// Midnight, at which the day begins.
    pub day: Timestamp,
    /// How many.
    pub count: u64,
}

#[derive(Debug, FromRow)]
struct RecordRow {
    id: i64,
    kind: String,
    datetime: NaiveDateTime,
    metadata_json: String,
    ip: Option<String>,
    performer: Option<String>,
    performer_email: Option<String>,
    performer_is_robot: Option<bool>,
    namespace: Option<String>,
    namespace_email: Option<String>,
    namespace_is_organization: Option<bool>,
}

#[derive(Debug, FromRow)]
struct CountRow {
    kind: String,
    day: String,
    count: i64,
}

/// What entry `l` of a statement must be, and the parameters that says it.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn of(scope: LogScope, performer: Option<&str>, from: Timestamp, until: Timestamp) -> Self {
        let mut conditions = Self {
            sql: "l.datetime >= $1 AND l.datetime < $2".to_owned(),
            values: params![from.naive_utc(), until.naive_utc()],
        };
        match scope {
            LogScope::Everything => {}
            LogScope::Namespace(id) => conditions.add("l.account_id = ?", id.0.into()),
            LogScope::Repository(id) => conditions.add("l.repository_id = ?", id.0.into()),
        }
        if let Some(performer) = performer {
            let by = r#"l.performer_id = (SELECT u.id FROM "user" u WHERE u.username = ?)"#;
            conditions.add(by, performer.into());
        }
        conditions
    }

    fn add(&mut self, condition: &str, value: Value) {
        let parameter = self.parameter(value);
        self.sql
            .extend([" AND ", &condition.replace('?', &parameter)]);
    }

    fn parameter(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }
}

impl Database {
    /// Lists entries, the youngest first.
    pub async fn log_page(&self, page: &LogPage<'_>) -> Result<Vec<LogRecord>, MetadataError> {
        let mut entries = Conditions::of(page.scope, page.performer, page.from, page.until);
        if let Some(after) = page.after {
            let at = entries.parameter(after.at.naive_utc().into());
            let behind = format!("l.datetime <= {at} AND (l.datetime < {at} OR l.id < ?)");
            entries.add(&behind, after.id.into());
        }
        let limit = entries.parameter(limit_column(page.limit).into());
        let rows: Vec<RecordRow> = self
            .reader()
            .rows(
                "read the log of actions",
                &format!(
                    r#"SELECT l.id, k.name AS kind, l.datetime, l.metadata_json, l.ip,
                              p.username AS performer, p.email AS performer_email, p.robot AS performer_is_robot,
                              a.username AS namespace, a.email AS namespace_email,
                              a.organization AS namespace_is_organization
                       FROM (SELECT l.id, l.kind_id, l.account_id, l.performer_id, l.datetime, l.ip, l.metadata_json
                             FROM logentry3 l WHERE {}
                             ORDER BY l.datetime DESC, l.id DESC LIMIT {limit}) l
                       JOIN logentrykind k ON k.id = l.kind_id
                       LEFT JOIN "user" p ON p.id = l.performer_id
                       LEFT JOIN "user" a ON a.id = l.account_id
                       ORDER BY l.datetime DESC, l.id DESC"#,
                    entries.sql
                ),
                entries.values,
            )
            .await?;
        Ok(rows.into_iter().map(LogRecord::from).collect())
    }

    /// Counts entries by day and kind, the older days first. Reads all of them: ask for some weeks at most.
    pub async fn log_counts(
        &self,
        scope: LogScope,
        performer: Option<&str>,
        (from, until): (Timestamp, Timestamp),
    ) -> Result<Vec<LogCount>, MetadataError> {
        let entries = Conditions::of(scope, performer, from, until);
        let rows: Vec<CountRow> = self
            .reader()
            .rows(
                "count the entries of the log of actions",
                &format!(
                    "SELECT k.name AS kind, c.day, c.count
                     FROM (SELECT l.kind_id, substr(CAST(l.datetime AS varchar), 1, 10) AS day, count(*) AS count
                           FROM logentry3 l WHERE {}
                           GROUP BY l.kind_id, substr(CAST(l.datetime AS varchar), 1, 10)) c
                     JOIN logentrykind k ON k.id = c.kind_id
                     ORDER BY c.day, k.name",
                    entries.sql
                ),
                entries.values,
            )
            .await?;
        rows.into_iter().map(LogCount::try_from).collect()
    }
}

impl From<RecordRow> for LogRecord {
    fn from(row: RecordRow) -> Self {
        Self {
            position: LogPosition {
                at: row.datetime.and_utc(),
                id: row.id,
            },
            kind: row.kind,
            metadata: row.metadata_json,
            ip: row.ip,
            performer: row.performer,
            performer_email: row.performer_email.unwrap_or_default(),
            performer_is_robot: row.performer_is_robot.unwrap_or(false),
            namespace: row.namespace,
            namespace_email: row.namespace_email.unwrap_or_default(),
            namespace_is_organization: row.namespace_is_organization.unwrap_or(false),
        }
    }
}

impl TryFrom<CountRow> for LogCount {
    type Error = MetadataError;

    fn try_from(row: CountRow) -> Result<Self, MetadataError> {
        let day = chrono::NaiveDate::parse_from_str(&row.day, "%Y-%m-%d")
            .map_err(|error| MetadataError::corrupt("logentry3", "datetime", &row.day, error))?;
        Ok(Self {
            kind: row.kind,
            day: day.and_time(chrono::NaiveTime::MIN).and_utc(),
            count: row.count.try_into().unwrap_or_default(),
        })
    }
}
