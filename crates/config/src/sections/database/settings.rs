//! libpq's parameter `options`: settings of the server for every session of ours.

/// What [`read`] takes, for messages.
pub(super) const ALLOWED: &str =
    "-c NAME=VALUE, several separated by spaces, such as -c search_path=quay";

/// The most settings. No known configuration has more than three.
const SETTINGS_MAX: usize = 32;

/// What this program sets itself, or relies on as the server has it.
const OURS: [&str; 15] = [
    "bytea_output",
    "client_encoding",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "session_replication_role",
    "standard_conforming_strings",
    "statement_timeout",
    "timezone",
    "transaction_timeout",
];

/// Reads `-c NAME=VALUE`, `-cNAME=VALUE` and `--NAME=VALUE`; a backslash takes the meaning from what follows it.
pub(super) fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut settings = Vec::new();
    let mut words = words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("-c"), word.strip_prefix("--")) {
            (Some(""), _) => words.next(),
            (Some(setting), _) | (None, Some(setting)) => Some(setting.to_owned()),
            (None, None) => return Err("options holds something other than settings".to_owned()),
        };
        let setting = setting
            .as_deref()
            .and_then(|setting| setting.split_once('='));
        let Some((name, value)) = setting.filter(|(name, _)| is_name(name)) else {
            return Err("options holds a setting that is not NAME=VALUE".to_owned());
        };
        // In this form the server reads a dash as an underscore.
        let name = name.replace('-', "_");
        if OURS.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(format!(
                "options sets {name}, which this program sets itself or relies on"
            ));
        }
        settings.push((name, value.to_owned()));
    }
    if settings.len() > SETTINGS_MAX {
        return Err(format!("options holds more than {SETTINGS_MAX} settings"));
    }
    Ok(settings)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}

/// The words between spaces.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            character if character.is_ascii_whitespace() => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_in_each_of_their_forms() {
        let read = |text| {
            read(text).map(|settings| {
                settings
                    .into_iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
            })
        };
        assert_eq!(
            read(" -c search_path=quay  -cwork_mem=8MB --jit=off ").unwrap(),
            ["search_path=quay", "work_mem=8MB", "jit=off"]
        );
        assert_eq!(read(r"-c search_path=a,\ b").unwrap(), ["search_path=a, b"]);
        assert_eq!(
            read("--default-text-search-config=simple").unwrap(),
            ["default_text_search_config=simple"]
        );
        assert_eq!(read("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_setting_or_ours_is_refused() {
        for (text, problem) in [
            ("search_path=quay", "something other than settings"),
            ("-c", "not NAME=VALUE"),
            ("-c search_path", "not NAME=VALUE"),
            ("-c =1", "not NAME=VALUE"),
            ("-c TimeZone=CET", "relies on"),
            ("--statement-timeout=0", "relies on"),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.contains(problem), "{text}: {fault}");
        }
        assert!(read(&"-c a=1 ".repeat(SETTINGS_MAX + 1)).is_err());
    }
}
