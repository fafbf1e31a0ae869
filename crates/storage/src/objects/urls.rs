//! URLs that clients read objects with: signed here or by the operator. Which CDN a request goes through and how it signs is `drivers`'.

use std::time::Duration;

use http::Method;
use opendal::Operator;

use super::ObjectStore;
use crate::drivers::UrlSigner;
use crate::drivers::cdn::Route;
use crate::error::{Failure, Operation, StorageError, StorageErrorKind};
use crate::object_key::ObjectKey;
use crate::signed_url::{SignedUrl, UrlMethod, UrlRequest};

/// How long a URL holds where the credentials behind it do not live as long as was asked, and new ones are not given out yet: those of an
/// instance's role are there five minutes before the old ones end. A client follows a redirect at once.
const HOLDS_AT_LEAST: Duration = Duration::from_mins(1);

impl ObjectStore {
    pub(crate) async fn signed_url(
        &self,
        key: &ObjectKey,
        request: &UrlRequest<'_>,
    ) -> Result<Option<SignedUrl>, StorageError> {
        match &self.urls {
            UrlSigner::Nobody => Ok(None),
            UrlSigner::Store { cross_origin } if request.cross_origin && !cross_origin => Ok(None),
            UrlSigner::Store { .. } => {
                let url = self.presign(self.calls.operator(), key, request).await?;
                Ok(Some(url))
            }
            UrlSigner::SharedAccess(access) => {
                let expires_at = request.expires_at();
                let url = access.url(&key.path(), "r", expires_at);
                Ok(Some(SignedUrl::new(url, expires_at)))
            }
            // As Quay has it: whether the account lets pages of other origins in is not known.
            UrlSigner::TempUrl(_) if request.cross_origin => Ok(None),
            UrlSigner::TempUrl(container) => {
                let (path, expires_at) = (key.path(), request.expires_at());
                let method = match request.method {
                    UrlMethod::Get => Method::GET,
                    UrlMethod::Head => Method::HEAD,
                };
                let deadline = self.calls.options().step_timeout;
                let signing = container.temp_url(&path, &method, expires_at);
                let url = self
                    .calls
                    .once(Operation::SignUrl, &path, deadline, signing)
                    .await?;
                Ok(Some(SignedUrl::new(url, expires_at)))
            }
            UrlSigner::Cdn(routes) => {
                let url = match routes.choose(request) {
                    Route::Store(operator) => self.presign(operator, key, request).await?,
                    Route::Key(cdn) => cdn
                        .sign_key(key, request, &*self.environment.ids)
                        .map_err(|failure| self.not_signed(key, failure))?,
                    Route::StoreUrl(operator, cdn) => {
                        let url = self.presign(operator, key, request).await?;
                        cdn.sign_url(&url, request, &*self.environment.ids)
                            .map_err(|failure| self.not_signed(key, failure))?
                    }
                };
                Ok(Some(url))
            }
        }
    }

    /// The store's own signature. The operator takes the machine's time and not the request's.
    async fn presign(
        &self,
        operator: &Operator,
        key: &ObjectKey,
        request: &UrlRequest<'_>,
    ) -> Result<SignedUrl, StorageError> {
        let path = key.path();
        let deadline = self.calls.options().step_timeout;
        let sign = async |expires_in: Duration| {
            let signing = async {
                match request.method {
                    UrlMethod::Get => operator.presign_read(&path, expires_in).await,
                    UrlMethod::Head => operator.presign_stat(&path, expires_in).await,
                }
            };
            let signed = self
                .calls
                .once(Operation::SignUrl, &path, deadline, signing)
                .await?;
            let expires_at = request.now + expires_in;
            Ok::<_, StorageError>(SignedUrl::new(signed.uri().to_string(), expires_at))
        };
        match sign(request.expires_in).await {
            Err(error)
                if error.kind() != StorageErrorKind::Timeout
                    && request.expires_in > HOLDS_AT_LEAST =>
            {
                // The first failure says more than a second one.
                sign(HOLDS_AT_LEAST).await.map_err(|_| error)
            }
            signed => signed,
        }
    }

    fn not_signed(&self, key: &ObjectKey, failure: Failure) -> StorageError {
        self.calls.error(Operation::SignUrl, &key.path(), failure)
    }
}
