//! Quotas: how much a namespace may hold, and from what part of that somebody is warned or pushes are refused.

use std::collections::BTreeMap;

use roadstead_metadata::{
    AccountRecord, Actor, NamespaceSize, QuotaId, QuotaLimitId, QuotaLimitKind, QuotaLimitRecord,
    QuotaRecord, UserId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ManagementError;
use crate::forms;
use crate::management::{Management, done};

/// A size in words: a number, and a unit if it is not bytes.
const SIZE_PATTERN: &str =
    r"^\d+\s?(B|KiB|MiB|GiB|TiB|PiB|EiB|Ki|Mi|Gi|Ti|Pi|Ei|KB|MB|GB|TB|PB|EB|K|M|G|T|P|E)?$";

/// The most characters of a size in words.
const SIZE_CHARS_MAX: usize = 32;

/// The size of a quota: in bytes, or in words.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct QuotaSize {
    /// How many bytes.
    #[schemars(range(min = 1))]
    pub limit_bytes: Option<i64>,
    /// The same in words, such as `10 GiB` or `500 MB`; it goes before the other.
    #[schemars(length(max = 32), regex(pattern = SIZE_PATTERN))]
    pub limit: Option<String>,
}

/// A new limit.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct NewQuotaLimit {
    /// What happens.
    pub r#type: LimitType,
    /// From what part of the quota on, in percent.
    #[schemars(range(min = 1, max = 100))]
    pub threshold_percent: i32,
}

/// What is to be another in a limit.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
pub struct QuotaLimitChanges {
    /// What happens.
    pub r#type: Option<LimitType>,
    /// From what part of the quota on, in percent.
    #[schemars(range(min = 1, max = 100))]
    pub threshold_percent: Option<i32>,
}

/// What happens from a part of a quota on.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum LimitType {
    /// The administrators are told.
    #[serde(alias = "warning")]
    Warning,
    /// Pushes are refused.
    #[serde(alias = "reject")]
    Reject,
}

impl From<LimitType> for QuotaLimitKind {
    fn from(kind: LimitType) -> Self {
        match kind {
            LimitType::Warning => Self::Warning,
            LimitType::Reject => Self::Reject,
        }
    }
}

/// A quota.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct QuotaDocument {
    /// Its id; null where it is the registry's default.
    pub id: Option<i32>,
    /// How many bytes the namespace may hold.
    pub limit_bytes: i64,
    /// The same in words.
    pub limit: String,
    /// Whether it is the registry's default.
    pub default_config: bool,
    /// Its limits.
    pub limits: Vec<QuotaLimitDocument>,
    /// Whether the registry has a default.
    pub default_config_exists: bool,
}

/// A limit of a quota.
#[derive(Clone, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub struct QuotaLimitDocument {
    /// Its id.
    pub id: i32,
    /// What happens: `Warning` or `Reject`.
    pub r#type: &'static str,
    /// From what part of the quota on, in percent.
    pub limit_percent: i32,
}

/// How much a namespace holds, and may hold.
#[derive(Clone, Debug, JsonSchema, PartialEq, Eq, Serialize)]
pub struct QuotaReport {
    /// How many bytes it holds.
    pub quota_bytes: i64,
    /// How many it may hold; null: whatever it likes.
    pub configured_quota: Option<i64>,
    /// How far what it holds has been summed up: `waiting`, `running`, `complete`, or empty.
    pub running_backfill: &'static str,
    /// The same.
    pub backfill_status: &'static str,
}

impl Management {
    /// The quota of a namespace: one, the registry's default, or none.
    pub async fn quotas(&self, namespace: &str) -> Result<Vec<QuotaDocument>, ManagementError> {
        let id = self.quota_namespace(namespace).await?;
        let quota = self.database.quotas([id]).await?.remove(&id);
        Ok(self.quota_list(quota.as_ref()))
    }

