//! The query part of a URL. What a parameter means is the endpoint's business.

use std::borrow::Cow;

use crate::percent::{EncodingFault, decode};

/// The most parameters of a query. The longest honest one is a push of one manifest under many tags.
const PARAMETERS_MAX: usize = 128;

/// Why a query cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// There are more parameters than are looked at.
    #[error("the query has more than {PARAMETERS_MAX} parameters")]
    TooMany,
    /// A value is wrongly encoded.
    #[error("the query parameter `{name}` cannot be read: {fault}")]
    Encoding {
        /// The parameter.
        name: &'static str,
        /// What is wrong with it.
        fault: EncodingFault,
    },
}

/// The parameters, still encoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Query<'a> {
    /// Divides the query. A parameter without `=` has an empty value. Values are decoded when they are asked for, so that a
    /// parameter that nobody asks for cannot fail a request.
    pub(crate) fn parse(query: Option<&'a str>) -> Result<Self, QueryError> {
        let text = query.unwrap_or_default();
        let parameters: Vec<_> = text
            .split('&')
            .filter(|parameter| !parameter.is_empty())
            .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
            .take(PARAMETERS_MAX + 1)
            .collect();
        if parameters.len() > PARAMETERS_MAX {
            return Err(QueryError::TooMany);
        }
        Ok(Self(parameters))
    }

    /// The first value of a parameter. A `+` is a plus, as in media types: no value that is asked for this way has spaces.
    pub(crate) fn get(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, QueryError> {
        self.values(name).next().transpose()
    }

    /// All values of a parameter, in their order; `+` as in [`Query::get`].
    pub(crate) fn values(
        &self,
        name: &'static str,
    ) -> impl Iterator<Item = Result<Cow<'a, str>, QueryError>> {
        self.raw(name)
            .map(move |value| text(value).map_err(|fault| QueryError::Encoding { name, fault }))
    }

    /// All values of a parameter in which a `+` stands for a space, as HTML forms write them.
    pub(crate) fn form_values(
        &self,
        name: &'static str,
    ) -> impl Iterator<Item = Result<String, QueryError>> {
        self.raw(name).map(move |value| {
            let value = value.replace('+', " ");
            text(&value)
                .map(Cow::into_owned)
                .map_err(|fault| QueryError::Encoding { name, fault })
        })
    }

    fn raw(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| *key == name)
            .map(|(_, value)| *value)
    }
}

/// A value, decoded.
fn text(value: &str) -> Result<Cow<'_, str>, EncodingFault> {
    decode(value).and_then(|value| {
        if value.contains('\0') {
            Err(EncodingFault::Nul)
        } else {
            Ok(value)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_and_decoded_when_asked_for() {
        let query = Query::parse(Some(
            "tag=a&tag=b%2Ec&&artifactType=application/x+json&scope=one+two&flag&bad=%zz",
        ))
        .expect("a good query");
        let tags: Vec<_> = query
            .values("tag")
            .map(|tag| tag.expect("a good value"))
            .collect();
        assert_eq!(tags, ["a", "b.c"]);
        assert_eq!(
            query.get("artifactType"),
            Ok(Some("application/x+json".into()))
        );
        let scopes: Vec<_> = query.form_values("scope").collect();
        assert_eq!(scopes, [Ok("one two".to_owned())]);
        assert_eq!(query.get("flag"), Ok(Some("".into())));
        assert_eq!(query.get("missing"), Ok(None));
        assert!(matches!(
            query.get("bad"),
            Err(QueryError::Encoding { name: "bad", .. })
        ));
    }

    #[test]
    fn the_number_of_parameters_is_bounded() {
        let many = "n=1&".repeat(PARAMETERS_MAX);
        assert!(Query::parse(Some(&many)).is_ok());
        assert_eq!(
            Query::parse(Some(&format!("{many}n=1"))).err(),
            Some(QueryError::TooMany)
        );
    }
}
