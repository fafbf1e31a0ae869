//! What can go wrong at a location, and how foreign errors are told apart. Nothing else in the crate looks at error
//! numbers.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use roadstead_placement::LocationName;

/// An operation of a [`crate::Location`], for error messages and for aiming faults.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub enum Operation {
    /// Building the location or looking at its root for the first time.
    Open,
    /// Making the root directory.
    CreateRoot,
    /// Asking for an object's size.
    Stat,
    /// Reading an object.
    Read,
    /// Opening an upload.
    Stage,
    /// Writing to an upload.
    Write,
    /// Flushing an upload to the disk.
    Sync,
    /// Turning an upload into an object.
    Publish,
    /// Throwing an upload away.
    Discard,
    /// Deleting an object.
    Delete,
    /// Listing uploads or objects.
    List,
    /// Checking that the location works.
    Probe,
    /// Signing a URL that a client can read an object with.
    SignUrl,
}

impl Operation {
    /// The verb, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::CreateRoot => "create",
            Self::Stat => "look up",
            Self::Read => "read",
            Self::Stage => "stage",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Publish => "publish",
            Self::Discard => "discard",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Probe => "probe",
            Self::SignUrl => "sign a URL for",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StorageErrorKind {
    /// The location is not there: its root is missing, its disk reports I/O errors, nobody listens at its endpoint, the process has no
    /// file handles left. Nothing is known about the object; another location may have it.
    Unavailable,
    /// No space, no quota, or larger than the file system takes.
    Full,
    /// The location is there and the object is not.
    NotFound,
    /// Permissions or a read-only file system. An operator has to act.
    Denied,
    /// The step's deadline passed. Whether it took effect is not known.
    Timeout,
    /// The connection ended before the answer did. Whether the request took effect is not known.
    Interrupted,
    /// The store asks for fewer requests.
    Throttled,
    /// The store answers that it cannot do its work just now.
    ServerError,
    /// What the configuration says cannot be right: no such bucket, another service at the endpoint. An operator has to act.
    Misconfigured,
    /// Another writer has this upload open.
    Busy,
    /// The object is there and is not what it should be: shorter than asked for, or with other bytes.
    Corrupt,
    /// Fewer bytes are staged than the caller counts on, so that the upload cannot go on from there.
    StagedShort {
        /// Bytes that are staged.
        staged: u64,
        /// Bytes that were expected.
        expected: u64,
    },
    /// Anything else, a caller's mistake among it.
    Unexpected,
}

impl StorageErrorKind {
    /// Whether it is the location that fails, so that another may do, and not this one object or upload.
    pub const fn is_the_locations(self) -> bool {
        match self {
            Self::Unavailable
            | Self::Full
            | Self::Denied
            | Self::Timeout
            | Self::Interrupted
            | Self::Throttled
            | Self::ServerError
            | Self::Misconfigured => true,
            Self::NotFound
            | Self::Busy
            | Self::Corrupt
            | Self::StagedShort { .. }
            | Self::Unexpected => false,
        }
    }

    /// Whether the same call may succeed later although nobody changes the request or the location's settings.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable
                | Self::Full
                | Self::Timeout
                | Self::Interrupted
                | Self::Throttled
                | Self::ServerError
                | Self::Busy
        )
    }
}

impl fmt::Display for StorageErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str(
                "the location is not available; check that its store is up, reachable or mounted, and healthy",
            ),
            Self::Full => f.write_str("no space is left; free some or enlarge the file system"),
            Self::NotFound => f.write_str("it is not there"),
            Self::Denied => f.write_str("access is denied; check the credentials and this machine's clock, or owner, mode and mount options"),
            Self::Timeout => f.write_str("the store did not answer in time"),
            Self::Interrupted => f.write_str("the connection ended before the store had answered"),
            Self::Throttled => f.write_str("the store asks for fewer requests; try again later"),
            Self::ServerError => f.write_str("the store answers that it cannot do this just now"),
            Self::Misconfigured => f.write_str(
                "the store does not know what the configuration names; check bucket or container, endpoint and region",
            ),
            Self::Busy => f.write_str("another writer has it open; try again when that has ended"),
            Self::Corrupt => {
                f.write_str("the stored bytes are damaged; replace them from another copy")
            }
            Self::StagedShort { staged, expected } => {
                write!(
                    f,
                    "{staged} bytes are staged where {expected} are expected; start the upload again"
                )
            }
            Self::Unexpected => f.write_str("unexpected failure"),
        }
    }
}

