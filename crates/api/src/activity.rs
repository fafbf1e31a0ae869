//! What happens here that others want to hear of at once: other instances, and the browsers of those who do it.

use std::fmt::Debug;

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

/// The event of a token: that it is asked for, and for what first.
pub(crate) fn of_token(scopes: &[&str]) -> (&'static str, Option<RepositoryPath>) {
    const LOGIN: (&str, Option<RepositoryPath>) = ("login", None);
    // A scope names each of several things; only one of a repository is of interest: `repository:NAMESPACE/NAME:ACTIONS`.
    let first = scopes.iter().flat_map(|scope| scope.split(' ')).next();
    let Some(rest) = first.and_then(|scope| scope.strip_prefix("repository:")) else {
        return LOGIN;
    };
    let Some((place, actions)) = rest.rsplit_once(':') else {
        return LOGIN;
    };
    let Some((namespace, name)) = place.split_once('/') else {
        return LOGIN;
    };
    let asks_for = |action: &str| actions.split(',').any(|asked| asked == action);
    let action = if asks_for("push") || asks_for("*") {
        "push_start"
    } else if asks_for("pull") {
        "pull_start"
    } else {
        "login"
    };
    let path = RepositoryPath {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
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
            (&["repository:acme/team/app:"], ("login", app())),
            (&["registry:catalog:*"], ("login", None)),
            (&["repository:app:pull"], ("login", None)),
            (&["repository"], ("login", None)),
            (&["repository::"], ("login", None)),
        ] {
            assert_eq!(of_token(scopes), event, "{scopes:?}");
        }
    }
}
