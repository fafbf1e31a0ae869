//! Who sends a request and whether they may do what it asks: `Authorization` is read here, the decision is `auth`'s.
//!
//! Requests carry a token from `/v2/auth`, or nothing, or a name and a password. The last goes through the token endpoint's own
//! steps and the token that comes out of them, so that there is one way in.
//!
//! What a refusal is answered with:
//!
//! | the client sent | not enough | |
//! |---|---|---|
//! | nothing | 401 | with the scope that a token needs |
//! | a token | 401 | the same: clients keep tokens and learn by it that they have to fetch one that reaches further |
//! | a password | 403 | it was right, and a token would get no more |
//!
//! Whether a repository exists is told only to those who may read it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use roadstead_auth::{
    Access, Action, Credentials, IssuedToken, Secret, TokenError, TokenRefusal, TokenRequest,
};
use roadstead_distribution::Asked;
use roadstead_metadata::Repository;
use roadstead_oci::RepositoryName;
use tracing::Instrument as _;

use crate::error::ApiError;
use crate::links::token_url;
use crate::metrics::Proof;
use crate::service::{Head, Inner};

/// The most bytes of a name and a password together: auth's own limits, with a colon between.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// How a client has said who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presented {
    Nothing,
    Token,
    Password,
}

/// Who sends a request, and how far that reaches.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) access: Access,
    pub(crate) presented: Presented,
}

/// A repository that may be used, by a caller who may.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    pub(crate) repository: Repository,
}

impl Admitted {
    fn to(
        name: &RepositoryName,
        caller: Caller,
        found: Option<Repository>,
    ) -> Result<Self, ApiError> {
        match found {
            Some(repository) => Ok(Self { caller, repository }),
            None => Err(ApiError::NameUnknown { name: name.clone() }),
        }
    }
}

/// What a request wants to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants<'a> {
    /// The repository that it names.
    pub(crate) name: &'a RepositoryName,
    pub(crate) action: Action,
    /// Another repository that it wants to read: a blob is to be mounted from there.
    pub(crate) reading: Option<&'a RepositoryName>,
}

impl<'a> Wants<'a> {
    /// Wants one thing in one repository.
    pub(crate) const fn to(action: Action, name: &'a RepositoryName) -> Self {
        Self {
            name,
            action,
            reading: None,
        }
    }

    /// The scopes to fetch a token with. Pushing includes pulling for clients, which look first whether a blob is there. Deleting is
    /// pushing in tokens that Quay takes, too.
    fn scopes(self) -> Vec<String> {
        let actions = match self.action {
            Action::Pull => "pull",
            Action::Push | Action::Delete => "pull,push",
            Action::Admin => "*",
        };
        let first = format!("repository:{}:{actions}", self.name);
        let second = self.reading.map(|name| format!("repository:{name}:pull"));
        std::iter::once(first).chain(second).collect()
    }
}

/// The scope of the list of repositories, as Docker's registry names it.
pub(crate) const CATALOG_SCOPE: &str = "registry:catalog:*";

impl Inner {
    /// Finds out who sends the request. `scopes` are what the request is about, for those who send a password; with push in them, a
    /// repository that they may make is made.
    pub(crate) async fn caller(&self, head: &Head, scopes: &[String]) -> Result<Caller, ApiError> {
        let span = tracing::debug_span!("authenticate");
        self.find_caller(head, scopes).instrument(span).await
    }

    async fn find_caller(&self, head: &Head, scopes: &[String]) -> Result<Caller, ApiError> {
        let (access, presented) = match credentials(&head.headers) {
            Ok(Presentation::Nothing) => (Access::anonymous(), Presented::Nothing),
            Ok(Presentation::Token(token)) => {
                let access = self.check_token(token, head, scopes).await?;
                (access, Presented::Token)
            }
            Ok(Presentation::Password(credentials)) => (
                self.sign_in(credentials, head, scopes).await?,
                Presented::Password,
            ),
            Err(Unreadable) => {
                return Err(self.unauthorized(
                    head,
                    scopes,
                    Some("invalid_token"),
                    "Invalid bearer token format",
                ));
            }
        };
        if let Some(username) = access.username() {
            self.note_user(head, username)?;
        }
        Ok(Caller { access, presented })
    }

    /// Lets a request into a repository, if its sender may do what is wanted there. What is wanted elsewhere besides is only named in
    /// the challenge; see [`Inner::readable`].
    pub(crate) async fn admit(&self, head: &Head, wants: Wants<'_>) -> Result<Admitted, ApiError> {
        let (caller, found) = self.admit_missing(head, wants).await?;
        Admitted::to(wants.name, caller, found)
    }

