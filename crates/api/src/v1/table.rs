//! All operations of the API, and which of them a path means.

use std::sync::LazyLock;

use http::Method;

use crate::percent::{EncodingFault, decode};
use crate::v1::call::PathParameters;
use crate::v1::operation::Operation;
use crate::v1::{
    app_tokens, applications, logs, manifests, openapi, organizations, permissions, placement,
    prototypes, quotas, replication, repositories, robots, tags, teams, users, webhooks,
};

/// What every path of the API begins with.
pub(crate) const PREFIX: &str = "/api/v1";

/// The parameter that stands for two or more segments.
pub(crate) const REPOSITORY: &str = "repository";

/// The operations, in the order in which they are tried: of two that fit the same path the one with more words goes before.
static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let mut operations: Vec<Operation> = [
        openapi::operations(),
        replication::operations(),
        webhooks::operations(),
        users::operations(),
        organizations::operations(),
        teams::operations(),
        robots::operations(),
        app_tokens::operations(),
        applications::operations(),
        prototypes::operations(),
        quotas::operations(),
        repositories::operations(),
        permissions::operations(),
        tags::operations(),
        manifests::operations(),
        placement::operations(),
        logs::operations(),
    ]
    .into_iter()
    .flatten()
    .collect();
    operations.sort_by_key(|operation| std::cmp::Reverse(words(operation.path)));
    operations
});

fn words(path: &str) -> usize {
    path.split('/')
        .filter(|segment| !segment.is_empty() && !segment.starts_with('{'))
        .count()
}

/// All operations.
pub(crate) fn operations() -> &'static [Operation] {
    &OPERATIONS
}

/// What a method and a path mean.
#[derive(Debug)]
pub(crate) enum Found {
    /// This operation. Paths fit with and without a slash at the end; HEAD means GET.
    Operation(&'static Operation, PathParameters),
    /// The path is one, the method is not; these are.
    OtherMethods(String),
    /// The path is none.
    Nothing,
}

/// Finds the operation. `path` is what follows [`PREFIX`], still encoded. It is decoded before it is divided, as Quay does: many a client encodes the
/// slashes of repositories. Nothing is normalised, so that `..` is a name like others, which no grammar of names knows.
pub(crate) fn find(method: &Method, path: &str) -> Result<Found, EncodingFault> {
    let path = decode(path)?;
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut others: Vec<&str> = Vec::new();
    let mut template = None;
    for operation in operations() {
        // All methods of a path have the same template; behind it a less specific one does not count.
        if template.is_some_and(|template| template != operation.path) {
            continue;
        }
        let Some(parameters) = fit(operation.path, &segments) else {
            continue;
        };
        template = Some(operation.path);
        if operation.method == *method {
            return Ok(Found::Operation(operation, parameters));
        }
        others.push(operation.method.as_str());
        if operation.method == Method::GET {
            others.push("HEAD");
        }
    }
    if others.is_empty() {
        return Ok(Found::Nothing);
    }
    others.sort_unstable();
    Ok(Found::OtherMethods(others.join(", ")))
}

/// The parameters of the path, if the template fits it.
fn fit(template: &'static str, segments: &[&str]) -> Option<PathParameters> {
    let template: Vec<&'static str> = template.trim_matches('/').split('/').collect();
    let parameter = |segment: &'static str| segment.strip_prefix('{')?.strip_suffix('}');
    let repository = template
        .iter()
        .position(|segment| parameter(segment) == Some(REPOSITORY));
    // How many segments the repository has: what the others leave.
    let spare = match repository {
        Some(_) => (segments.len() + 1)
            .checked_sub(template.len())
            .filter(|spare| *spare >= 2)?,
        None => (segments.len() == template.len()).then_some(1)?,
    };
    let mut parameters = PathParameters::default();
    let mut rest = segments;
    for (position, part) in template.iter().enumerate() {
        let taken = if repository == Some(position) {
            spare
        } else {
            1
        };
        let (here, behind) = rest.split_at_checked(taken)?;
        rest = behind;
        match parameter(part) {
            Some(_) if here.contains(&"") => return None,
            Some(name) => parameters.push(name, &here.join("/")),
            None if here == [*part] => {}
            None => return None,
        }
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(template: &'static str, path: &str) -> Option<Vec<String>> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let names = template
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let parameters = fit(template, &segments)?;
        Some(names.map(|name| parameters.get(name).to_owned()).collect())
    }

    #[test]
    fn a_template_fits_its_paths_and_a_repository_takes_what_is_left() {
        let cases: [(&'static str, &str, Option<&[&str]>); 12] = [
            ("/user/", "/user", Some(&[])),
            ("/user/", "/user/", Some(&[])),
            ("/user/", "/users", None),
            ("/users/{name}", "/users/a b", Some(&["a b"])),
            ("/users/{name}", "/users/", None),
            (
                "/repository/{repository}",
                "/repository/a/b/c",
                Some(&["a/b/c"]),
            ),
            ("/repository/{repository}", "/repository/a", None),
            ("/repository/{repository}", "/repository/a//c", None),
            (
                "/repository/{repository}/tag/{tag}",
                "/repository/a/b/c/tag/v1",
                Some(&["a/b/c", "v1"]),
            ),
            (
                "/repository/{repository}/tag/{tag}",
                "/repository/a/tag/v1",
                None,
            ),
            ("/repository", "/repository/", Some(&[])),
            ("/x/{a}/y/{b}", "/x/1/z/2", None),
        ];
        for (template, path, expected) in cases {
            let expected = expected.map(|values| {
                values
                    .iter()
                    .map(|value| (*value).to_owned())
                    .collect::<Vec<_>>()
            });
            assert_eq!(fits(template, path), expected, "{template} {path}");
        }
    }

    #[test]
    fn encoded_slashes_of_repositories_divide_like_others() {
        let found = find(&Method::GET, "/replication/at-risk/us%2Deast").unwrap();
        assert!(matches!(found, Found::Operation(operation, parameters)
                if operation.id == "getReplicationAtRisk" && parameters.get("location") == "us-east"));
        assert!(matches!(
            find(&Method::DELETE, "/replication").unwrap(),
            Found::OtherMethods(methods) if methods == "GET, HEAD"
        ));
        assert!(matches!(
            find(&Method::GET, "/nothing").unwrap(),
            Found::Nothing
        ));
        assert!(find(&Method::GET, "/replication/at-risk/%zz").is_err());
    }

    #[test]
    fn nobody_looks_again_at_rights_for_content_quotas_and_replication_and_for_nothing_else() {
        for operation in operations()
            .iter()
            .filter(|operation| operation.method != Method::GET)
        {
            let changes_none = [
                "/tag/",
                "/manifest/",
                "/quota",
                "/placement",
                "/replication/",
            ]
            .iter()
            .any(|subject| operation.path.contains(subject));
            assert_eq!(operation.changes_rights, !changes_none, "{operation:?}");
        }
    }

    #[test]
    fn names_are_unique_and_parameters_are_those_of_the_path() {
        let mut ids: Vec<&str> = operations().iter().map(|operation| operation.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "every operation has its own name");
        for operation in operations() {
            assert!(!operation.summary.is_empty(), "{operation:?} is described");
            let about = match operation.about {
                crate::v1::operation::About::Registry | crate::v1::operation::About::Document => {
                    None
                }
                crate::v1::operation::About::Namespace(name)
                | crate::v1::operation::About::Repository(name) => Some(name),
            };
            if let Some(name) = about {
                assert!(
                    operation
                        .path_parameters()
                        .any(|parameter| parameter == name),
                    "{operation:?} names {name}"
                );
            }
        }
    }
}
