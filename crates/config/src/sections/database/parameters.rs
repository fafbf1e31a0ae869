//! The parameters of a connection to PostgreSQL: which there are, which are honoured, and where each was given.
//!
//! They are those of libpq, since Quay's driver hands both the URI and `DB_CONNECTION_ARGS` to it; `max_connections`, `timeout` and
//! `stale_timeout` are those of Quay's pool. As there, an argument wins over the same parameter of the URI.

use std::collections::BTreeMap;

use figment::value::Value;

use crate::reader::{Keys, Remark, did_you_mean};
use crate::schema::Kind;

/// What a parameter means here.
enum Meaning {
    /// It is read by [`super::postgres`].
    Honoured,
    /// It is taken and changes nothing.
    Idle,
    /// It changes nothing as long as it is one of these.
    Only(&'static [&'static str]),
    /// It is refused, because leaving it out would change what the connection is; with the reason.
    Refused(&'static str),
}

use Meaning::{Honoured, Idle, Only, Refused};

/// Every parameter that libpq knows, by name.
const PARAMETERS: [(&str, Meaning); 45] = [
    ("application_name", Honoured),
    ("channel_binding", Only(&["disable", "prefer"])),
    ("client_encoding", Only(&["auto", "utf8", "UTF8", "UTF-8"])),
    ("connect_timeout", Honoured),
    ("dbname", Honoured),
    ("fallback_application_name", Honoured),
    ("gssdelegation", Only(&["0"])),
    ("gssencmode", Only(&["disable", "prefer"])),
    ("gsslib", Idle),
    ("host", Honoured),
    ("hostaddr", Refused("write the addresses as hosts")),
    ("keepalives", Idle),
    ("keepalives_count", Idle),
    ("keepalives_idle", Idle),
    ("keepalives_interval", Idle),
    ("krbsrvname", Idle),
    ("load_balance_hosts", Only(&["disable"])),
    ("max_protocol_version", Idle),
    ("min_protocol_version", Only(&["3.0"])),
    ("options", Honoured),
    (
        "passfile",
        Refused("write the password into the URI, or use a client certificate"),
    ),
    ("password", Honoured),
    ("port", Honoured),
    ("replication", Only(&["false", "off", "no", "0"])),
    ("require_auth", Refused("use sslmode=verify-full")),
    (
        "requirepeer",
        Refused("connect over TCP with sslmode=verify-full"),
    ),
    ("requiressl", Refused("use sslmode=require")),
    (
        "service",
        Refused("write what the service file says into the URI"),
    ),
    (
        "servicefile",
        Refused("write what the service file says into the URI"),
    ),
    (
        "ssl_max_protocol_version",
        Refused("limit the versions at the server"),
    ),
    (
        "ssl_min_protocol_version",
        // TLS 1.2 is the least that is spoken here.
        Only(&["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ),
    ("sslcert", Honoured),
    ("sslcertmode", Only(&["allow"])),
    ("sslcompression", Only(&["0"])),
    ("sslcrl", Refused("revoke access at the server")),
    ("sslcrldir", Refused("revoke access at the server")),
    ("sslkey", Honoured),
    ("sslmode", Honoured),
    ("sslnegotiation", Only(&["postgres"])),
    (
        "sslpassword",
        Refused("use a key that is not encrypted, in a file that only this user can read"),
    ),
    ("sslrootcert", Honoured),
    ("sslsni", Idle),
    ("target_session_attrs", Honoured),
    ("tcp_user_timeout", Idle),
    ("user", Honoured),
];

/// Of `DB_CONNECTION_ARGS` alone: Quay's pool.
const POOL: [&str; 3] = ["max_connections", "stale_timeout", "timeout"];

/// Of `DB_CONNECTION_ARGS` alone: what Quay's driver once wanted and every configuration of Quay holds. Without effect here as there.
const HISTORIC: [&str; 2] = ["autorollback", "threadlocals"];

/// What only the URI says, unless it does not: of these an argument does not win.
const OF_THE_URI: [&str; 5] = ["dbname", "host", "password", "port", "user"];

/// A parameter that was given.
#[derive(Clone)]
pub(super) struct Given {
    /// Where, for findings: the URI's key or the argument's path.
    pub(super) path: String,
    /// The value that stands there, for findings: the URI's is shown without passwords.
    value: Value,
    /// What it was set to.
    pub(super) text: String,
}

impl Given {
    /// Refuses what was given. `problem` must not repeat a secret.
    pub(super) fn refuse(&self, keys: &mut Keys, remark: Remark) {
        keys.refuse(&self.path, Some(&self.value), remark);
    }
}

/// The parameters of one connection, by name.
#[derive(Default)]
pub(super) struct Parameters(BTreeMap<&'static str, Given>);

impl Parameters {
    pub(super) fn get(&self, name: &'static str) -> Option<&Given> {
        self.0.get(name)
    }

    /// Takes the parameters of the URI, which stands at `path` with `value`.
    pub(super) fn take_uri(
        &mut self,
        keys: &mut Keys,
        path: &str,
        value: &Value,
        parameters: Vec<(String, String)>,
    ) {
        for (name, text) in parameters {
            let given = Given {
                path: path.to_owned(),
                value: value.clone(),
                text,
            };
            let Some((name, meaning)) = known(&name) else {
                // Its name is not repeated: it may be what follows an unencoded ? or & of a password.
                let problem = "an unknown parameter stands behind the question mark";
                let hint = did_you_mean(&name, names());
                given.refuse(keys, Remark::new(problem, "", hint));
                continue;
            };
            if !is_kept(keys, name, meaning, &given) {
                continue;
            }
            if self.0.contains_key(name) {
                let problem = format!("the parameter {name} is given twice");
                given.refuse(keys, Remark::new(problem, "", "keep one of them"));
                continue;
            }
            self.0.insert(name, given);
        }
    }

    /// Takes a part of the URI before its question mark as the parameter that it stands for.
    pub(super) fn take_part(
        &mut self,
        keys: &mut Keys,
        path: &str,
        value: &Value,
        (name, text): (&'static str, Option<String>),
    ) {
        let Some(text) = text else { return };
        if let Some(given) = self.0.get(name) {
            let problem = format!("the {name} is given twice, also behind the question mark");
            given.refuse(keys, Remark::new(problem, "", "keep one of them"));
            return;
        }
        self.0.insert(
            name,
            Given {
                path: path.to_owned(),
                value: value.clone(),
                text,
            },
        );
    }

    /// Takes the entries of `DB_CONNECTION_ARGS`, which stands at `path`.
    pub(super) fn take_arguments(
        &mut self,
        keys: &mut Keys,
        path: &str,
        entries: &[(String, Value)],
    ) {
        for (name, value) in entries {
            let path = format!("{path}.{name}");
            if HISTORIC.contains(&name.as_str()) {
                if !Kind::Flag.fits(value) {
                    let problem = "not what belongs there; it has no effect, here as in Quay";
                    let remark = Remark::new(problem, Kind::Flag.allowed(), "take it out");
                    keys.warn(&path, Some(value), remark);
                }
                continue;
            }
            if matches!(value, Value::Empty(..)) {
                continue;
            }
            if name == "ssl" {
                let remark = Remark::new(
                    "this is MySQL's",
                    "sslmode, sslrootcert, sslcert, sslkey",
                    "write sslmode: verify-full and sslrootcert: FILE",
                );
                keys.refuse(&path, Some(value), remark);
                continue;
            }
            let pooling = POOL.iter().find(|known| *known == name);
            let known = pooling
                .map(|name| (*name, &Honoured))
                .or_else(|| known(name));
            let Some((name, meaning)) = known else {
                let hint = did_you_mean(name, names().chain(POOL).chain(HISTORIC));
                // Without the value: a misspelt password is one too.
                keys.refuse_absent(&path, value, Remark::new("unknown argument", "", hint));
                continue;
            };
            let text = match value {
                // libpq takes everything as text, so numbers may be written either way.
                Value::Num(_, number) => number.to_u128().map(|number| number.to_string()),
                _ => None,
            };
            let Some(text) = text.or_else(|| keys.text_of(&path, value)) else {
                continue;
            };
            let given = Given {
                path,
                value: value.clone(),
                text,
            };
            if is_kept(keys, name, meaning, &given) {
                self.take_argument(keys, name, given);
            }
        }
    }

    fn take_argument(&mut self, keys: &mut Keys, name: &'static str, given: Given) {
        match self.0.get(name) {
            Some(of_uri) if OF_THE_URI.contains(&name) => {
                if of_uri.text != given.text {
                    let problem = "it is another than in the URI";
                    given.refuse(keys, Remark::new(problem, "", "give it once, in the URI"));
                }
            }
            _ => {
                self.0.insert(name, given);
            }
        }
    }
}

fn known(name: &str) -> Option<(&'static str, &'static Meaning)> {
    PARAMETERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(name, meaning)| (*name, meaning))
}

fn names() -> impl Iterator<Item = &'static str> {
    PARAMETERS.iter().map(|(name, _)| *name)
}

/// Whether a known parameter is for [`super::postgres`] to read; if not, what there is to say about it has been said.
fn is_kept(keys: &mut Keys, name: &str, meaning: &Meaning, given: &Given) -> bool {
    if given.text.contains('\0') {
        given.refuse(keys, Remark::new("it holds a zero byte", "", "correct it"));
        return false;
    }
    match meaning {
        Honoured => return true,
        Idle => {
            let problem = format!("the parameter {name} is known to libpq, without effect here");
            keys.warn(
                &given.path,
                Some(&given.value),
                Remark::new(problem, "", ""),
            );
        }
        Only(values) if values.contains(&given.text.as_str()) => {}
        Only(values) => {
            let problem = format!("this value of {name} is not in this version");
            given.refuse(keys, Remark::new(problem, values.join(", "), "take it out"));
        }
        Refused(instead) => {
            let problem = format!("{name} is not in this version");
            given.refuse(keys, Remark::new(problem, "", *instead));
        }
    }
    false
}