    /// As [`Inner::admit`] to pull, and what spares further questions about what is in the repository.
    pub(crate) async fn admit_to_read(
        &self,
        head: &Head,
        name: &RepositoryName,
    ) -> Result<(Admitted, Asked), ApiError> {
        let wants = Wants::to(Action::Pull, name);
        let caller = self.caller(head, &wants.scopes()).await?;
        let (found, asked) = self.registry.find_repository_to_read(name).await?;
        self.require(head, wants, &caller, found.as_ref()).await?;
        Ok((Admitted::to(name, caller, found)?, asked))
    }

    /// As [`Inner::admit`], for requests that have an answer where there is no repository.
    pub(crate) async fn admit_missing(
        &self,
        head: &Head,
        wants: Wants<'_>,
    ) -> Result<(Caller, Option<Repository>), ApiError> {
        let caller = self.caller(head, &wants.scopes()).await?;
        let found = self.registry.find_repository(wants.name).await?;
        self.require(head, wants, &caller, found.as_ref()).await?;
        Ok((caller, found))
    }

    async fn require(
        &self,
        head: &Head,
        wants: Wants<'_>,
        caller: &Caller,
        found: Option<&Repository>,
    ) -> Result<(), ApiError> {
        let may = self
            .authenticator
            .may(&caller.access, wants.action, wants.name, found)
            .await
            .map_err(ApiError::Token)?;
        if may {
            Ok(())
        } else {
            Err(self.refuse(head, caller, wants.name, &wants.scopes()))
        }
    }

    /// The repository to mount from, if it is there and the caller may read it. `Err` when a token should be fetched that says so;
    /// a client that does not get one there either goes on with an upload, as with Docker's registry.
    pub(crate) async fn readable(
        &self,
        head: &Head,
        caller: &Caller,
        wants: Wants<'_>,
        name: &RepositoryName,
    ) -> Result<Option<Repository>, ApiError> {
        let found = self.registry.find_repository(name).await?;
        if self
            .authenticator
            .may(&caller.access, Action::Pull, name, found.as_ref())
            .await
            .map_err(ApiError::Token)?
        {
            return Ok(found);
        }
        match caller.presented {
            // The password says all there is to say.
            Presented::Password => Ok(None),
            Presented::Nothing | Presented::Token => {
                Err(self.refuse(head, caller, name, &wants.scopes()))
            }
        }
    }

    fn refuse(
        &self,
        head: &Head,
        caller: &Caller,
        name: &RepositoryName,
        scopes: &[String],
    ) -> ApiError {
        match caller.presented {
            Presented::Password => ApiError::Denied { name: name.clone() },
            Presented::Token => self.unauthorized(
                head,
                scopes,
                Some("insufficient_scope"),
                "access to the requested resource is not authorized",
            ),
            Presented::Nothing => self.unauthorized(head, scopes, None, "authentication required"),
        }
    }

    /// Checks a token that a client sent, and counts whether it was accepted.
    async fn check_token(
        &self,
        token: &str,
        head: &Head,
        scopes: &[String],
    ) -> Result<Access, ApiError> {
        let verified = self.authenticator.verify(token).await;
        self.counters.note_login(
            Proof::Token,
            match &verified {
                Ok(_) => Some(true),
                Err(TokenError::Busy | TokenError::Backend { .. }) => None,
                Err(_) => Some(false),
            },
        );
        verified.map_err(|error| self.refuse_token(error, head, scopes))
    }

    fn refuse_token(&self, error: TokenError, head: &Head, scopes: &[String]) -> ApiError {
        match error {
            TokenError::Busy | TokenError::Backend { .. } => ApiError::Token(error),
            _ => self.unauthorized(head, scopes, Some("invalid_token"), error.client_message()),
        }
    }

    /// Issues a token, and counts who was let in by a name and a password.
    pub(crate) async fn issue(
        &self,
        request: TokenRequest<'_>,
    ) -> Result<IssuedToken, TokenRefusal> {
        let by_password = request.credentials.is_some();
        let issued = self.authenticator.token(request).await;
        if by_password {
            let accepted = match &issued {
                Ok(_) => Some(true),
                Err(TokenRefusal::Login(error)) if error.is_refusal() => Some(false),
                Err(_) => None,
            };
            self.counters.note_login(Proof::Password, accepted);
        }
        issued
    }

    async fn sign_in(
        &self,
        credentials: Credentials,
        head: &Head,
        scopes: &[String],
    ) -> Result<Access, ApiError> {
        let request = TokenRequest {
            credentials: Some(credentials),
            scopes: scopes.iter().map(String::as_str).collect(),
            service: None,
        };
        let issued = self.issue(request).await.map_err(|refusal| match refusal {
            TokenRefusal::Login(error) if error.is_refusal() => {
                self.unauthorized(head, scopes, None, &error.client_message())
            }
            refusal => refusal.into(),
        })?;
        // Nobody has presented this one: the password has been counted.
        let verified = self.authenticator.verify(issued.token.value.expose()).await;
        verified.map_err(|error| self.refuse_token(error, head, scopes))
    }

