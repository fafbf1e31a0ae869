//! Lists: tags, referrers, the catalog; page by page.

use bytes::Bytes;
use http::header::{ACCEPT, LINK};
use http::{Request, StatusCode, Uri};
use roadstead_oci::{Descriptor, Digest, Manifest, ManifestLimits, MediaType, RepositoryName};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::authorization::Scope;
use crate::exchange::header_value;
use crate::link::{next_page, resolve, with_parameter};
use crate::{Client, ClientError};

/// A page of a tag list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagsPage {
    /// The tags, in the registry's order.
    pub tags: Vec<String>,
    /// Whether the registry says that there are more.
    pub more: bool,
}

#[derive(Deserialize)]
struct TagList {
    /// Some registries say `null` for none.
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

/// One page as it came.
struct Page {
    request: String,
    body: Bytes,
    next: Option<Uri>,
}

impl Page {
    /// The entries, read by `read`.
    fn read<T, E: std::fmt::Display>(
        &self,
        read: impl FnOnce(&Bytes) -> Result<T, E>,
    ) -> Result<T, ClientError> {
        read(&self.body).map_err(|error| ClientError::Protocol {
            request: self.request.clone(),
            reason: format!("its body is not the list that it should be: {error}"),
        })
    }
}

impl Client {
    /// At most `limit` tags of a repository (none: as many as the registry likes), those behind `last`: end-8b of the distribution
    /// specification.
    pub async fn tags_page(
        &self,
        repository: &RepositoryName,
        limit: Option<u32>,
        last: Option<&str>,
    ) -> Result<TagsPage, ClientError> {
        let mut uri = self.uri(&format!("/v2/{repository}/tags/list"));
        if let Some(limit) = limit {
            uri = with_parameter(&uri, "n", &limit.to_string());
        }
        if let Some(last) = last {
            uri = with_parameter(&uri, "last", last);
        }
        let page = self.page(uri, &Scope::pull(repository)).await?;
        Ok(TagsPage {
            tags: page.read(json::<TagList>)?.tags.unwrap_or_default(),
            more: page.next.is_some(),
        })
    }

    /// All tags of a repository: end-8a.
    ///
    /// # Errors
    /// [`ClientError::TooLong`] when there are more than [`crate::ClientOptions::entries_max`].
    pub async fn tags(&self, repository: &RepositoryName) -> Result<Vec<String>, ClientError> {
        let uri = self.uri(&format!("/v2/{repository}/tags/list"));
        self.pages(uri, &Scope::pull(repository), |body| {
            json::<TagList>(body).map(|list| list.tags.unwrap_or_default())
        })
        .await
    }

    /// All manifests that name `subject` as theirs, of one artifact type if one is given: end-12. The filter is applied here too,
    /// for registries that do not know it.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let mut uri = self.uri(&format!("/v2/{repository}/referrers/{subject}"));
        if let Some(artifact_type) = artifact_type {
            uri = with_parameter(&uri, "artifactType", artifact_type);
        }
        let mut found = self
            .pages(uri, &Scope::pull(repository), |body| {
                let index = Manifest::parse(
                    Some(&MediaType::OCI_INDEX),
                    body.clone(),
                    &ManifestLimits::default(),
                );
                index.map(|index| index.manifests().to_vec())
            })
            .await?;
        if let Some(wanted) = artifact_type {
            found.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    /// All repositories that the user may see, as far as the registry shows them: Docker's `_catalog`.
    pub async fn catalog(&self) -> Result<Vec<String>, ClientError> {
        let uri = self.uri("/v2/_catalog");
        self.pages(uri, &Scope::of("registry:catalog:*"), |body| {
            json::<Catalog>(body).map(|catalog| catalog.repositories.unwrap_or_default())
        })
        .await
    }

    /// Follows the links from page to page.
    async fn pages<T, E, F>(
        &self,
        first: Uri,
        scope: &Scope,
        read: F,
    ) -> Result<Vec<T>, ClientError>
    where
        E: std::fmt::Display,
        F: Fn(&Bytes) -> Result<Vec<T>, E>,
    {
        let entries_max = self.options().entries_max;
        let mut gathered = Vec::new();
        let mut next = Some(first);
        while let Some(uri) = next {
            let page = self.page(uri, scope).await?;
            let entries = page.read(&read)?;
            if gathered.len() + entries.len() > entries_max {
                return Err(ClientError::TooLong {
                    request: page.request,
                    limit: entries_max as u64,
                    unit: "entries",
                });
            }
            // A page without entries ends the list whatever it links to, so that a list comes to an end.
            next = page.next.filter(|_| !entries.is_empty());
            gathered.extend(entries);
        }
        Ok(gathered)
    }

    /// One page, and where the next one is.
    async fn page(&self, uri: Uri, scope: &Scope) -> Result<Page, ClientError> {
        let mut request = Request::new(());
        let accepted = [MediaType::OCI_INDEX.as_str(), MediaType::JSON.as_str()].join(", ");
        let accepted = header_value(&accepted);
        request.headers_mut().insert(ACCEPT, accepted);
        *request.uri_mut() = uri;
        let answer = self
            .read(request, scope)
            .await?
            .expect([StatusCode::OK])
            .await?;
        let next =
            match answer.header(LINK.as_str()).and_then(next_page) {
                None => None,
                Some(target) => Some(resolve(&answer.uri, target).ok_or_else(|| {
                    answer.breach(format!("its Link {target:?} is not an address"))
                })?),
            };
        Ok(Page {
            request: answer.body.request.clone(),
            next,
            body: answer.bytes(self.options().document_bytes_max).await?,
        })
    }
}

fn json<T: DeserializeOwned>(body: &Bytes) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body)
}
