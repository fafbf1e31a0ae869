//! `/api/v1/`: what owners, administrators and operators look at and change, at Quay's addresses where Quay has them. One file for each subject.
//!
//! Everything an operation is stands in one value, [`operation::Operation`], in the file of its subject; [`table`] is all of them, and the OpenAPI document is
//! made of it. A call is answered in these steps, here and nowhere else: the path finds the operation; the caller is found out; the caller meets the
//! operation's need or not (`auth` decides); the handler calls one method of `management`, `distribution` or `replication`.
//!
//! A caller signs in with a name and a password (Basic), or with an OAuth access token (Bearer, or Basic as `$oauthtoken`). Tokens of `/v2/auth` are for
//! pushing and pulling and open nothing here. There are no cookies and no sessions, so a foreign page can send nothing in somebody's name; calls that
//! browsers mark as coming from other sites are refused besides.

mod app_tokens;
mod applications;
pub(crate) mod call;
mod logs;
mod manifests;
mod openapi;
pub(crate) mod operation;
mod organizations;
mod permissions;
mod placement;
mod prototypes;
mod quotas;
mod replication;
mod repositories;
mod robots;
mod standing;
mod table;
mod tags;
mod teams;
mod users;
mod webhooks;

use http::header::ORIGIN;
use http::{HeaderMap, Response};
use roadstead_auth::{Credentials, Identity, Need, Secret, Subject};
use roadstead_distribution::Refusal;

use crate::authorization::{Presentation, credentials};
use crate::body::Body;
use crate::error::ApiError;
use crate::links::is_own_origin;
use crate::metrics::Proof;
use crate::request_body::RequestBody;
use crate::route::{PathPart, RouteError};
use crate::service::{Head, Inner};
use crate::v1::call::Call;
use crate::v1::operation::About;
use crate::v1::table::Found;

pub(crate) use table::PREFIX;
#[cfg(test)]
pub(crate) use table::operations;

/// The name that stands for an OAuth access token in Basic credentials.
const OAUTH_TOKEN: &str = "$oauthtoken";

/// Answers a call. `path` is what follows [`PREFIX`].
pub(crate) async fn answer(
    inner: &Inner,
    head: &Head,
    body: RequestBody,
    path: &str,
) -> Result<Response<Body>, ApiError> {
    let found = table::find(&head.method, path).map_err(|fault| RouteError::Encoding {
        part: PathPart::Path,
        fault,
    })?;
    let (operation, path) = match found {
        Found::Operation(operation, path) => (operation, path),
        Found::OtherMethods(allowed) => {
            return Err(ApiError::Method {
                allowed: allowed.into(),
            });
        }
        Found::Nothing => return Err(RouteError::NotFound.into()),
    };
    if !path.are_sane() {
        return Err(RouteError::NotFound.into());
    }
    if !head.is_read() && !operation.while_read_only && inner.registry.only_reads() {
        return Err(ApiError::Refused(Refusal::RegistryReadOnly));
    }
    if !head.is_read() && is_foreign(inner, head) {
        return Err(ApiError::ForeignSite);
    }
    let identity = identify(inner, head).await?;
    let repository = match operation.about {
        About::Repository(name) => Some(path.repository(name).ok_or(RouteError::NotFound)?),
        About::Registry | About::Namespace(_) | About::Document => None,
    };
    let subject = match (operation.about, &repository) {
        (About::Namespace(name), _) => Subject::Namespace(path.get(name)),
        (_, Some(repository)) => Subject::Repository(repository),
        _ => Subject::Registry,
    };
    let need = match operation.about {
        About::Document if identity == Identity::Anonymous => return Err(ApiError::SignIn),
        About::Document => Need::Nothing,
        About::Registry | About::Namespace(_) | About::Repository(_) => operation.need,
    };
    let grounds = inner.authenticator.permit(&identity, need, subject).await?;
    let call = Call {
        head,
        operation,
        identity,
        grounds,
        path,
        query: head.query()?,
        body: Some(body),
    };
    call.check_query()?;
    let answer = (operation.handler)(inner, call).await?;
    if !head.is_read() && operation.changes_rights {
        inner.rights_changed();
    }
    Ok(answer)
}

/// Finds out who calls.
pub(crate) async fn identify(inner: &Inner, head: &Head) -> Result<Identity, ApiError> {
    let presented = match credentials(&head.headers) {
        Ok(Presentation::Nothing) => return Ok(Identity::Anonymous),
        Ok(Presentation::Password(credentials)) => credentials,
        // A registry's token has two dots, an OAuth token none.
        Ok(Presentation::Token(token)) if !token.contains('.') => Credentials {
            username: OAUTH_TOKEN.to_owned(),
            password: Secret::new(token),
        },
        Ok(Presentation::Token(_)) | Err(_) => return Err(ApiError::UnusableCredentials),
    };
    let identity = inner.authenticator.authenticate(presented).await;
    let accepted = match &identity {
        Ok(_) => Some(true),
        Err(error) => error.is_refusal().then_some(false),
    };
    inner.counters.note_login(Proof::Password, accepted);
    let identity = identity?;
    if let Some(username) = identity.username() {
        inner.note_user(head, username)?;
    }
    Ok(identity)
}

/// Whether a browser says that another site's page sends the request.
fn is_foreign(inner: &Inner, head: &Head) -> bool {
    let text = |headers: &HeaderMap, name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let by_fetch = text(&head.headers, "sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none");
    let by_origin = text(&head.headers, ORIGIN.as_str()).is_some_and(|origin| {
        !is_own_origin(&origin, inner.options.external_url.as_ref(), &head.headers)
    });
    by_fetch || by_origin
}
