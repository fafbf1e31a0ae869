//! The metadata repository: accounts, repositories, uploads, blobs, manifests, tags, placements and wanted copies, in Quay's own tables.
//!
//! Everything is a method of [`Database`], one short transaction each; what does not exist is `Ok(None)`, not an error. Sets of any size are one
//! parameter of one statement, so the number of statements never grows with the number of rows.
//!
//! To add an operation: write it in the file of the noun that it changes, as one method with its SQL in it; give it the time and the ids that
//! it needs as arguments; read through [`Database::reader`] (or, for pulls, one of its siblings), write through [`Database::begin`]; name what it does for the error message.
//!
//! Invariant: no type of the SQL library leaves this crate, and no transaction outlives the method that began it, so none is ever held while a
//! store is waited for.

mod account_changes;
mod accounts;
mod app_tokens;
mod applications;
mod at_risk;
mod audit;
mod blob_commits;
mod blobs;
mod calls;
mod catalog;
mod changes;
mod configurations;
mod copies;
mod copy_claims;
mod copy_control;
mod copy_progress;
mod copy_steps;
mod credentials;
mod database;
mod demand;
mod dialect;
mod epoch;
mod error;
mod failed_copies;
mod features;
mod garbage;
mod ids;
mod image_copies;
mod image_events;
mod immutability;
mod instances;
mod jobs;
mod labels;
mod locations;
mod lookups;
mod manifests;
mod meetings;
mod metrics;
mod min_locations;
mod permissions;
mod placement_rules;
mod postgres;
mod prototypes;
mod quota;
mod quota_limits;
mod reader;
mod removal;
mod replicators;
mod repositories;
mod robots;
mod row;
mod schema;
mod scrub;
mod service_keys;
mod sites;
mod sqlite;
mod summary;
mod tags;
mod teams;
mod totals;
mod upload_steps;
mod uploads;
mod users;
mod webhooks;

pub use account_changes::AccountChanges;
pub use accounts::{Account, FirstAccount, TAG_WINDOW};
pub use app_tokens::{AppTokenRecord, NewAppToken};
pub use applications::{
    ApplicationAbout, ApplicationRecord, NewApplication, NewOauthToken, OauthTokenRecord,
};
pub use at_risk::{AtRiskImage, AtRiskOf, AtRiskPage, AtRiskPosition, AtRiskTotals};
pub use audit::{Actor, Credential, LogCount, LogEntry, LogPage, LogPosition, LogRecord, LogScope};
pub use blob_commits::CommitBlob;
pub use blobs::{Blob, BlobDeletion, MountSource};
pub use calls::Calls;
pub use catalog::CatalogViewer;
pub use changes::{Change, Changed, Unchanged};
pub use configurations::ToldConfiguration;
pub use copies::{DemandPage, DemandedCopies, LostObjects, LostReport, WantedCopy};
pub use copy_claims::{ClaimCopies, ClaimCursor, Urgency};
pub use copy_progress::{CopyProgress, ResumableCopy};
pub use copy_steps::{BeginCopy, CompletedCopy, CopyBeginning, CopyOrder, Recorded};
pub use credentials::{
    AppToken, Bearer, BearerRobot, EncryptedColumn, OauthToken, Robot, TokenOwner, UsedCredentials,
};
pub use database::{Database, DatabaseOptions};
pub use demand::Demand;
pub use dialect::Engine;
pub use epoch::{Epoch, EpochsNow};
pub use error::{DriverError, MetadataError};
pub use failed_copies::{FailedCopiesOf, FailedCopy};
pub use features::Features;
pub use garbage::{
    ClaimObjects, CollectedBlobs, CollectedTags, Collection, DoomedAt, DoomedObject,
    FailedDeletion, GarbageForecast, GarbageNames, GarbageRun, MarkDeleted, NAMESPACE_QUEUE,
    NamespacePurge, PastTags, Publication, Publishing, Purged, REPOSITORY_QUEUE, Removed,
    StrayManifests, Sweep, SweepProgress,
};
pub use ids::{
    AppTokenId, ApplicationId, JobId, LocationId, ManifestId, OauthTokenId, QuotaId, QuotaLimitId,
    RepositoryId, StorageId, TeamId, UploadId, UserId,
};
pub use image_copies::{CopyAttempt, ImageBlob};
pub use image_events::{IMAGE_COMPLETE, IMAGE_EVENTS_KEPT, ImageEvent, SettledImages};
pub use immutability::ImmutableTags;
pub use instances::Instance;
pub use jobs::{ClaimJobs, Job};
pub use labels::changes::{LabelChange, LabelRecord, LabelsOf, NewLabel};
pub use labels::owed::OwedLabels;
pub use labels::{Labels, PushedLabels};
pub use locations::{LocationRow, LocationState, PlacedBlob};
pub use manifests::{
    ManifestLookup, PutManifest, PutManifestOutcome, Referrer, ReferrersOf, StoredManifest,
};
pub use min_locations::{MinLocations, Spread, Unspread};
pub use permissions::{
    AccountPermission, ChangePermission, Grantee, NamespaceStanding, PathStanding,
    PermissionChange, RepositoryRole, RepositoryStanding, TeamPermission, TeamRole,
};
pub use placement_rules::{NamedRule, NamespaceSettings, WriteLimits};
pub use postgres::{PostgresHost, PostgresOptions, PostgresTls, SslMode, TargetSessionAttrs};
pub use prototypes::{Delegate, PrototypeRecord};
pub use quota::QuotaSizes;
pub use quota_limits::{
    NamespaceSize, QuotaChecks, QuotaLimitKind, QuotaLimitRecord, QuotaRecord, QuotaStanding,
};
pub use removal::{ForgottenLocation, SoleCopies, SoleCopy};
pub use replicators::Replicators;
pub use repositories::{
    ChangeRepository, CreateRepository, Ensured, ListRepositories, ListedRepository, NewRepository,
    Repository, RepositoryActions, RepositoryChange, RepositoryCreation, RepositoryDetails,
    RepositoryPath, RepositoryState,
};
pub use robots::{NewRobot, RobotPlace, RobotRecord};
pub use schema::{Revisions, SchemaError, ServerWarning};
pub use scrub::{OrphanObject, ScrubFinding, ScrubLease, ScrubState, ScrubStep};
pub use service_keys::{NewServiceKey, ServiceKey};
pub use sites::{DrainedSite, Sites};
pub use summary::{AffectedImage, MissingCopies};
pub use tags::{
    ChangeTag, Delete, Deletion, PointTag, PointedFrom, TagChange, TagFilter, TagHistory, TagMove,
    TagPage,
};
pub use teams::{Belonging, GrantedRepository, NewOrganization, TeamRecord};
pub use totals::{QueueState, Totals};
pub use upload_steps::{AdvanceUpload, NewUpload};
pub use uploads::Upload;
pub use users::{About, AccountRecord, AccountsOf, NewUser};
pub use webhooks::{DeliveriesEnded, Delivery, NewWebhook, Webhook, WebhookLease};

#[cfg(test)]
mod tests;
