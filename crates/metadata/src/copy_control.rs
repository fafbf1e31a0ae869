//! Pauses and limits of copying, as operators set them while everything runs: a few rows of `roadstead_copy_control`.

use std::num::NonZeroU64;

use roadstead_placement::{CopyControl, CopyLimit, DailyWindow, Link, LocationName};
use roadstead_runtime::Timestamp;

use crate::database::{Connection, Counted, Database, contended, params};
use crate::error::MetadataError;
use crate::locations::location_name;
use crate::row::FromRow;
use crate::uploads::bytes_column;

/// The most pauses and limits there may be: all of them are read at once, and often.
const CONTROLS_MAX: i64 = 1_000;

const TABLE: &str = "roadstead_copy_control";

/// What a row is, as the database spells it.
const PAUSE: &str = "pause";
const LIMIT: &str = "limit";

#[derive(Debug, FromRow)]
struct ControlRow {
    id: i32,
    kind: String,
    source: String,
    target: String,
    hours: String,
    bytes_per_second: Option<i64>,
}

/// The columns of a new row that are not the same in all.
struct NewControl<'a> {
    kind: &'static str,
    source: &'a str,
    target: &'a str,
    hours: String,
    bytes_per_second: Option<i64>,
}

impl Database {
    /// Everything that is paused or limited. One query over few rows.
    pub async fn copy_control(&self) -> Result<CopyControl, MetadataError> {
        let rows: Vec<ControlRow> = self
            .reader()
            .rows(
                "look up what of copying is paused or limited",
                "SELECT id, kind, source, target, hours, bytes_per_second FROM roadstead_copy_control
                 ORDER BY kind, source, target, hours",
                params![],
            )
            .await?;
        let mut control = CopyControl::default();
        for row in rows {
            match row.kind.as_str() {
                PAUSE if row.target.is_empty() => control.paused.everything = true,
                PAUSE => {
                    control.paused.locations.insert(location_name(&row.target)?);
                }
                LIMIT => control.limits.push(CopyLimit::try_from(row)?),
                // What a later version says cannot be kept, and what it forbids must not be done.
                other => return Err(MetadataError::corrupt(TABLE, "kind", row.id, other)),
            }
        }
        Ok(control)
    }

    /// Has copying rest, from and to one location or everywhere. Idempotent.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when there are too many pauses and limits.
    pub async fn pause_copies(
        &self,
        location: Option<&LocationName>,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        let pause = NewControl {
            kind: PAUSE,
            source: "",
            target: location.map_or("", LocationName::as_str),
            hours: String::new(),
            bytes_per_second: None,
        };
        contended(|| self.set_control(&pause, now)).await
    }

    /// Takes back what [`Database::pause_copies`] said with the same location or with none. False if it was not said.
    pub async fn resume_copies(
        &self,
        location: Option<&LocationName>,
    ) -> Result<bool, MetadataError> {
        let removed = self
            .execute(
                "let copying go on",
                "DELETE FROM roadstead_copy_control WHERE kind = 'pause' AND target = $1",
                params![location.map_or("", LocationName::as_str)],
            )
            .await?;
        Ok(removed > 0)
    }

    /// Limits the copies of a link, in place of its limit in the same window. Idempotent.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when there are too many pauses and limits.
    pub async fn limit_copies(
        &self,
        limit: &CopyLimit,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        let (source, target) = columns(&limit.link);
        let limit = NewControl {
            kind: LIMIT,
            source,
            target,
            hours: limit
                .window
                .map_or_else(String::new, |window| window.to_string()),
            bytes_per_second: Some(bytes_column(limit.bytes_per_second.get())),
        };
        contended(|| self.set_control(&limit, now)).await
    }

    /// Removes the limit of a link in a window, or all of its limits. Says how many there were.
    pub async fn unlimit_copies(
        &self,
        link: &Link,
        window: Option<DailyWindow>,
    ) -> Result<u64, MetadataError> {
        let (source, target) = columns(link);
        self.execute(
            "remove a limit of copying",
            "DELETE FROM roadstead_copy_control
             WHERE kind = 'limit' AND source = $1 AND target = $2 AND ($3 = '' OR hours = $3)",
            params![
                source,
                target,
                window.map_or_else(String::new, |window| window.to_string())
            ],
        )
        .await
    }

    async fn set_control(
        &self,
        control: &NewControl<'_>,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        const OPERATION: &str = "pause or limit copying";
        let transaction = self.begin(OPERATION).await?;
        transaction
            .execute(
                OPERATION,
                "INSERT INTO roadstead_copy_control (kind, source, target, hours, bytes_per_second, changed)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (kind, source, target, hours)
                 DO UPDATE SET bytes_per_second = excluded.bytes_per_second, changed = excluded.changed",
                params![
                    control.kind,
                    control.source,
                    control.target,
                    control.hours.as_str(),
                    control.bytes_per_second,
                    now.naive_utc(),
                ],
            )
            .await?;
        let there: Option<Counted> = transaction
            .row(
                OPERATION,
                "SELECT count(*) AS count FROM roadstead_copy_control",
                params![],
            )
            .await?;
        if there.is_some_and(|there| there.count > CONTROLS_MAX) {
            return Err(MetadataError::Conflict {
                what: format!(
                    "there are {CONTROLS_MAX} pauses and limits of copying already; remove some first"
                ),
            });
        }
        transaction.commit().await
    }
}

/// The source and the target of a link as columns: a location is never called by nothing.
fn columns(link: &Link) -> (&str, &str) {
    match link {
        Link::All => ("", ""),
        Link::Location(location) => ("", location.as_str()),
        Link::Pair { source, target } => (source.as_str(), target.as_str()),
    }
}

impl TryFrom<ControlRow> for CopyLimit {
    type Error = MetadataError;

    fn try_from(row: ControlRow) -> Result<Self, MetadataError> {
        let rate = row
            .bytes_per_second
            .and_then(|rate| u64::try_from(rate).ok())
            .and_then(NonZeroU64::new);
        let window = match row.hours.as_str() {
            "" => None,
            hours => Some(
                hours
                    .parse()
                    .map_err(|error| MetadataError::corrupt(TABLE, "hours", row.id, error))?,
            ),
        };
        Ok(Self {
            link: match (row.source.as_str(), row.target.as_str()) {
                ("", "") => Link::All,
                ("", target) => Link::Location(location_name(target)?),
                (source, target) => Link::Pair {
                    source: location_name(source)?,
                    target: location_name(target)?,
                },
            },
            bytes_per_second: rate.ok_or_else(|| {
                MetadataError::corrupt(
                    TABLE,
                    "bytes_per_second",
                    row.id,
                    "a limit is a number above zero",
                )
            })?,
            window,
        })
    }
}
