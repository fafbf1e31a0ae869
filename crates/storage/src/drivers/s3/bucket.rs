//! The requests to a bucket that the operator has no call for, one method each. Deadlines and retries are the caller's.

use std::fmt::Write as _;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::request::Builder;
use http::{Method, Request, Response, StatusCode};
use md5::Md5;
use opendal::{Buffer, ErrorKind};
use roadstead_oci::{Algorithm, Digest};
use roadstead_runtime::Timestamp;
use sha2::Sha256;
use tokio::sync::Mutex;

use super::answers::{Begun, Copied, PartsPage, UploadsPage, accepted, read};
use super::signer::BucketSigner;
use super::{BucketPlace, S3Credentials, S3Options, region};
use crate::error::{Refusal, StorageErrorKind};
use crate::http::HttpClient;
use crate::location::ServerCopy;
use crate::query::{encoded_path, push_pair};

/// The header that a signature covers the body with.
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// The most pages of parts that an upload can have: 10,000 parts, 1,000 to a page.
const PART_PAGES_MAX: usize = 10;

/// A bucket and who asks there.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Of the bucket, without a slash at the end.
    url: String,
    name: String,
    /// What all keys begin with: nothing, or a path with a slash at its end.
    root: String,
    service: Service,
    encrypted: bool,
    copies_parts: bool,
    signer: BucketSigner,
    http: HttpClient,
    /// Whether the store compares what it is sent with [`CONTENT_SHA256`], once that is known.
    pub(crate) compares_sha256: OnceLock<bool>,
    /// Held by whoever is finding out.
    pub(crate) asking: Mutex<()>,
}

/// Which service a bucket is in, and as whom we go there.
#[derive(Debug)]
struct Service {
    endpoint: String,
    region: String,
    credentials: S3Credentials,
}

/// What goes along with bytes, so that the store compares them.
#[derive(Clone, Debug)]
pub(crate) enum Checksum {
    /// In hex, under the signature.
    Sha256(String),
    /// In base64, as `Content-MD5`.
    Md5(String),
}

impl Checksum {
    /// The checksum of a whole blob whose digest is known.
    pub(crate) fn of_digest(digest: &Digest) -> Option<Self> {
        (digest.algorithm() == Algorithm::Sha256).then(|| Self::Sha256(digest.hex().to_owned()))
    }

    /// Hashes bytes, on a thread that may block.
    pub(crate) async fn of(bytes: Buffer, with_sha256: bool) -> opendal::Result<Self> {
        let hashing = tokio::task::spawn_blocking(move || {
            if with_sha256 {
                Self::Sha256(hex(&hash::<Sha256>(bytes)))
            } else {
                Self::Md5(STANDARD.encode(hash::<Md5>(bytes)))
            }
        });
        hashing.await.map_err(|ended| {
            opendal::Error::new(ErrorKind::Unexpected, "hashing ended early").set_source(ended)
        })
    }

    fn on(&self, request: Builder) -> Builder {
        match self {
            Self::Sha256(hex) => request.header(CONTENT_SHA256, hex),
            Self::Md5(text) => request.header("content-md5", text),
        }
    }
}

fn hash<H: md5::Digest>(bytes: Buffer) -> Vec<u8> {
    let mut hasher = H::new();
    for chunk in bytes {
        hasher.update(&chunk);
    }
    hasher.finalize().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes everything");
        text
    })
}

/// An open multipart upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenUpload {
    /// Below the root.
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) begun: Option<Timestamp>,
}

/// Some open uploads, and where to go on.
#[derive(Debug, Default)]
pub(crate) struct OpenUploads {
    pub(crate) uploads: Vec<OpenUpload>,
    pub(crate) next: Option<(String, String)>,
}

impl Bucket {
    pub(super) fn new(s3: &S3Options, place: BucketPlace, http: &HttpClient) -> Self {
        let endpoint = endpoint(s3);
        let url = match (place, endpoint.split_once("://")) {
            (BucketPlace::Host, Some((scheme, host))) => format!("{scheme}://{}.{host}", s3.bucket),
            _ => format!("{endpoint}/{}", s3.bucket),
        };
        let mut root = String::new();
        for folder in s3.storage_path.split('/').filter(|name| !name.is_empty()) {
            root.push_str(folder);
            root.push('/');
        }
        Self {
            url,
            name: s3.bucket.clone(),
            root,
            service: Service {
                endpoint,
                region: region(s3).to_owned(),
                credentials: s3.credentials.clone(),
            },
            encrypted: s3.server_side_encryption,
            copies_parts: s3.server_side_assembly,
            signer: BucketSigner::new(s3, http),
            http: http.clone(),
            compares_sha256: OnceLock::new(),
            asking: Mutex::default(),
        }
    }

