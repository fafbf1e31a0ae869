//! Everything that brings blobs to the locations where they have to be, proves that they are there, and lets a location go.
//!
//! | file | what it does |
//! |---|---|
//! | `copy` | a copy of one blob: staged, proven, published |
//! | `fan_out` | one blob read once for every location that lacks it, hashed on the way; sources take over from each other |
//! | `throttle` | what an operator has paused or limited |
//! | `replicate` | one job of the queue: looks again at what is required and present, tries the sources in order, records the copy |
//! | `reconcile` | what must be where, compared with what is there: every gap gets a job, however it came about |
//! | `desired` | what is demanded beside the configuration: rules, regions, how many locations a push waits for |
//! | `store_check` | what the database promises, compared with what the store of a location holds |
//! | `scrub` | what placements promise, read back bit by bit and copied again where it is missing or damaged; objects that nothing accounts for |
//! | `image_events` | which images have become complete at a location, noted once |
//! | `metrics` | what Prometheus is told |
//! | `status` | what is missing where, how long, why, and which images it concerns; waiting until nothing is |
//! | `failed` | the copies whose last attempt failed, and making them due at once |
//! | `at_risk` | what would be lost if a location were lost now |
//! | `control` | copying is paused, or its speed limited, by an operator |
//! | `addition` | whether a new location works, and what will be copied there |
//! | `drain` | what only one location holds is brought to another, before that location is removed |
//! | `sites` | a region is taken out and back, for balancers |
//! | `removal` | a location is emptied of its promises, but never of the only copy of anything |
//!
//! Jobs are only the way: what must be where follows from the configuration, the rules and the `userregion` rows, so that a job that was
//! lost, doubled or done twice does no harm.
//!
//! Invariants: a placement is recorded only for bytes that hashed to the digest and that the target was seen to hold, read back or checked by its store; memory does not
//! grow with the size of a blob; no HTTP.

mod addition;
mod at_risk;
mod control;
mod copy;
mod desired;
mod drain;
mod failed;
mod fan_out;
mod image_events;
mod images;
mod job_body;
mod ledger;
mod metrics;
#[cfg(test)]
mod outage;
mod reason;
mod reconcile;
mod recovery;
mod removal;
mod replicate;
mod replication;
mod scrub;
mod sites;
mod status;
mod store_check;
mod throttle;
mod throughput;
#[cfg(test)]
mod world;

pub use addition::{Addition, AdditionError};
pub use at_risk::{
    AT_RISK_PAGE_MAX, ExposedImage, ExposedImages, ExposedPosition, Exposure, NoPosition,
};
pub use control::{ControlDocument, ControlError, LimitDocument, UnknownLocation};
pub use copy::{BlobContent, CHUNKS_IN_FLIGHT_MAX, CopyError, copy_blob};
pub use desired::{
    DemandError, Demands, NamespaceListing, Place, RuleListing, RuleWording, UsableLocation,
};
pub use drain::{DrainError, DrainProgress};
pub use failed::{FAILED_PAGE_MAX, FailedCopies, FailedCopyDocument, FailedQuery};
pub use images::{ConcernedImage, ConcernedImages};
pub use job_body::QUEUE;
pub use reconcile::{Planned, Reconciled};
pub use removal::{
    AcceptedLoss, AtRisk, ForgottenLocation, LostBlob, RemovalError, RemovalEvent, SoleCopy,
};
pub use replication::{Amount, Replication, ReplicationParts};
pub use roadstead_metadata::LocationState;
pub use roadstead_placement::{CopyControl, CopyLimit, DailyWindow, Link, LocationName};
pub use scrub::{
    DefectiveObject, ORPHAN_AGE_MIN, ObjectDefect, Orphan, ScrubOptions, ScrubReport, VerifyError,
    VerifyEvent, VerifyOptions,
};
pub use sites::{ENDED_AFTER, SiteError, SiteStatus};
pub use status::{
    ImageAt, ImageName, ImageNameError, ImageState, ImageStatus, ImageStatusError, LocationListing,
    LocationStatus, Progress, SeenBy, StatusError, StatusOptions, StatusReport, StoreStatus,
    WaitOptions,
};
pub use store_check::{Defect, LostObject, StoreCheckError};