    /// 401 with a challenge.
    pub(crate) fn unauthorized(
        &self,
        head: &Head,
        scopes: &[String],
        error: Option<&str>,
        message: &str,
    ) -> ApiError {
        ApiError::Unauthorized {
            challenge: self.challenge(head, scopes, error),
            message: message.to_owned(),
        }
    }

    /// The challenge of the token specification of Docker's registry. All scopes stand in one parameter, divided by spaces: clients
    /// read one only.
    fn challenge(&self, head: &Head, scopes: &[String], error: Option<&str>) -> HeaderValue {
        let external = self.options.external_url.as_ref();
        let realm = token_url(external, head.scheme, &head.uri, &head.headers);
        let service = &self.authenticator.options().hostname;
        let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
        if !scopes.is_empty() {
            challenge.push_str(",scope=\"");
            challenge.push_str(&scopes.join(" "));
            challenge.push('"');
        }
        if let Some(error) = error {
            challenge.push_str(",error=\"");
            challenge.push_str(error);
            challenge.push('"');
        }
        // A host name that the operator configured with a line feed in it is all that could fail here.
        HeaderValue::try_from(challenge).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

/// What `Authorization` holds.
#[derive(Debug)]
pub(crate) enum Presentation<'a> {
    Nothing,
    Token(&'a str),
    Password(Credentials),
}

/// `Authorization` holds something else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable;

/// Reads `Authorization`: RFC 6750 for tokens, RFC 7617 for passwords.
///
/// A name that is empty, with an empty password, is nobody: some clients send that to say so.
pub(crate) fn credentials(headers: &HeaderMap) -> Result<Presentation<'_>, Unreadable> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(Presentation::Nothing);
    };
    let (scheme, rest) = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(Unreadable)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        Ok(Presentation::Token(rest))
    } else if scheme.eq_ignore_ascii_case("basic") {
        password(rest)
    } else {
        Err(Unreadable)
    }
}

fn password(encoded: &str) -> Result<Presentation<'static>, Unreadable> {
    if encoded.len() > CREDENTIAL_BYTES_MAX {
        return Err(Unreadable);
    }
    let decoded = STANDARD
        .decode(encoded)
        .or_else(|_| STANDARD_NO_PAD.decode(encoded))
        .map_err(|_| Unreadable)?;
    let decoded = Secret::new(String::from_utf8(decoded).map_err(|_| Unreadable)?);
    // No name or password that the database knows has a NUL: its texts cannot hold one.
    if decoded.expose().contains('\0') {
        return Err(Unreadable);
    }
    match decoded.expose().split_once(':') {
        Some(("", "")) => Ok(Presentation::Nothing),
        Some((username, password)) => Ok(Presentation::Password(Credentials {
            username: username.to_owned(),
            password: Secret::new(password),
        })),
        None => Err(Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> String {
        let headers = HeaderMap::from_iter([(
            AUTHORIZATION,
            HeaderValue::from_bytes(value).expect("a header"),
        )]);
        match credentials(&headers) {
            Ok(Presentation::Nothing) => "nothing".to_owned(),
            Ok(Presentation::Token(token)) => format!("token {token}"),
            Ok(Presentation::Password(credentials)) => {
                format!("{} {}", credentials.username, credentials.password.expose())
            }
            Err(Unreadable) => "unreadable".to_owned(),
        }
    }

    #[test]
    fn tokens_and_passwords_are_read_and_everything_else_is_refused() {
        let basic = |text: &[u8]| format!("Basic {}", STANDARD.encode(text)).into_bytes();
        let cases: [(Vec<u8>, &str); 15] = [
            (b"Bearer a.b.c".to_vec(), "token a.b.c"),
            (b"bearer  a.b.c ".to_vec(), "token a.b.c"),
            (basic(b"admin:secret"), "admin secret"),
            (basic(b"admin:with:colons"), "admin with:colons"),
            (b"basic YTpi".to_vec(), "a b"),
            (b"Basic YWE6Yg".to_vec(), "aa b"),
            (basic(b":"), "nothing"),
            (basic(b"nocolon"), "unreadable"),
            (basic(b"a:\xff"), "unreadable"),
            (basic(b"a\0:b"), "unreadable"),
            (b"Basic ???".to_vec(), "unreadable"),
            (b"Bearer".to_vec(), "unreadable"),
            (b"Bearer  ".to_vec(), "unreadable"),
            (b"Digest a=b".to_vec(), "unreadable"),
            (b"Bearer \xff".to_vec(), "unreadable"),
        ];
        for (value, expected) in cases {
            assert_eq!(
                read(&value),
                expected,
                "{}",
                String::from_utf8_lossy(&value)
            );
        }
        let long = format!("Basic {}", STANDARD.encode([b'a'; CREDENTIAL_BYTES_MAX]));
        assert_eq!(read(long.as_bytes()), "unreadable");
        assert!(matches!(
            credentials(&HeaderMap::new()),
            Ok(Presentation::Nothing)
        ));
    }
}
