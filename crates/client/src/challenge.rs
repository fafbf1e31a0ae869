//! `WWW-Authenticate`: RFC 9110 section 11.6.1, as far as registries use it (Bearer and Basic).

use std::collections::BTreeMap;

/// What a 401 asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// The token flow: ask `realm` for a token.
    Bearer {
        /// Where tokens are to be had; may be relative to the request.
        realm: String,
        /// What the token is for.
        service: Option<String>,
        /// What the request would have needed, space-separated.
        scope: Option<String>,
    },
    /// User name and password with each request.
    Basic,
}

impl Challenge {
    /// Reads one header's value. Several challenges in one header come out in order; schemes that are not known, and a Bearer
    /// without a realm, are left out.
    pub(crate) fn parse(value: &str) -> Vec<Self> {
        let mut challenges = Vec::new();
        let mut rest = value;
        while let Some((scheme, mut parameters, after)) = next_challenge(rest) {
            rest = after;
            if scheme.eq_ignore_ascii_case("basic") {
                challenges.push(Self::Basic);
            } else if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = parameters.remove("realm")
            {
                challenges.push(Self::Bearer {
                    realm,
                    service: parameters.remove("service"),
                    scope: parameters.remove("scope"),
                });
            }
        }
        challenges
    }
}

/// The first challenge of `text`: its scheme, its parameters (names in lower case), and what follows it.
fn next_challenge(text: &str) -> Option<(&str, BTreeMap<String, String>, &str)> {
    let text = text.trim_start_matches([' ', '\t', ',']);
    let (scheme, mut rest) = token(text)?;
    let mut parameters = BTreeMap::new();
    loop {
        let candidate = rest.trim_start_matches([' ', '\t', ',']);
        let Some((name, after_name)) = token(candidate) else {
            return Some((scheme, parameters, candidate));
        };
        let Some(value) = after_name.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            // A token that no `=` follows is the scheme of the next challenge.
            return Some((scheme, parameters, candidate));
        };
        let Some((value, after_value)) = parameter_value(value.trim_start_matches([' ', '\t']))
        else {
            return Some((scheme, parameters, ""));
        };
        parameters.insert(name.to_ascii_lowercase(), value);
        rest = after_value;
    }
}

/// A token of RFC 9110 section 5.6.2 at the start of `text`, and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text
        .bytes()
        .position(|byte| !is_token(byte))
        .unwrap_or(text.len());
    if end == 0 {
        None
    } else {
        text.split_at_checked(end)
    }
}

/// A quoted string at the start of `text`, or whatever stands there up to a space or comma, and what follows it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_registries_use_are_read() {
        let quay = r#"Bearer realm="http://quay.example/v2/auth",service="quay.example",scope="repository:a/b:pull,push repository:c/d:pull""#;
        assert_eq!(
            Challenge::parse(quay),
            [Challenge::Bearer {
                realm: "http://quay.example/v2/auth".to_owned(),
                service: Some("quay.example".to_owned()),
                scope: Some("repository:a/b:pull,push repository:c/d:pull".to_owned()),
            }]
        );
        assert_eq!(
            Challenge::parse(r#"Basic realm="basic-realm""#),
            [Challenge::Basic]
        );
        assert_eq!(
            Challenge::parse(r#"Negotiate, bearer Realm = /v2/auth , basic realm="a \"b\", c""#),
            [
                Challenge::Bearer {
                    realm: "/v2/auth".to_owned(),
                    service: None,
                    scope: None
                },
                Challenge::Basic
            ]
        );
    }

    #[test]
    fn nonsense_is_no_challenge_and_does_not_loop() {
        for nonsense in [
            "",
            ",,,",
            "=",
            "Bearer",
            "Bearer realm=\"open",
            "Bearer scope=x",
            "\u{e9}",
            "Bearer realm=",
        ] {
            assert_eq!(Challenge::parse(nonsense), [], "{nonsense}");
        }
    }
}