/// An operation that failed at one location.
#[derive(Debug, thiserror::Error)]
#[error("could not {operation} `{object}` at location `{location}`: {kind}")]
pub struct StorageError {
    kind: StorageErrorKind,
    operation: Operation,
    location: LocationName,
    object: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl StorageError {
    pub(crate) fn new(
        operation: Operation,
        location: &LocationName,
        object: impl Into<String>,
        failure: Failure,
    ) -> Self {
        Self {
            kind: failure.kind,
            operation,
            location: location.clone(),
            object: object.into(),
            source: failure.source,
        }
    }

    /// What a caller can act on.
    pub fn kind(&self) -> StorageErrorKind {
        self.kind
    }

    /// What was tried.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Where.
    pub fn location(&self) -> &LocationName {
        &self.location
    }

    /// The path below the root, or the root itself.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// See [`StorageErrorKind::retryable`].
    pub fn retryable(&self) -> bool {
        self.kind.retryable()
    }
}

/// A failure before it is known to which operation at which location it belongs.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: StorageErrorKind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    pub(crate) fn because(
        kind: StorageErrorKind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }
}

impl From<StorageErrorKind> for Failure {
    fn from(kind: StorageErrorKind) -> Self {
        Self { kind, source: None }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::because(kind_of_io(&error), error)
    }
}

impl From<opendal::Error> for Failure {
    fn from(error: opendal::Error) -> Self {
        use opendal::ErrorKind;

        let kind = kind_of_message(error.message()).unwrap_or_else(|| match error.kind() {
            // The object ends before the range that was asked for.
            ErrorKind::RangeNotSatisfied => StorageErrorKind::Corrupt,
            // What came is not as long as what was asked for. There is no kind for it; the version of the operator is pinned.
            ErrorKind::Unexpected if error.message().starts_with("reader got too ") => {
                StorageErrorKind::Corrupt
            }
            ErrorKind::NotFound => StorageErrorKind::NotFound,
            ErrorKind::PermissionDenied => StorageErrorKind::Denied,
            ErrorKind::RateLimited => StorageErrorKind::Throttled,
            ErrorKind::ConfigInvalid => StorageErrorKind::Misconfigured,
            // `OpenDAL` folds most error numbers and every failure of a connection into `Unexpected`; the cause still has them.
            _ => kind_of_causes(&error).unwrap_or(if error.is_temporary() {
                StorageErrorKind::ServerError
            } else {
                StorageErrorKind::Unexpected
            }),
        });
        Self::because(kind, error)
    }
}

/// What a store said, in our words, on its way through `OpenDAL`, which has fewer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) kind: StorageErrorKind,
    pub(crate) message: String,
}

impl From<Refusal> for opendal::Error {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind {
            StorageErrorKind::NotFound => opendal::ErrorKind::NotFound,
            _ => opendal::ErrorKind::Unexpected,
        };
        Self::new(kind, "the store refuses").set_source(refusal)
    }
}

/// What a message says that `OpenDAL`'s kinds do not. That of a store begins with the store's own code, as the answer was written out.
fn kind_of_message(message: &str) -> Option<StorageErrorKind> {
    let (_, code) = message.split_once("Error { code: \"")?;
    Some(match code.split_once('"')?.0 {
        // Azure's; S3 has a kind of its own for a bucket that is not there.
        "ContainerNotFound" => StorageErrorKind::Misconfigured,
        "InvalidRange" => StorageErrorKind::Corrupt,
        // The bytes that arrived at the store are not the ones that were sent; they may arrive better.
        "BadDigest" | "Md5Mismatch" => StorageErrorKind::ServerError,
        _ => return None,
    })
}

fn kind_of_causes(error: &opendal::Error) -> Option<StorageErrorKind> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(refusal.kind);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            // Behind the operator's own error: the file system. Behind a response: whatever ended it.
            return Some(kind_of_io(error));
        }
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return Some(if error.is_timeout() {
                StorageErrorKind::Timeout
            } else if error.is_builder() {
                StorageErrorKind::Misconfigured
            } else if error.is_connect() {
                // Refused, no such host, not the certificate that was expected: the store was asked for nothing.
                StorageErrorKind::Unavailable
            } else {
                StorageErrorKind::Interrupted
            });
        }
        cause = error.source();
    }
    None
}

/// Error numbers without a stable [`io::ErrorKind`], by their values on Linux (`asm-generic/errno-base.h`, `errno.h`).
const EIO: i32 = 5;
const ENXIO: i32 = 6;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENODEV: i32 = 19;
const ENOTCONN: i32 = 107;
const EHOSTDOWN: i32 = 112;

