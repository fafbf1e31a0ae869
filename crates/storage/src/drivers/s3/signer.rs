//! Who signs the requests that the operator has no call for: the same credentials, found in the same places and in the same order.

use http::Request;
use http::header::HOST;
use opendal::Buffer;
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner,
    StaticCredentialProvider,
};
use reqsign_core::{Context, ErrorKind, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;
use roadstead_secrets::Secret;

use super::{ROLE_SESSION, S3Credentials, S3Options, region};
use crate::error::{Refusal, StorageErrorKind};
use crate::http::HttpClient;

/// Signs requests, and keeps credentials as long as they live.
#[derive(Debug)]
pub(super) struct BucketSigner(Signer<Credential>);

impl BucketSigner {
    /// Nothing is looked up before the first request.
    pub(super) fn new(s3: &S3Options, http: &HttpClient) -> Self {
        let region = region(s3);
        let context = Context::new()
            .with_file_read(TokioFileRead)
            .with_env(OsEnv)
            .with_http_send(http.transport());
        let machine =
            || ProvideCredentialChain::new().push(DefaultCredentialProvider::builder().build());
        let keys = |access_key: &Secret, secret_key: &Secret| {
            StaticCredentialProvider::new(access_key.expose(), secret_key.expose())
        };
        let provider = match &s3.credentials {
            S3Credentials::Keys {
                access_key,
                secret_key,
                session_token,
            } => {
                let keys = keys(access_key, secret_key);
                // The machine's own credentials must not stand in for the configured ones.
                ProvideCredentialChain::new().push(match session_token {
                    Some(token) => keys.with_session_token(token.expose()),
                    None => keys,
                })
            }
            S3Credentials::Machine => machine(),
            S3Credentials::Role {
                role_arn,
                keys: with,
            } => {
                let own = match with {
                    Some((access_key, secret_key)) => {
                        machine().push_front(keys(access_key, secret_key))
                    }
                    None => machine(),
                };
                let own = Signer::new(context.clone(), own, RequestSigner::new("sts", region));
                let role = AssumeRoleCredentialProvider::new(role_arn.clone(), own)
                    .with_region(region.to_owned())
                    .with_regional_sts_endpoint()
                    .with_role_session_name(ROLE_SESSION.to_owned());
                ProvideCredentialChain::new().push(role)
            }
        };
        Self(Signer::new(
            context,
            provider,
            RequestSigner::new("s3", region),
        ))
    }

    pub(super) async fn sign(
        &self,
        request: Request<Buffer>,
    ) -> Result<Request<Buffer>, opendal::Error> {
        let (mut head, body) = request.into_parts();
        let signed = self.0.sign(&mut head, None).await;
        signed.map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::CredentialInvalid | ErrorKind::PermissionDenied => {
                    StorageErrorKind::Denied
                }
                ErrorKind::ConfigInvalid => StorageErrorKind::Misconfigured,
                ErrorKind::RateLimited => StorageErrorKind::Throttled,
                _ if error.is_retryable() => StorageErrorKind::Unavailable,
                _ => StorageErrorKind::Unexpected,
            };
            // Its causes may repeat what it was given.
            let message = format!("the request could not be signed: {:?}", error.kind());
            opendal::Error::from(Refusal { kind, message })
        })?;
        // The client writes it by itself.
        head.headers.remove(HOST);
        Ok(Request::from_parts(head, body))
    }
}
