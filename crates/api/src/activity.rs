//! What happens here that others want to hear of at once: other instances, and the browsers of those who do it.

use std::fmt::Debug;

use roadstead_auth::{Action, RequestedScope};
use roadstead_metadata::RepositoryPath;

/// Is told what happens here. It must not wait for anything.
pub trait ActivityListener: Debug + Send + Sync {
    /// Accounts, permissions or repositories may have changed. The changes are in the database already.
    fn rights_changed(&self);

    /// A client does something for a user, as Quay tells it under `docker-cli`.
    fn client_event(&self, username: &str, event: &ClientEvent<'_>);
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientEvent<'a> {
    /// Quay's word for it: `login`, `push_start`, `pull_start`, `push_repo` or `pull_repo`.
    pub action: &'static str,
    /// Where, if anywhere.
    pub repository: Option<&'a RepositoryPath>,
}

/// The event of a token: that it is asked for, and for what first. `hostname` is the registry's own name, which may stand before a repository's.
pub(crate) fn of_token(scopes: &[&str], hostname: &str) -> (&'static str, Option<RepositoryPath>) {
    const LOGIN: (&str, Option<RepositoryPath>) = ("login", None);
    // A parameter names each of several things; only a repository is of interest.
    let first = scopes.iter().flat_map(|scope| scope.split(' ')).next();
    let Some(Ok(RequestedScope::Repository { name, actions })) =
        first.map(|scope| RequestedScope::parse(scope, hostname))
    else {
        return LOGIN;
    };
    let Some(namespace) = name.namespace() else {
        return LOGIN;
    };
    let action = if actions.contains(&Action::Push) || actions.contains(&Action::Admin) {
        "push_start"
    } else if actions.contains(&Action::Pull) {
        "pull_start"
    } else {
        "login"
    };
    let path = RepositoryPath {
        namespace: namespace.to_owned(),
        name: name.rest().to_owned(),
    };
    (action, Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_scope_says_what_a_token_is_for() {
        let app = || {
            Some(RepositoryPath {
                namespace: "acme".to_owned(),
                name: "team/app".to_owned(),
            })
        };
        for (scopes, event) in [
            (&[][..], ("login", None)),
            (
                &["repository:acme/team/app:pull,push"],
                ("push_start", app()),
            ),
            (
                &["repository:acme/team/app:pull repository:acme/other:push"],
                ("pull_start", app()),
            ),
            (
                &["repository:registry.example:5000/acme/team/app:pull"],
                ("pull_start", app()),
            ),
            (&["repository:acme/team/app:*"], ("push_start", app())),
            (&["repository:acme/team/app:"], ("login", app())),
            (&["registry:catalog:*"], ("login", None)),
            (&["repository:app:pull"], ("login", None)),
            (&["repository"], ("login", None)),
            (&["repository::"], ("login", None)),
        ] {
            let of_token = of_token(scopes, "registry.example:5000");
            assert_eq!(of_token, event, "{scopes:?}");
        }
    }
}