    /// Whether the store can copy objects of `source` here by itself: the same service, asked by the same.
    pub(crate) fn copies_from(&self, source: &Self) -> bool {
        let (one, other) = (&self.service, &source.service);
        self.copies_parts
            && source.copies_parts
            && one.endpoint == other.endpoint
            && one.region == other.region
            && one.credentials.are(&other.credentials)
    }

    /// Writes an object, if its bytes are those of the checksum.
    pub(crate) async fn put(
        &self,
        path: &str,
        bytes: Buffer,
        checksum: &Checksum,
    ) -> opendal::Result<()> {
        let request = self.encrypting(checksum.on(self.request(Method::PUT, path, &[])));
        self.send("PutObject", request, bytes).await.map(drop)
    }

    /// Whether bytes are refused because of their checksum: the store has just taken them with another.
    pub(crate) async fn refuses(
        &self,
        path: &str,
        bytes: Buffer,
        checksum: &Checksum,
    ) -> opendal::Result<bool> {
        let request = self.encrypting(checksum.on(self.request(Method::PUT, path, &[])));
        let answer = self.exchange(request, bytes).await?;
        // One code or another says so.
        if matches!(
            answer.status(),
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN
        ) {
            return Ok(true);
        }
        accepted("PutObject", answer).map(|_| false)
    }

    /// Begins a multipart upload and returns its id. Nothing appears at the path before it is completed.
    pub(crate) async fn begin_multipart(&self, path: &str) -> opendal::Result<String> {
        const REQUEST: &str = "CreateMultipartUpload";
        let request = self.encrypting(self.request(Method::POST, path, &[("uploads", "")]));
        let answer = self.send(REQUEST, request, Buffer::new()).await?;
        let begun: Begun = read(REQUEST, &answer)?;
        Ok(begun.upload_id)
    }

    /// Writes a part, over an older one of this number, and returns its tag.
    pub(crate) async fn upload_part(
        &self,
        path: &str,
        upload: &str,
        number: usize,
        bytes: Buffer,
        checksum: &Checksum,
    ) -> opendal::Result<String> {
        const REQUEST: &str = "UploadPart";
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let request = checksum.on(self.request(Method::PUT, path, &query));
        let answer = self.send(REQUEST, request, bytes).await?;
        let tag = answer.headers().get(ETAG);
        match tag.and_then(|tag| tag.to_str().ok()) {
            Some(tag) => Ok(tag.to_owned()),
            None => Err(lacks_tag(REQUEST)),
        }
    }

    /// Makes a part of a range of an object in the same service, and returns its tag.
    pub(crate) async fn copy_part(
        &self,
        (source, from): (&Self, &str),
        path: &str,
        upload: &str,
        number: usize,
        range: std::ops::Range<u64>,
    ) -> opendal::Result<String> {
        const REQUEST: &str = "UploadPartCopy";
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let request = self
            .request(Method::PUT, path, &query)
            .header("x-amz-copy-source", source.copy_source(from))
            .header(
                "x-amz-copy-source-range",
                format!("bytes={}-{}", range.start, range.end - 1),
            );
        let answer = self.send(REQUEST, request, Buffer::new()).await?;
        let copied: Copied = read(REQUEST, &answer)?;
        Ok(copied.etag)
    }

