//! What is wrong, or worth knowing, about a configuration: said with the key, the value, what is allowed and what to do.
//!
//! Owns how a value is shown. A secret is never shown: keys that name one are masked wherever they stand, and so is the
//! password inside any URI.

use std::fmt;
use std::path::PathBuf;

use figment::value::{Num, Value};
use serde::Serialize;

/// The longest form in which a value is shown, in characters.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// Stands where a secret would.
const MASK: &str = "***";

/// Where a value was read, or where a missing one was looked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line of the key, from 1; `None` where the finding is about no single line.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(&'static str),
    /// What a registry without a configuration runs on.
    Standalone,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line: None } => write!(formatter, "{}", path.display()),
            Self::File {
                path,
                line: Some(line),
            } => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) => formatter.write_str(name),
            Self::Standalone => formatter.write_str("standalone defaults"),
        }
    }
}

/// One thing about a configuration that an operator should know, as an error or as a warning.
///
/// `Display` is one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Where it was read.
    pub origin: Origin,
    /// The key's path, such as `DISTRIBUTED_STORAGE_CONFIG.usstorage[1].storage_path`; empty where the whole file is meant.
    pub key: String,
    /// The value as it was read, shortened, secrets masked; `None` where there is none or it does not matter.
    pub value: Option<String>,
    /// What is the matter.
    pub problem: String,
    /// What may stand there; empty where that says nothing.
    pub allowed: String,
    /// What to do about it; empty where nothing needs doing.
    pub action: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.problem)?;
        if let Some(value) = &self.value {
            write!(formatter, " (found {value})")?;
        }
        if !self.allowed.is_empty() {
            write!(formatter, "; allowed: {}", self.allowed)?;
        }
        if !self.action.is_empty() {
            write!(formatter, "; {}", self.action)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
///
/// `Display` is one line per finding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<Finding>);

impl ConfigErrors {
    /// Sorts `findings`, each once: by file or variable, line and key.
    pub(crate) fn new(mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        Self(findings)
    }

    /// The findings.
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            finding.fmt(formatter)?;
        }
        Ok(())
    }
}

/// The value at `path` as a finding shows it.
pub(crate) fn shown(path: &str, value: &Value) -> String {
    // What stands inside a secret is one too.
    let secret = path.split('.').any(names_a_secret);
    shortened(&show(secret, value))
}

/// As [`shown`], of a value that was passed on.
pub(crate) fn shown_json(path: &str, value: &serde_json::Value) -> String {
    Value::serialize(value).map_or_else(|_| MASK.to_owned(), |value| shown(path, &value))
}

fn show(secret: bool, value: &Value) -> String {
    match value {
        Value::Dict(_, entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, value)| {
                    format!("{name}: {}", show(secret || names_a_secret(name), value))
                })
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(_, values) => {
            let values: Vec<_> = values.iter().map(|value| show(secret, value)).collect();
            format!("[{}]", values.join(", "))
        }
        Value::Empty(..) => "nothing".to_owned(),
        Value::Bool(_, flag) => flag.to_string(),
        _ if secret => MASK.to_owned(),
        Value::String(_, string) => format!("{:?}", without_password(string)),
        Value::Char(_, character) => format!("{:?}", character.to_string()),
        Value::Num(_, number) => plain_number(*number),
    }
}

/// `number` in decimal.
fn plain_number(number: Num) -> String {
    match (number.to_u128(), number.to_i128(), number.to_f64()) {
        (Some(number), ..) => number.to_string(),
        (_, Some(number), _) => number.to_string(),
        (.., Some(number)) => number.to_string(),
        (None, None, None) => "a number".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "...",
    }
}

/// Whether the last name in `path` is that of a secret: keys, passwords, tokens, whatever the driver or section.
fn names_a_secret(path: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or(path).to_ascii_lowercase();
    name.ends_with("key")
        || name.ends_with("psk")
        || ["secret", "passw", "token", "credential", "authorization"]
            .iter()
            .any(|word| name.contains(word))
}

