//! The `Authorization` header: learnt from a challenge, kept per scope, learnt anew when the registry refuses it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use roadstead_oci::RepositoryName;
use serde::Deserialize;

use crate::challenge::Challenge;
use crate::exchange::{RequestBody, describe};
use crate::link::{resolve, same_server, with_parameter};
use crate::{Answer, Client, ClientError};

/// The most tokens kept. Beyond it all are forgotten, which costs one request per scope that is used again.
const TOKENS_MAX: usize = 1024;

/// The largest answer of a token service that is read: Quay's tokens of a few scopes are 2 KiB.
const TOKEN_BYTES_MAX: usize = 256 * 1024;

/// What a request needs to be allowed to do, in the words of the token flow; the key under which a token is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope(String);

impl Scope {
    /// Only to be known.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }

    /// The scope as a token service would be asked for it; several are separated by spaces.
    pub(crate) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn pull(repository: &RepositoryName) -> Self {
        Self(format!("repository:{repository}:pull"))
    }

    pub(crate) fn push(repository: &RepositoryName) -> Self {
        Self(format!("repository:{repository}:pull,push"))
    }

    /// Token services disagree on the name of the right to delete; all know the one to everything.
    pub(crate) fn delete(repository: &RepositoryName) -> Self {
        Self(format!("repository:{repository}:*"))
    }

    pub(crate) fn mount(target: &RepositoryName, source: &RepositoryName) -> Self {
        Self(format!(
            "repository:{target}:pull,push repository:{source}:pull"
        ))
    }
}

/// The headers that have been learnt so far.
#[derive(Debug, Default)]
pub(crate) struct Authorizations(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The registry wants user name and password each time.
    basic: Option<HeaderValue>,
    tokens: HashMap<Scope, HeaderValue>,
}

impl Authorizations {
    fn get(&self, scope: &Scope) -> Option<HeaderValue> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.tokens.get(scope).or(known.basic.as_ref()).cloned()
    }

    fn keep_basic(&self, header: &HeaderValue) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).basic = Some(header.clone());
    }

    fn keep_token(&self, scope: Scope, header: HeaderValue) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.tokens.len() >= TOKENS_MAX {
            known.tokens.clear();
        }
        known.tokens.insert(scope, header);
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl Client {
    /// Sends a request, and once more with credentials if the registry asks for them.
    pub(crate) async fn send_authorized(
        &self,
        request: Request<RequestBody>,
        scope: &Scope,
    ) -> Result<Answer, ClientError> {
        let (parts, body) = request.into_parts();
        let ours = same_server(&parts.uri, self.base());
        let again = body.again();
        if ours && again.is_none() && self.authorizations().get(scope).is_none() {
            // A body that can be sent only once has to find its token in place.
            Box::pin(self.authorize_ahead(scope)).await?;
        }
        let mut first = parts.clone();
        if ours && let Some(header) = self.authorizations().get(scope) {
            first.headers.insert(AUTHORIZATION, header);
        }
        let answer = Box::pin(self.send(Request::from_parts(first, body))).await?;
        if answer.status != StatusCode::UNAUTHORIZED || !ours {
            return Ok(answer);
        }
        let Some(body) = again else { return Ok(answer) };
        let Some(header) = self
            .meet_challenge(&answer.headers, &answer.uri, scope)
            .await?
        else {
            return Ok(answer);
        };
        drop(answer);
        let mut second = parts;
        second.headers.insert(AUTHORIZATION, header);
        Box::pin(self.send(Request::from_parts(second, body))).await
    }

    /// Learns the header for `scope` from the challenge of the base endpoint.
    async fn authorize_ahead(&self, scope: &Scope) -> Result<(), ClientError> {
        let mut request = Request::new(RequestBody::empty());
        *request.uri_mut() = self.uri("/v2/");
        let answer = Box::pin(self.send(request)).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.meet_challenge(&answer.headers, &answer.uri, scope)
                .await?;
        }
        Ok(())
    }

    /// The header that answers a challenge; it is kept. `None` if there is nothing that this client could answer.
    async fn meet_challenge(
        &self,
        headers: &HeaderMap,
        base: &Uri,
        scope: &Scope,
    ) -> Result<Option<HeaderValue>, ClientError> {
        let challenges: Vec<Challenge> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(Challenge::parse)
            .collect();
        let bearer = challenges
            .iter()
            .find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        match bearer.or(challenges.first()) {
            Some(Challenge::Bearer {
                realm,
                service,
                scope: asked,
            }) => {
                let address = resolve(base, realm).ok_or_else(|| ClientError::Protocol {
                    request: describe(&Method::GET, base),
                    reason: "the realm of its challenge is not an address".to_owned(),
                })?;
                let asked = asked.as_deref().unwrap_or(&scope.0);
                let header = self.fetch_token(address, service.as_deref(), asked).await?;
                self.authorizations()
                    .keep_token(scope.clone(), header.clone());
                Ok(Some(header))
            }
            Some(Challenge::Basic) => Ok(self.credentials().map(|credentials| {
                let header = credentials.basic();
                self.authorizations().keep_basic(&header);
                header
            })),
            None => Ok(None),
        }
    }

    /// Asks a token service. Without credentials it is asked for an anonymous token.
    async fn fetch_token(
        &self,
        address: Uri,
        service: Option<&str>,
        scopes: &str,
    ) -> Result<HeaderValue, ClientError> {
        let mut uri = address;
        if let Some(service) = service {
            uri = with_parameter(&uri, "service", service);
        }
        for scope in scopes.split_ascii_whitespace() {
            uri = with_parameter(&uri, "scope", scope);
        }
        let mut request = Request::new(RequestBody::empty());
        if let Some(credentials) = self.credentials() {
            request
                .headers_mut()
                .insert(AUTHORIZATION, credentials.basic());
        }
        let described = describe(&Method::GET, &uri);
        *request.uri_mut() = uri;
        let answer = Box::pin(self.send(request))
            .await?
            .expect([StatusCode::OK])
            .await?;
        let body = answer.bytes(TOKEN_BYTES_MAX).await?;
        let token = serde_json::from_slice::<TokenAnswer>(&body)
            .ok()
            .and_then(|answer| answer.token.or(answer.access_token))
            .filter(|token| !token.is_empty())
            .and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let Some(mut header) = token else {
            return Err(ClientError::Protocol {
                request: described,
                reason: "it has no token".to_owned(),
            });
        };
        header.set_sensitive(true);
        Ok(header)
    }
}
