//! The log of who did what: Quay's table in the database. An entry of a change is written with the change; one of a pull shortly afterwards, so that
//! none fails for want of it, whatever `ALLOW_PULLS_WITHOUT_STRICT_LOGGING` says.

use crate::reader::{Keys, Remark, did_you_mean};

/// `LOGS_MODEL`: where entries go. Only `database` (the default); with another of Quay's they are written there all the same.
pub(super) fn check_model(keys: &mut Keys) {
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