    /// A quota of a namespace.
    pub async fn quota(&self, namespace: &str, id: &str) -> Result<QuotaDocument, ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        Ok(self.quota_document(&quota))
    }

    /// Gives a namespace a quota.
    pub async fn create_quota(
        &self,
        namespace: &str,
        size: &QuotaSize,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        self.quota_namespace(namespace).await?;
        let bytes = bytes_of(size)?.ok_or_else(|| {
            ManagementError::invalid(
                "limit_bytes",
                "is missing; so is `limit`, which says the same in words",
            )
        })?;
        done(
            self.database
                .create_quota(namespace, bytes, &self.change(actor))
                .await,
        )?;
        Ok(())
    }

    /// Gives a quota another size; without one nothing changes.
    pub async fn change_quota(
        &self,
        namespace: &str,
        id: &str,
        size: &QuotaSize,
        actor: &Actor,
    ) -> Result<QuotaDocument, ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        if let Some(bytes) = bytes_of(size)? {
            done(
                self.database
                    .change_quota(namespace, quota.id, bytes, &self.change(actor))
                    .await,
            )?;
        }
        self.quota(namespace, id).await
    }

    /// Takes a quota away.
    pub async fn delete_quota(
        &self,
        namespace: &str,
        id: &str,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        done(
            self.database
                .delete_quota(namespace, quota.id, &self.change(actor))
                .await,
        )
    }

    /// The limits of a quota.
    pub async fn quota_limits(
        &self,
        namespace: &str,
        id: &str,
    ) -> Result<Vec<QuotaLimitDocument>, ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        Ok(quota.limits.iter().map(limit_document).collect())
    }

    /// A limit of a quota.
    pub async fn quota_limit(
        &self,
        namespace: &str,
        (id, limit): (&str, &str),
    ) -> Result<QuotaLimitDocument, ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        let found = quota
            .limits
            .iter()
            .find(|found| found.id.to_string() == limit);
        found
            .map(limit_document)
            .ok_or_else(|| ManagementError::unknown("quota limit", limit))
    }

    /// Gives a quota a limit.
    pub async fn create_quota_limit(
        &self,
        namespace: &str,
        id: &str,
        new: &NewQuotaLimit,
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        let percent = percent(new.threshold_percent)?;
        done(
            self.database
                .create_quota_limit(
                    namespace,
                    quota.id,
                    (new.r#type.into(), percent),
                    &self.change(actor),
                )
                .await,
        )?;
        Ok(())
    }

    /// Changes a limit, and gives the quota.
    pub async fn change_quota_limit(
        &self,
        namespace: &str,
        (id, limit): (&str, &str),
        changes: &QuotaLimitChanges,
        actor: &Actor,
    ) -> Result<QuotaDocument, ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        let found = self.quota_limit(namespace, (id, limit)).await?;
        let percent = changes.threshold_percent.map(percent).transpose()?;
        done(
            self.database
                .change_quota_limit(
                    namespace,
                    (quota.id, QuotaLimitId(found.id)),
                    changes.r#type.map(QuotaLimitKind::from),
                    percent,
                    &self.change(actor),
                )
                .await,
        )?;
        self.quota(namespace, id).await
    }

    /// Takes a limit away.
    pub async fn delete_quota_limit(
        &self,
        namespace: &str,
        (id, limit): (&str, &str),
        actor: &Actor,
    ) -> Result<(), ManagementError> {
        let quota = self.quota_record(namespace, id).await?;
        let found = self.quota_limit(namespace, (id, limit)).await?;
        done(
            self.database
                .delete_quota_limit(
                    namespace,
                    (quota.id, QuotaLimitId(found.id)),
                    &self.change(actor),
                )
                .await,
        )
    }

    /// What an account's document tells of its quota. Nothing where quotas are not managed.
    pub(crate) async fn quota_members(
        &self,
        namespace: UserId,
    ) -> Result<(Option<Vec<QuotaDocument>>, Option<QuotaReport>), ManagementError> {
        if !self.options.quotas {
            return Ok((None, None));
        }
        let quota = self.database.quotas([namespace]).await?.remove(&namespace);
        let size = self
            .database
            .namespace_sizes([namespace])
            .await?
            .remove(&namespace);
        Ok((
            Some(
                quota
                    .iter()
                    .map(|quota| self.quota_document(quota))
                    .collect(),
            ),
            Some(self.quota_report(quota.as_ref(), size)),
        ))
    }

    /// The same of many accounts.
    pub(crate) async fn quotas_of(
        &self,
        accounts: &[AccountRecord],
    ) -> Result<
        (
            BTreeMap<UserId, Vec<QuotaDocument>>,
            BTreeMap<UserId, QuotaReport>,
        ),
        ManagementError,
    > {
        let (mut quotas, mut reports) = (BTreeMap::new(), BTreeMap::new());
        if !self.options.quotas {
            return Ok((quotas, reports));
        }
        let ids: Vec<UserId> = accounts.iter().map(|account| account.id).collect();
        let found = self.database.quotas(ids.iter().copied()).await?;
        let sizes = self.database.namespace_sizes(ids.iter().copied()).await?;
        for id in ids {
            let quota = found.get(&id);
            let shown = quota.map(|quota| self.quota_document(quota));
            quotas.insert(id, shown.into_iter().collect());
            reports.insert(id, self.quota_report(quota, sizes.get(&id).copied()));
        }
        Ok((quotas, reports))
    }

    async fn quota_namespace(&self, namespace: &str) -> Result<UserId, ManagementError> {
        if !self.options.quotas {
            return Err(ManagementError::NotConfigured {
                key: "FEATURE_QUOTA_MANAGEMENT",
            });
        }
        let found = self
            .database
            .account(forms::known("namespace", namespace)?)
            .await?;
        found
            .filter(|account| !account.robot)
            .map(|account| account.id)
            .ok_or_else(|| ManagementError::unknown("namespace", namespace))
    }

    async fn quota_record(
        &self,
        namespace: &str,
        id: &str,
    ) -> Result<QuotaRecord, ManagementError> {
        let owner = self.quota_namespace(namespace).await?;
        let found = self.database.quotas([owner]).await?.remove(&owner);
        found
            .filter(|quota| id.parse() == Ok(quota.id.0))
            .ok_or_else(|| {
                ManagementError::unknown("quota", forms::known("quota", id).unwrap_or(""))
            })
    }

    fn quota_list(&self, quota: Option<&QuotaRecord>) -> Vec<QuotaDocument> {
        let default = self.options.default_quota_bytes;
        match (quota, default) {
            (Some(quota), _) => vec![self.quota_document(quota)],
            (None, Some(bytes)) => vec![QuotaDocument {
                id: None,
                limit_bytes: bytes,
                limit: in_words(bytes),
                default_config: true,
                limits: Vec::new(),
                default_config_exists: true,
            }],
            (None, None) => Vec::new(),
        }
    }

    fn quota_document(&self, quota: &QuotaRecord) -> QuotaDocument {
        let QuotaId(id) = quota.id;
        QuotaDocument {
            id: Some(id),
            limit_bytes: quota.limit_bytes,
            limit: in_words(quota.limit_bytes),
            default_config: false,
            limits: quota.limits.iter().map(limit_document).collect(),
            default_config_exists: self.options.default_quota_bytes.is_some(),
        }
    }

    fn quota_report(
        &self,
        quota: Option<&QuotaRecord>,
        size: Option<NamespaceSize>,
    ) -> QuotaReport {
        let status = match size {
            None => "waiting",
            Some(size) => match (size.started, size.complete) {
                (false, false) => "waiting",
                (true, false) => "running",
                (true, true) => "complete",
                (false, true) => "",
            },
        };
        QuotaReport {
            quota_bytes: size.map_or(0, |size| size.bytes),
            configured_quota: quota
                .map(|quota| quota.limit_bytes)
                .or(self.options.default_quota_bytes),
            running_backfill: status,
            backfill_status: status,
        }
    }
}

