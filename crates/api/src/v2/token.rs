//! `/v2/auth`: tokens for names and passwords, and for nobody in particular.
//!
//! GET is Quay's form, which is that of Docker's token specification. POST is the OAuth2 form of the same, for passwords only: this
//! registry gives out no refresh tokens. The answer of both has the members of both.

use std::borrow::Cow;

use http::{Method, Response, StatusCode};
use roadstead_auth::{Credentials, Secret, TokenRequest};
use serde::Serialize;

use crate::activity::{self, ClientEvent};
use crate::authorization::{Presentation, credentials};
use crate::body::Body;
use crate::error::ApiError;
use crate::query::Query;
use crate::request_body::RequestBody;
use crate::response::json_response;
use crate::service::{Head, Inner};

/// The most bytes of a form: the longest name and password and as many scopes as are read, all percent-encoded.
const FORM_BYTES_MAX: usize = 128 << 10;

#[derive(Serialize)]
struct Answer<'a> {
    token: &'a str,
    access_token: &'a str,
    expires_in: u64,
    issued_at: String,
}

pub(crate) async fn answer(
    inner: &Inner,
    head: &Head,
    body: RequestBody,
) -> Result<Response<Body>, ApiError> {
    let form = match head.method {
        Method::GET | Method::HEAD => None,
        Method::POST => {
            let (idle, clock) = (inner.options.body_idle_timeout, &*inner.environment.clock);
            let form = body.collect(FORM_BYTES_MAX, idle, clock).await?;
            Some(String::from_utf8(form.to_vec()).map_err(|_| malformed("it is not text"))?)
        }
        _ => {
            return Err(ApiError::Method {
                allowed: "GET, HEAD, POST".into(),
            });
        }
    };
    let query = match &form {
        Some(form) => Query::parse(Some(form))?,
        None => head.query()?,
    };
    let presented = match credentials(&head.headers) {
        Ok(Presentation::Password(credentials)) => Some(credentials),
        Ok(Presentation::Nothing) if form.is_some() => form_credentials(&query)?,
        Ok(Presentation::Nothing) => None,
        Ok(Presentation::Token(_)) | Err(_) => return Err(malformed("use a name and a password")),
    };
    let scopes = query.form_values("scope").collect::<Result<Vec<_>, _>>()?;
    let service = query.get("service")?.filter(|service| !service.is_empty());
    let issued = inner
        .issue(TokenRequest {
            credentials: presented,
            scopes: scopes.iter().map(String::as_str).collect(),
            service: service.as_ref().map(Cow::as_ref),
        })
        .await?;
    // What was sent may be an address for e-mail, or stand for a token: the account is counted and told of.
    if let Some(username) = &issued.username {
        inner.note_user(head, username)?;
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let hostname = &inner.authenticator.options().hostname;
        let (action, repository) = activity::of_token(&scopes, hostname);
        let event = ClientEvent {
            action,
            repository: repository.as_ref(),
        };
        inner.client_event(Some(username), event);
    }
    inner.counters.note_token();
    let token = &issued.token;
    let answer = Answer {
        token: token.value.expose(),
        access_token: token.value.expose(),
        expires_in: token.life.as_secs(),
        issued_at: token
            .issued
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
    };
    Ok(json_response(StatusCode::OK, &answer))
}

/// The name and the password of the OAuth2 form (RFC 6749, section 4.3).
fn form_credentials(query: &Query<'_>) -> Result<Option<Credentials>, ApiError> {
    let field = |name| query.form_values(name).next().transpose();
    match field("grant_type")?.as_deref() {
        None | Some("password") => {}
        Some(_) => return Err(malformed("`grant_type` has to be `password`")),
    }
    match (field("username")?, field("password")?) {
        (Some(username), Some(password)) => Ok(Some(Credentials {
            username,
            password: Secret::new(password),
        })),
        (None, None) => Ok(None),
        _ => Err(malformed("`username` and `password` belong together")),
    }
}

const fn malformed(reason: &'static str) -> ApiError {
    ApiError::TokenForm { reason }
}
