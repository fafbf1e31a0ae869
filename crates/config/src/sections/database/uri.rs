//! The URI form of libpq, taken apart: `postgresql://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?NAME=VALUE&NAME=VALUE`.
//!
//! Splits and decodes; what a part may hold is the business of [`super::postgres`]. No message holds a part of the text: it may be a password.

/// A URI in its parts, decoded. What is not there is empty or `None`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// Hosts with their ports, in their order; without brackets.
    pub(super) hosts: Vec<(String, Option<String>)>,
    pub(super) database: Option<String>,
    /// What stands behind the question mark, in its order.
    pub(super) parameters: Vec<(String, String)>,
}

/// Why a text is no such URI, and what to do.
pub(super) type Fault = (&'static str, &'static str);

/// Takes apart what stands behind `postgresql://`.
pub(super) fn split(rest: &str) -> Result<Parts, Fault> {
    let (information, rest) = split_user_information(rest);
    let (rest, query) = match rest.split_once('?') {
        None => (rest, ""),
        Some((rest, query)) => (rest, query),
    };
    let (authority, database) = match rest.split_once('/') {
        None => (rest, ""),
        Some((authority, database)) => (authority, database),
    };
    let (username, password) = match information.split_once(':') {
        None => (information, ""),
        Some((username, password)) => (username, password),
    };
    let hosts = if authority.is_empty() {
        Vec::new()
    } else {
        authority.split(',').map(host).collect::<Result<_, _>>()?
    };
    Ok(Parts {
        username: given(username)?,
        password: given(password)?,
        hosts,
        database: given(database)?,
        parameters: query
            .split('&')
            .filter(|parameter| !parameter.is_empty())
            .map(parameter)
            .collect::<Result<_, _>>()?,
    })
}

/// Cuts off `USER:PASSWORD@`. A password may hold `/` and `?` unencoded, as in Quay, whose own parser reads up to the `@`; libpq would stop
/// at the first slash. Only where the text up to that slash is a list of hosts and the `@` stands in the query is it libpq's reading.
fn split_user_information(rest: &str) -> (&str, &str) {
    let Some((information, behind)) = rest.split_once('@') else {
        return ("", rest);
    };
    let authority = information.split(['/', '?']).next().unwrap_or_default();
    let in_authority = authority.len() == information.len();
    let in_query = information.contains('?');
    let is_hosts = authority
        .split(',')
        .all(|item| matches!(host(item), Ok((_, Some(port))) if is_number(&port)));
    let is_information = in_authority || (authority.contains(':') && !(in_query && is_hosts));
    if is_information {
        (information, behind)
    } else {
        ("", rest)
    }
}

fn host(item: &str) -> Result<(String, Option<String>), Fault> {
    let (host, port) = if let Some(address) = item.strip_prefix('[') {
        let (address, behind) = address.split_once(']').ok_or((
            "a bracket around an address is not closed",
            "write it as [ADDRESS]:PORT",
        ))?;
        let port = behind.strip_prefix(':');
        if port.is_none() && !behind.is_empty() {
            return Err((
                "something other than a port stands behind an address in brackets",
                "write it as [ADDRESS]:PORT",
            ));
        }
        (address, port)
    } else {
        match item.split_once(':') {
            None => (item, None),
            Some((_, port)) if port.contains(':') => {
                return Err((
                    "a host holds more than one colon",
                    "put an IPv6 address in brackets, and write : / @ in a password as %3A %2F %40",
                ));
            }
            Some((host, port)) => (host, Some(port)),
        }
    };
    Ok((
        decode(host)?,
        port.filter(|port| !port.is_empty())
            .map(decode)
            .transpose()?,
    ))
}

fn parameter(text: &str) -> Result<(String, String), Fault> {
    let (name, value) = text.split_once('=').ok_or((
        "a parameter behind ? has no value",
        "write it as NAME=VALUE, and ? & in a password as %3F %26",
    ))?;
    Ok((decode(name)?, decode(value)?))
}

fn given(text: &str) -> Result<Option<String>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    decode(text).map(Some)
}

/// Whether `text` is written in digits alone.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads `%2F` and the like. A plus sign stays one, as in libpq.
fn decode(text: &str) -> Result<String, Fault> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = match (digit(), digit()) {
            (Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        decoded.push(value.ok_or((
            "a percent sign is not followed by two hexadecimal digits",
            "write a percent sign as %25",
        ))?);
    }
    match String::from_utf8(decoded) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => Err(("it holds a zero byte", "leave out %00")),
        Err(_) => Err((
            "what the percent signs stand for is not UTF-8",
            "correct them",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        pairs
            .iter()
            .map(|(host, port)| ((*host).to_owned(), port.map(str::to_owned)))
            .collect()
    }

    #[test]
    fn every_part_is_found_and_decoded() {
        let parts = split("qu%61y:p%40ss%2Fw%3Ford+1@db-1:5432,[fe80::1]:6432,db-3/registry%20db?sslmode=require&application_name=a%26b")
            .unwrap();
        assert_eq!(parts.username.as_deref(), Some("quay"));
        assert_eq!(parts.password.as_deref(), Some("p@ss/w?ord+1"));
        assert_eq!(
            parts.hosts,
            hosts(&[
                ("db-1", Some("5432")),
                ("fe80::1", Some("6432")),
                ("db-3", None)
            ])
        );
        assert_eq!(parts.database.as_deref(), Some("registry db"));
        assert_eq!(
            parts.parameters,
            [("sslmode", "require"), ("application_name", "a&b")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(split("").unwrap(), Parts::default());
        let socket = split("%2Fvar%2Frun/quay").unwrap();
        assert_eq!(socket.hosts, hosts(&[("/var/run", None)]));
        let socket = split("/quay?host=/var/run&user=quay").unwrap();
        assert!(socket.hosts.is_empty() && socket.database.as_deref() == Some("quay"));
    }

    #[test]
    fn a_password_with_slashes_is_read_up_to_the_at_sign() {
        for (text, password, host) in [
            ("quay:pa/ss@db/quay", "pa/ss", "db"),
            ("quay:1/2@db:5432/quay", "1/2", "db"),
            ("quay:pa?ss@db/quay", "pa?ss", "db"),
            ("quay:a/b?c@db/quay?sslmode=require", "a/b?c", "db"),
            ("quay:a:b@db/quay", "a:b", "db"),
        ] {
            let parts = split(text).unwrap();
            assert_eq!(parts.password.as_deref(), Some(password), "{text}");
            assert_eq!(parts.hosts[0].0, host, "{text}");
        }
        for text in [
            "db:5432/quay?user=quay&password=p@ss",
            "db-1:5432,db-2:5432/quay?user=quay&password=p@ss",
            "db/quay?user=quay&password=p@ss",
        ] {
            let parts = split(text).unwrap();
            assert_eq!(parts.username, None, "{text}");
            assert_eq!(parts.parameters[1].1, "p@ss", "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_repeating_it() {
        for (text, problem) in [
            ("quay:%zz@db/quay", "a percent sign"),
            ("quay:hunter2%@db/quay", "a percent sign"),
            ("quay:%ff@db/quay", "not UTF-8"),
            ("quay:a%00@db/quay", "zero byte"),
            ("quay:x@[::1/quay", "not closed"),
            ("quay:x@[::1]5432/quay", "behind an address"),
            ("quay:x@::1/quay", "more than one colon"),
            ("quay:x@db/quay?sslmode", "has no value"),
        ] {
            let (found, _) = split(text).unwrap_err();
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