fn limit_document(limit: &QuotaLimitRecord) -> QuotaLimitDocument {
    QuotaLimitDocument {
        id: limit.id.0,
        r#type: limit.kind.as_str(),
        limit_percent: limit.percent,
    }
}

fn percent(percent: i32) -> Result<i32, ManagementError> {
    if (1..=100).contains(&percent) {
        Ok(percent)
    } else {
        Err(ManagementError::invalid(
            "threshold_percent",
            "has to be a number from 1 to 100",
        ))
    }
}

fn bytes_of(size: &QuotaSize) -> Result<Option<i64>, ManagementError> {
    let bytes = match (&size.limit, size.limit_bytes) {
        (Some(words), _) => Some(parse(words).ok_or_else(|| {
            ManagementError::invalid(
                "limit",
                "has to be a number and perhaps a unit, such as `10 GiB` or `500 MB`, and at most 8 EiB",
            )
        })?),
        (None, bytes) => bytes,
    };
    match bytes {
        Some(bytes) if bytes <= 0 => Err(ManagementError::invalid(
            "limit_bytes",
            "has to be greater than zero",
        )),
        bytes => Ok(bytes),
    }
}

/// Bytes of a size in words: `KiB` and `Ki` are 1024, `KB` and `K` 1000, and so on.
fn parse(words: &str) -> Option<i64> {
    if words.len() > SIZE_CHARS_MAX {
        return None;
    }
    let end = words
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(words.len());
    let (number, unit) = words.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (letter, base): (&str, i64) = match unit.strip_suffix("iB").or(unit.strip_suffix('i')) {
        Some(letter) => (letter, 1024),
        None => (unit.strip_suffix('B').unwrap_or(unit), 1000),
    };
    let power = match letter {
        "" if base == 1000 => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    number
        .parse::<i64>()
        .ok()?
        .checked_mul(base.checked_pow(power)?)
}

/// A size in words, as Quay writes it: `1.0 GiB`.
fn in_words(bytes: i64) -> String {
    const UNITS: [&str; 7] = ["Byte", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut scale: i64 = 1;
    while unit + 1 < UNITS.len() && bytes / scale >= 1024 {
        scale *= 1024;
        unit += 1;
    }
    // Tenths, rounded to the nearest, without a float.
    let tenths = (i128::from(bytes) * 10 + i128::from(scale) / 2) / i128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_words() {
        for (words, bytes) in [
            ("10", 10),
            ("10B", 10),
            ("1 KiB", 1024),
            ("1Ki", 1024),
            ("1K", 1000),
            ("1KB", 1000),
            ("2GiB", 2 << 30),
            ("5 EB", 5_000_000_000_000_000_000),
        ] {
            assert_eq!(parse(words), Some(bytes), "{words}");
        }
        for unfit in [
            "",
            "x",
            "-1",
            "1.5 GiB",
            "1  GiB",
            "1 iB",
            "10 EiB",
            "99999999999999999999",
            "1 gib",
        ] {
            assert!(parse(unfit).is_none_or(|bytes| bytes <= 0), "{unfit:?}");
        }
    }

    #[test]
    fn sizes_are_written_as_quay_does() {
        assert_eq!(in_words(1_073_741_824), "1.0 GiB");
        assert_eq!(in_words(500), "500.0 Byte");
        assert_eq!(in_words(1536), "1.5 KiB");
        assert_eq!(in_words(i64::MAX), "8.0 EiB");
    }
}
