//! The log of who did what.

use crate::reader::{Keys, Remark, did_you_mean};

/// The log of who did what. It is in the database, in Quay's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// `ALLOW_PULLS_WITHOUT_STRICT_LOGGING`: whether a pull goes on when its entry cannot be written (default: false).
    pub pulls_without: bool,
    /// `ALLOW_WITHOUT_STRICT_LOGGING`: whether anything goes on when its entry cannot be written (default: false).
    pub all_without: bool,
}

impl Audit {
    pub(super) fn read(keys: &mut Keys) -> Self {
        check_model(keys);
        Self {
            pulls_without: keys.flag("ALLOW_PULLS_WITHOUT_STRICT_LOGGING", false),
            all_without: keys.flag("ALLOW_WITHOUT_STRICT_LOGGING", false),
        }
    }
}

/// `LOGS_MODEL`: where entries go. Only `database` (the default); with another of Quay's they are written there all the same.
fn check_model(keys: &mut Keys) {
    const KEY: &str = "LOGS_MODEL";
    const QUAYS: [&str; 7] = [
        "database",
        "elasticsearch",
        "splunk",
        "transition_reads_both_writes_es",
        "transition_reads_both_writes_splunk",
        "transition_reads_es_writes_both",
        "test",
    ];
    let Some(text) = keys.text(KEY).filter(|text| text != "database") else {
        return;
    };
    let value = keys.value(KEY);
    if QUAYS.contains(&text.as_str()) {
        let problem =
            format!("{text} is not in this version: what happens here is logged in the database");
        keys.warn(KEY, value.as_ref(), Remark::new(problem, "database", ""));
    } else {
        let hint = did_you_mean(&text, QUAYS);
        keys.refuse(
            KEY,
            value.as_ref(),
            Remark::new("unknown value", "database", hint),
        );
    }
}
