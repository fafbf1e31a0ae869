//! What owners and operators change and look up: accounts, organisations, teams, robots, tokens, repositories, permissions, quotas, the log of actions.
//!
//! Everything is a method of [`Management`]: one decision about names and forms, one transaction, one entry in the log of actions. The HTTP API and the
//! commands are two doors to the same methods; who may come through the first is decided by `auth`, and the second is the operator's.
//! What the methods give are documents in Quay's form, which both doors print as they are.
//!
//! Invariant: no HTTP and no SQL here; a secret is in a document only where it has just been made or was asked for; nothing is changed that is not logged.

mod app_tokens;
mod applications;
mod avatar;
mod entities;
mod error;
mod forms;
mod logs;
mod management;
mod manifests;
mod organizations;
mod permissions;
mod prototypes;
mod quotas;
mod repositories;
mod robots;
mod tags;
mod users;

pub use app_tokens::{
    AppTokenDocument, AppTokenInList, AppTokens, NewAppTokenDocument, OneAppToken,
};
pub use applications::{
    ApplicationChanges, ApplicationDocument, Applications, CreatedOauthToken,
    NewApplicationDocument, OAUTH_TOKEN_LIFE, OauthTokenDocument,
};
pub use avatar::Avatar;
pub use entities::{Entities, Entity, EntitySearch};
pub use error::ManagementError;
pub use forms::{Moment, Password, Shown};
pub use logs::{
    LogCountView, LogCounts, LogCursor, LogList, LogListing, LogNamespace, LogPerformer, LogView,
    NoLogCursor,
};
pub use management::{Management, ManagementOptions};
pub use manifests::{
    LabelList, LabelMediaType, LabelView, ManifestLayer, ManifestView, NewLabelDocument, OneLabel,
};
pub use organizations::{
    Collaborator, Collaborators, GrantedPermission, GrantedPermissions, Member, MemberTeam,
    Members, NewOrganizationDocument, OrganizationChanges, OrganizationDocument,
    PermittedRepository, Sight, TeamChanges, TeamDocument, TeamInOrganization, TeamMember,
    TeamMembers, TeamRoleName,
};
pub use permissions::{
    PermissionDocument, RoleView, TeamPermissionView, TeamPermissions, TransitivePermissions,
    UserPermissionView, UserPermissions,
};
pub use prototypes::{
    ActivatingUser, DelegateDocument, DelegateKind, NewDelegate, NewPrototype, PrototypeChanges,
    PrototypeDocument, Prototypes, RoleName,
};
pub use quotas::{
    LimitType, NewQuotaLimit, QuotaDocument, QuotaLimitChanges, QuotaLimitDocument, QuotaReport,
    QuotaSize,
};
pub use repositories::{
    CreatedRepository, DescriptionDocument, LastModified, NewRepositoryDocument, RepositoryDay,
    RepositoryEntry, RepositoryKind, RepositoryList, RepositoryListing, RepositoryQuestion,
    RepositoryTag, RepositoryView, StateDocument, Success, Visibility, VisibilityDocument,
    WantedState,
};
pub use robots::{NewRobotDocument, RobotDocument, RobotInList, RobotSight, Robots};
pub use tags::{Expiration, TagChanges, TagList, TagListing, TagRestoration, TagView};
pub use users::{
    Initialization, Initialized, InstallOrganization, InstallOrganizations, InstallUser,
    InstallUserChanges, InstallUserDocument, InstallUsers, InstalledUser, NewUserDocument,
    OwnAccount, OwnChanges, OwnOrganization, PublicAccount, Renaming, TakenOver,
};