    /// Makes the parts the object, in their order. With `only_new` a store that knows of conditions refuses while there is an object.
    pub(crate) async fn complete_multipart(
        &self,
        path: &str,
        upload: &str,
        tags: impl Iterator<Item = &str>,
        only_new: bool,
    ) -> opendal::Result<()> {
        let mut body = String::from("<CompleteMultipartUpload>");
        for (number, tag) in (1..).zip(tags) {
            let tag = quick_xml::escape::escape(tag);
            write!(
                body,
                "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            )
            .expect("a text takes everything");
        }
        body.push_str("</CompleteMultipartUpload>");
        let mut request = self
            .request(Method::POST, path, &[("uploadId", upload)])
            .header(CONTENT_TYPE, "application/xml");
        if only_new {
            request = request.header("if-none-match", "*");
        }
        self.send("CompleteMultipartUpload", request, Buffer::from(body))
            .await
            .map(drop)
    }

    /// Gives an upload up with its parts. `Ok` when there is none.
    pub(crate) async fn abort_multipart(&self, path: &str, upload: &str) -> opendal::Result<()> {
        let request = self.request(Method::DELETE, path, &[("uploadId", upload)]);
        let sent = self.send("AbortMultipartUpload", request, Buffer::new());
        match sent.await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// When the youngest part of an upload was written, if it has any.
    pub(crate) async fn last_part_written(
        &self,
        path: &str,
        upload: &str,
    ) -> opendal::Result<Option<Timestamp>> {
        const REQUEST: &str = "ListParts";
        let (mut latest, mut marker) = (None, None::<String>);
        for _ in 0..PART_PAGES_MAX {
            let mut query = vec![("uploadId", upload)];
            query.extend(
                marker
                    .as_deref()
                    .map(|marker| ("part-number-marker", marker)),
            );
            let request = self.request(Method::GET, path, &query);
            let answer = self.send(REQUEST, request, Buffer::new()).await?;
            let page: PartsPage = read(REQUEST, &answer)?;
            let written = page.parts.iter().filter_map(|part| part.last_modified);
            latest = latest.max(written.max());
            marker = page.next_part_number_marker.filter(|_| page.is_truncated);
            if marker.is_none() {
                break;
            }
        }
        Ok(latest)
    }

    /// Open uploads below a folder, a page of at most a thousand.
    pub(crate) async fn open_uploads(
        &self,
        folder: &str,
        after: Option<&(String, String)>,
    ) -> opendal::Result<OpenUploads> {
        const REQUEST: &str = "ListMultipartUploads";
        let prefix = format!("{}{folder}", self.root);
        let mut query = vec![("uploads", ""), ("prefix", prefix.as_str())];
        if let Some((key, id)) = after {
            query.push(("key-marker", key));
            // Some stores name the key alone.
            query.extend((!id.is_empty()).then_some(("upload-id-marker", id.as_str())));
        }
        let request = Request::builder()
            .method(Method::GET)
            .uri(with_query(format!("{}/", self.url), &query));
        let answer = self.send(REQUEST, request, Buffer::new()).await?;
        let page: UploadsPage = read(REQUEST, &answer)?;
        let next = page
            .next_key_marker
            .map(|key| (key, page.next_upload_id_marker.unwrap_or_default()));
        let uploads = page.uploads.into_iter().filter_map(|upload| {
            Some(OpenUpload {
                path: upload.key.strip_prefix(&self.root)?.to_owned(),
                id: upload.upload_id,
                begun: upload.initiated,
            })
        });
        Ok(OpenUploads {
            uploads: uploads.collect(),
            // A store that stays where it is does not keep us.
            next: next.filter(|next| page.is_truncated && after != Some(next)),
        })
    }

    /// Copies an object of the same service whole, unless one is there already and the store knows of conditions.
    pub(crate) async fn copy_object(
        &self,
        (source, from): (&Self, &str),
        path: &str,
        sha256: Option<&str>,
    ) -> opendal::Result<ServerCopy> {
        const REQUEST: &str = "CopyObject";
        let request = self
            .encrypting(self.request(Method::PUT, path, &[]))
            .header("x-amz-copy-source", source.copy_source(from))
            .header("x-amz-checksum-algorithm", "SHA256")
            .header("if-none-match", "*");
        let answer = self.send(REQUEST, request, Buffer::new()).await?;
        let copied: Copied = read(REQUEST, &answer)?;
        let said = copied.sha256.and_then(|said| STANDARD.decode(said).ok());
        let proven = said.is_some_and(|said| sha256 == Some(hex(&said).as_str()));
        Ok(if proven {
            ServerCopy::Proven
        } else {
            ServerCopy::Unproven
        })
    }

    fn copy_source(&self, path: &str) -> String {
        format!(
            "/{}/{}",
            self.name,
            encoded_path(&format!("{}{path}", self.root))
        )
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Builder {
        let key = encoded_path(&format!("{}{path}", self.root));
        Request::builder()
            .method(method)
            .uri(with_query(format!("{}/{key}", self.url), query))
    }

    fn encrypting(&self, request: Builder) -> Builder {
        if self.encrypted {
            request.header("x-amz-server-side-encryption", "AES256")
        } else {
            request
        }
    }

    async fn send(
        &self,
        name: &'static str,
        request: Builder,
        body: Buffer,
    ) -> opendal::Result<Response<Buffer>> {
        accepted(name, self.exchange(request, body).await?)
    }

    async fn exchange(&self, request: Builder, body: Buffer) -> opendal::Result<Response<Buffer>> {
        let request = request
            .header(CONTENT_LENGTH, body.len())
            .body(body)
            .map_err(|error| {
                opendal::Error::new(ErrorKind::ConfigInvalid, "the request has no valid URL")
                    .set_source(error)
            })?;
        let request = self.signer.sign(request).await?;
        self.http.send(request).await
    }
}

fn with_query(mut url: String, query: &[(&str, &str)]) -> String {
    for (name, value) in query {
        push_pair(&mut url, name, value);
    }
    url
}

fn lacks_tag(request: &str) -> opendal::Error {
    let refusal = Refusal {
        kind: StorageErrorKind::Unexpected,
        message: format!("{request} was answered without an ETag"),
    };
    refusal.into()
}

/// As the operator has it: with a scheme, without a slash at its end, and Amazon's with its region.
fn endpoint(s3: &S3Options) -> String {
    let endpoint = s3.endpoint.trim_end_matches('/');
    let endpoint = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("https://{endpoint}")
    };
    let endpoint = endpoint.replace(&format!("//{}.", s3.bucket), "//");
    if endpoint == "https://s3.amazonaws.com" {
        return format!("https://s3.{}.amazonaws.com", region(s3));
    }
    endpoint
}

#[cfg(test)]
mod tests {
    use roadstead_secrets::Secret;

    use super::*;

    fn options(endpoint: &str, path: &str) -> S3Options {
        S3Options {
            endpoint: endpoint.to_owned(),
            region: Some("eu-west-1".to_owned()),
            bucket: "bucket".to_owned(),
            storage_path: path.to_owned(),
            credentials: S3Credentials::Keys {
                access_key: Secret::new("access"),
                secret_key: Secret::new("hunter2"),
                session_token: None,
            },
            server_side_encryption: true,
            cross_origin_urls: false,
            server_side_assembly: true,
        }
    }

    fn bucket(s3: &S3Options) -> Bucket {
        Bucket::new(
            s3,
            super::super::bucket_place(s3),
            &HttpClient::new(&[]).unwrap(),
        )
    }

    #[test]
    fn an_object_has_the_address_that_the_operator_asks_at() {
        for (endpoint, path, expected) in [
            (
                "https://s3.amazonaws.com",
                "/",
                "https://bucket.s3.eu-west-1.amazonaws.com/sha256/aa/x",
            ),
            (
                "https://s3.eu-west-1.amazonaws.com",
                "a/b",
                "https://bucket.s3.eu-west-1.amazonaws.com/a/b/sha256/aa/x",
            ),
            (
                "http://127.0.0.1:9000/",
                "//a b/ü/",
                "http://127.0.0.1:9000/bucket/a%20b/%C3%BC/sha256/aa/x",
            ),
        ] {
            let bucket = bucket(&options(endpoint, path));
            let request = bucket.request(Method::GET, "sha256/aa/x", &[]);
            assert_eq!(request.uri_ref().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn only_buckets_of_one_service_that_are_asked_by_the_same_copy_from_each_other() {
        let here = options("http://127.0.0.1:9000", "a");
        let elsewhere = |change: &dyn Fn(&mut S3Options)| {
            let mut other = here.clone();
            change(&mut other);
            bucket(&other).copies_from(&bucket(&here))
        };
        assert!(elsewhere(&|other| other.bucket = "another".to_owned()));
        assert!(elsewhere(&|other| other.storage_path = "b".to_owned()));
        assert!(!elsewhere(&|other| other.region = None));
        assert!(!elsewhere(
            &|other| other.endpoint = "http://127.0.0.1:9001".to_owned()
        ));
        assert!(!elsewhere(&|other| other.server_side_assembly = false));
        assert!(!elsewhere(
            &|other| other.credentials = S3Credentials::Machine
        ));
        assert!(!elsewhere(&|other| {
            other.credentials = S3Credentials::Keys {
                access_key: Secret::new("access"),
                secret_key: Secret::new("other"),
                session_token: None,
            };
        }));
    }

    #[tokio::test]
    async fn a_request_is_signed_over_its_hash_and_shows_no_secret() {
        let bucket = bucket(&options("http://127.0.0.1:9000", "a"));
        let checksum = Checksum::of(Buffer::from("layer"), true).await.unwrap();
        let request = checksum.on(bucket.request(Method::PUT, "x", &[("uploads", "")]));
        let signed = bucket
            .signer
            .sign(request.body(Buffer::from("layer")).unwrap())
            .await
            .unwrap();
        let expected = Digest::of(Algorithm::Sha256, b"layer");
        assert_eq!(signed.headers()[CONTENT_SHA256], expected.hex());
        let authorization = signed.headers()["authorization"].to_str().unwrap();
        assert!(
            authorization.contains("x-amz-content-sha256"),
            "{authorization}"
        );
        assert!(!format!("{bucket:?} {signed:?}").contains("hunter2"));
    }
}