fn kind_of_io(error: &io::Error) -> StorageErrorKind {
    use io::ErrorKind as Io;

    match error.kind() {
        Io::NotFound => StorageErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => StorageErrorKind::Denied,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => StorageErrorKind::Full,
        Io::TimedOut => StorageErrorKind::Timeout,
        Io::StaleNetworkFileHandle
        | Io::HostUnreachable
        | Io::NetworkUnreachable
        | Io::NetworkDown => StorageErrorKind::Unavailable,
        _ => match error.raw_os_error() {
            Some(EIO | ENXIO | ENODEV | ENFILE | EMFILE | ENOTCONN | EHOSTDOWN) => {
                StorageErrorKind::Unavailable
            }
            _ => StorageErrorKind::Unexpected,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::name;

    #[test]
    fn error_numbers_are_told_apart_by_what_a_caller_does_about_them() {
        // Numbers of Linux: asm-generic/errno-base.h and errno.h.
        for (number, kind) in [
            (1, StorageErrorKind::Denied),        // EPERM
            (2, StorageErrorKind::NotFound),      // ENOENT
            (5, StorageErrorKind::Unavailable),   // EIO
            (13, StorageErrorKind::Denied),       // EACCES
            (24, StorageErrorKind::Unavailable),  // EMFILE
            (27, StorageErrorKind::Full),         // EFBIG
            (28, StorageErrorKind::Full),         // ENOSPC
            (30, StorageErrorKind::Denied),       // EROFS
            (107, StorageErrorKind::Unavailable), // ENOTCONN, an SSHFS that lost its server
            (110, StorageErrorKind::Timeout),     // ETIMEDOUT
            (112, StorageErrorKind::Unavailable), // EHOSTDOWN
            (113, StorageErrorKind::Unavailable), // EHOSTUNREACH
            (116, StorageErrorKind::Unavailable), // ESTALE
            (122, StorageErrorKind::Full),        // EDQUOT
            (22, StorageErrorKind::Unexpected),   // EINVAL
        ] {
            let ours = Failure::from(io::Error::from_raw_os_error(number));
            assert_eq!(ours.kind, kind, "error number {number}");
            let wrapped = opendal::Error::new(opendal::ErrorKind::Unexpected, "wrapped")
                .set_source(io::Error::from_raw_os_error(number));
            assert_eq!(
                Failure::from(wrapped).kind,
                kind,
                "error number {number} behind the operator"
            );
        }
    }

    #[test]
    fn what_only_a_stores_own_code_tells_is_told_apart() {
        for (message, kind) in [
            (
                r#"AzblobError { code: "ContainerNotFound", message: "" }"#,
                StorageErrorKind::Misconfigured,
            ),
            (
                r#"S3Error { code: "InvalidRange", message: "" }"#,
                StorageErrorKind::Corrupt,
            ),
            (
                r#"S3Error { code: "BadDigest", message: "" }"#,
                StorageErrorKind::ServerError,
            ),
            (
                r#"S3Error { code: "Strange", message: "BadDigest" }"#,
                StorageErrorKind::NotFound,
            ),
            ("", StorageErrorKind::NotFound),
        ] {
            let error = opendal::Error::new(opendal::ErrorKind::NotFound, message);
            assert_eq!(Failure::from(error).kind, kind, "{message}");
        }
    }

    #[test]
    fn a_message_names_operation_object_and_location_and_leaves_the_cause_to_the_source() {
        let cause = io::Error::from_raw_os_error(28);
        let error = StorageError::new(Operation::Write, &name(), "uploads/x", cause.into());
        assert_eq!(
            error.to_string(),
            "could not write `uploads/x` at location `usstorage`: no space is left; free some or enlarge the file system"
        );
        assert!(error.source().unwrap().to_string().contains("28"));
        assert!(error.retryable());
    }

    #[test]
    fn only_what_time_or_others_can_mend_is_retryable() {
        for (kind, retryable) in [
            (StorageErrorKind::Unavailable, true),
            (StorageErrorKind::Full, true),
            (StorageErrorKind::Timeout, true),
            (StorageErrorKind::Busy, true),
            (StorageErrorKind::NotFound, false),
            (StorageErrorKind::Denied, false),
            (StorageErrorKind::Corrupt, false),
            (
                StorageErrorKind::StagedShort {
                    staged: 1,
                    expected: 2,
                },
                false,
            ),
            (StorageErrorKind::Unexpected, false),
        ] {
            assert_eq!(kind.retryable(), retryable, "{kind:?}");
        }
    }
}
