//! What a store that speaks S3 answers, and what its refusals mean.

use http::{Response, StatusCode};
use opendal::Buffer;
use roadstead_runtime::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Refusal, StorageErrorKind};

/// A multipart upload has begun.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Begun {
    pub(super) upload_id: String,
}

/// An object or a part was copied.
#[derive(Debug, Deserialize)]
pub(super) struct Copied {
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    #[serde(rename = "ChecksumSHA256")]
    pub(super) sha256: Option<String>,
}

/// Some parts of an upload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartsPage {
    #[serde(default)]
    pub(super) is_truncated: bool,
    pub(super) next_part_number_marker: Option<String>,
    #[serde(default, rename = "Part")]
    pub(super) parts: Vec<ListedPart>,
}

/// A part as it is listed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedPart {
    pub(super) last_modified: Option<Timestamp>,
}

/// Some open uploads.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UploadsPage {
    #[serde(default)]
    pub(super) is_truncated: bool,
    pub(super) next_key_marker: Option<String>,
    pub(super) next_upload_id_marker: Option<String>,
    #[serde(default, rename = "Upload")]
    pub(super) uploads: Vec<ListedUpload>,
}

/// An open upload as it is listed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedUpload {
    pub(super) key: String,
    pub(super) upload_id: String,
    pub(super) initiated: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Reads the body of an answer.
pub(super) fn read<T: DeserializeOwned>(
    request: &'static str,
    answer: &Response<Buffer>,
) -> opendal::Result<T> {
    quick_xml::de::from_str(&text(answer)).map_err(|error| {
        let refusal = Refusal {
            kind: StorageErrorKind::Unexpected,
            message: format!("the answer to {request} cannot be read: {error}"),
        };
        refusal.into()
    })
}

/// The answer, unless it is a refusal. Some requests are answered before they are carried out, so that the error comes in a body behind a good
/// status (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
pub(super) fn accepted(
    request: &'static str,
    answer: Response<Buffer>,
) -> opendal::Result<Response<Buffer>> {
    let good = answer.status().is_success();
    if good && !is_error(&text(&answer)) {
        return Ok(answer);
    }
    let Refused { code, message } =
        quick_xml::de::from_str(&text(&answer)).unwrap_or_else(|_| Refused::default());
    let status = answer.status();
    let refusal = Refusal {
        kind: kind_of(status, &code),
        message: format!("{request} was answered {status} {code}: {message}"),
    };
    Err(refusal.into())
}

fn text(answer: &Response<Buffer>) -> String {
    String::from_utf8_lossy(&answer.body().to_bytes()).into_owned()
}

fn is_error(text: &str) -> bool {
    let text = text.trim_start();
    let root = match text.strip_prefix("<?") {
        Some(declared) => declared.split_once("?>").map_or("", |(_, root)| root),
        None => text,
    };
    root.trim_start().starts_with("<Error>")
}

/// What an error means: by its code, where that says more than its status.
fn kind_of(status: StatusCode, code: &str) -> StorageErrorKind {
    match code {
        "NoSuchBucket" => StorageErrorKind::Misconfigured,
        // A part that is gone, or that somebody has written anew, is as good as an upload that is gone.
        "NoSuchKey" | "NoSuchUpload" | "InvalidPart" => StorageErrorKind::NotFound,
        "SlowDown" | "TooManyRequests" => StorageErrorKind::Throttled,
        "QuotaExceeded" | "EntityTooLarge" => StorageErrorKind::Full,
        // The bytes that arrived at the store are not the ones that were sent; they may arrive better.
        "BadDigest"
        | "XAmzContentSHA256Mismatch"
        | "IncompleteBody"
        | "RequestTimeout"
        | "InternalError"
        | "ServiceUnavailable"
        | "OperationAborted" => StorageErrorKind::ServerError,
        _ => match status.as_u16() {
            401 | 403 => StorageErrorKind::Denied,
            404 => StorageErrorKind::NotFound,
            // Somebody is just writing the object, or has.
            409 | 412 => StorageErrorKind::Busy,
            429 => StorageErrorKind::Throttled,
            507 => StorageErrorKind::Full,
            499..=599 => StorageErrorKind::ServerError,
            _ => StorageErrorKind::Unexpected,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response<Buffer> {
        Response::builder()
            .status(status)
            .body(Buffer::from(body.to_owned()))
            .unwrap()
    }

    fn kind(status: u16, body: &str) -> StorageErrorKind {
        let error = accepted("a request", answer(status, body)).unwrap_err();
        crate::error::Failure::from(error).kind
    }

    #[test]
    fn an_error_behind_a_good_status_is_an_error() {
        let body = "<?xml version=\"1.0\"?>\n\n<Error><Code>InternalError</Code></Error>";
        assert_eq!(kind(200, body), StorageErrorKind::ServerError);
        let body =
            "<CompleteMultipartUploadResult><Key>Error</Key></CompleteMultipartUploadResult>";
        accepted("a request", answer(200, body)).unwrap();
        accepted("a request", answer(200, "")).unwrap();
    }

    #[test]
    fn refusals_are_told_apart_by_code_and_else_by_status() {
        for (status, code, expected) in [
            (404, "NoSuchBucket", StorageErrorKind::Misconfigured),
            (404, "NoSuchUpload", StorageErrorKind::NotFound),
            (400, "InvalidPart", StorageErrorKind::NotFound),
            (
                400,
                "XAmzContentSHA256Mismatch",
                StorageErrorKind::ServerError,
            ),
            (400, "Strange", StorageErrorKind::Unexpected),
            (403, "AccessDenied", StorageErrorKind::Denied),
            (412, "PreconditionFailed", StorageErrorKind::Busy),
            (503, "SlowDown", StorageErrorKind::Throttled),
            (503, "", StorageErrorKind::ServerError),
        ] {
            let body = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
            assert_eq!(kind(status, &body), expected, "{status} {code}");
        }
        assert_eq!(kind(502, "<html>"), StorageErrorKind::ServerError);
        assert_eq!(kind(302, "no XML"), StorageErrorKind::Unexpected);
    }

    #[test]
    fn lists_are_read_with_what_other_stores_leave_out_or_add() {
        let page: UploadsPage = read(
            "a request",
            &answer(
                200,
                "<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">
                   <Upload><Key>sha256/aa/x&amp;y</Key><UploadId>2~a</UploadId><Initiated>2026-01-02T03:04:05.678Z</Initiated>
                     <Owner><ID>1</ID></Owner></Upload>
                   <CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>
                   <Upload><Key>k</Key><UploadId>b</UploadId></Upload>
                   <IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker></ListMultipartUploadsResult>",
            ),
        )
        .unwrap();
        assert!(page.is_truncated);
        assert_eq!(page.next_key_marker.as_deref(), Some("k"));
        let keys: Vec<&str> = page
            .uploads
            .iter()
            .map(|upload| upload.key.as_str())
            .collect();
        assert_eq!(keys, ["sha256/aa/x&y", "k"]);
        assert!(page.uploads[0].initiated.is_some() && page.uploads[1].initiated.is_none());
        read::<UploadsPage>("a request", &answer(200, "<html>")).unwrap_err();
        read::<Begun>("a request", &answer(200, "<R/>")).unwrap_err();
    }
}