/// `text` with the password of the URI in it masked, and its query cut off: drivers take passwords there too.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        // `user:password@host` without a scheme: nothing says which part is secret.
        return if text.contains('@') && text.contains(':') {
            MASK.to_owned()
        } else {
            text.to_owned()
        };
    };
    // The last `@` ends the user information even when the password holds one that should have been encoded.
    let (user, host) = match rest.rsplit_once('@') {
        None => (String::new(), rest),
        // Either the password holds a question mark, or the query an `@`: nothing says which part is secret.
        Some((information, _)) if information.contains('?') => return format!("{scheme}://{MASK}"),
        Some((information, host)) => match information.split_once(':') {
            None => (format!("{information}@"), host),
            Some((user, _)) => (format!("{user}:{MASK}@"), host),
        },
    };
    match host.split_once('?') {
        None => format!("{scheme}://{user}{}", without_strange_hosts(host)),
        Some((host, _)) => format!("{scheme}://{user}{}?{MASK}", without_strange_hosts(host)),
    }
}

/// `text`, which begins with hosts, unless one of them or its port is none: what looks like a host may be the rest of a password.
fn without_strange_hosts(text: &str) -> &str {
    let hosts = text.split('/').next().unwrap_or(text);
    if hosts.split(',').all(is_plain_host) {
        text
    } else {
        MASK
    }
}

/// Whether `text` is a name or an address in brackets, with a number behind a colon if there is one.
fn is_plain_host(text: &str) -> bool {
    let bracketed = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    let (is_plain, port) = bracketed.map_or_else(
        || {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            let in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-._%".contains(&byte);
            (name.bytes().all(in_names), port)
        },
        |(address, behind)| {
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            (is_address, behind.strip_prefix(':').unwrap_or(behind))
        },
    );
    is_plain && port.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use figment::util::map;

    #[test]
    fn passwords_in_uris_are_masked_wherever_they_stand() {
        for (given, expected) in [
            (
                "postgresql://quay:pa:ss@w/rd@db:5432/quay",
                "postgresql://quay:***@db:5432/quay",
            ),
            ("postgresql://db/quay", "postgresql://db/quay"),
            ("postgresql://quay@db/quay", "postgresql://quay@db/quay"),
            (
                "postgresql://db/quay?user=quay&password=x",
                "postgresql://db/quay?***",
            ),
            (
                "postgresql://db-1:5432,[::1]:5433/quay?password=p@ss",
                "postgresql://***",
            ),
            (
                "postgresql://db-1:5432,[::1]:5433,db-3/quay",
                "postgresql://db-1:5432,[::1]:5433,db-3/quay",
            ),
            ("postgresql://quay:hunter2", "postgresql://***"),
            ("postgresql://quay:hun?ter2", "postgresql://***?***"),
            ("postgresql://quay:hunter2/db/quay", "postgresql://***"),
            ("quay:password@db/quay", "***"),
            ("sqlite:////var/quay.db", "sqlite:////var/quay.db"),
            ("registry.example.org:8443", "registry.example.org:8443"),
        ] {
            assert_eq!(without_password(given), expected, "{given}");
        }
    }

    #[test]
    fn values_of_secret_keys_are_masked_and_long_values_are_cut() {
        let parameters = Value::from(map! {
            "access_key" => "AKIA", "azure_account_key" => "k", "sas_token" => "t",
            "bucket_name" => "b", "swift_password" => "p", "port" => "443",
        });
        assert_eq!(
            shown("DISTRIBUTED_STORAGE_CONFIG.us[1]", &parameters),
            r#"{access_key: ***, azure_account_key: ***, bucket_name: "b", port: "443", sas_token: ***, swift_password: ***}"#
        );
        assert_eq!(shown("SECRET_KEY", &Value::from(12_u8)), "***");
        assert_eq!(shown("SETUP_COMPLETE", &Value::from("x\ny")), r#""x\ny""#);
        let long = shown("X", &Value::from("é".repeat(500)));
        assert_eq!(long.chars().count(), SHOWN_CHARACTERS_MAX + 3);
    }

    #[test]
    fn a_finding_is_one_line_and_errors_are_sorted_by_place() {
        let finding = |line, key: &str| Finding {
            origin: Origin::File {
                path: "config.yaml".into(),
                line,
            },
            key: key.to_owned(),
            value: Some("7".to_owned()),
            problem: "not a text".to_owned(),
            allowed: "a host name".to_owned(),
            action: "put it in quotes".to_owned(),
        };
        let errors = ConfigErrors::new(vec![
            finding(Some(9), "B"),
            finding(Some(2), "C"),
            finding(None, "D"),
        ]);
        assert_eq!(
            errors.to_string(),
            "config.yaml: D: not a text (found 7); allowed: a host name; put it in quotes\n\
             config.yaml:2: C: not a text (found 7); allowed: a host name; put it in quotes\n\
             config.yaml:9: B: not a text (found 7); allowed: a host name; put it in quotes"
        );
    }
}
