//! The log of actions, at Quay's addresses: of a repository, of a namespace, of everything.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{LogCounts, LogList, LogListing, ManagementError};
use roadstead_metadata::LogScope;

use crate::body::Body;
use crate::error::ApiError;
use crate::response::json_response;
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{About, Operation, QueryKind, QueryParameter};
use crate::v1::repositories::{NEXT_PAGE, REPOSITORY};

const START: QueryParameter = QueryParameter {
    name: "starttime",
    kind: QueryKind::Text,
    summary: "The first day, as 11/25/2026; a day ago if left out.",
};
const END: QueryParameter = QueryParameter {
    name: "endtime",
    kind: QueryKind::Text,
    summary: "The last day, as 11/25/2026; today if left out.",
};
const PERFORMER: QueryParameter = QueryParameter {
    name: "performer",
    kind: QueryKind::Text,
    summary: "Only what this account did.",
};

const PAGED: &[QueryParameter] = &[START, END, PERFORMER, NEXT_PAGE];
const COUNTED: &[QueryParameter] = &[START, END, PERFORMER];

const ORGANIZATION: About = About::Namespace("orgname");

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    let listing = |operation: Operation| operation.query(PAGED).gives::<LogList>(StatusCode::OK);
    let counting =
        |operation: Operation| operation.query(COUNTED).gives::<LogCounts>(StatusCode::OK);
    vec![
        listing(
            Operation::new(
                Method::GET,
                "/repository/{repository}/logs",
                "listRepoLogs",
                Need::RepositoryInspect,
                |inner, call| Box::pin(list(inner, call, of_repository)),
            )
            .summary("What happened in a repository, the youngest first.")
            .about(REPOSITORY),
        ),
        counting(
            Operation::new(
                Method::GET,
                "/repository/{repository}/aggregatelogs",
                "getAggregateRepoLogs",
                Need::RepositoryInspect,
                |inner, call| Box::pin(count(inner, call, of_repository)),
            )
            .summary("How much happened in a repository, by day and kind, over a month at most.")
            .about(REPOSITORY),
        ),
        listing(
            Operation::new(
                Method::GET,
                "/organization/{orgname}/logs",
                "listOrgLogs",
                Need::NamespaceInspect,
                |inner, call| Box::pin(list(inner, call, of_namespace)),
            )
            .summary("What happened in an organization, the youngest first.")
            .about(ORGANIZATION),
        ),
        counting(
            Operation::new(
                Method::GET,
                "/organization/{orgname}/aggregatelogs",
                "getAggregateOrgLogs",
                Need::NamespaceInspect,
                |inner, call| Box::pin(count(inner, call, of_namespace)),
            )
            .summary("How much happened in an organization, by day and kind, over a month at most.")
            .about(ORGANIZATION),
        ),
        listing(
            Operation::new(
                Method::GET,
                "/user/logs",
                "listUserLogs",
                Need::OwnAccount,
                |inner, call| Box::pin(list(inner, call, of_caller)),
            )
            .summary("What happened in the caller's namespace, the youngest first."),
        ),
        counting(
            Operation::new(
                Method::GET,
                "/user/aggregatelogs",
                "getAggregateUserLogs",
                Need::OwnAccount,
                |inner, call| Box::pin(count(inner, call, of_caller)),
            )
            .summary("How much happened in the caller's namespace, by day and kind."),
        ),
        listing(
            Operation::new(
                Method::GET,
                "/superuser/logs",
                "listAllLogs",
                Need::SuperuserRead,
                |inner, call| Box::pin(list(inner, call, of_everything)),
            )
            .summary("What happened in the registry, the youngest first."),
        ),
        counting(
            Operation::new(
                Method::GET,
                "/superuser/aggregatelogs",
                "getAggregateLogs",
                Need::SuperuserRead,
                |inner, call| Box::pin(count(inner, call, of_everything)),
            )
            .summary("How much happened in the registry, by day and kind, over a month at most."),
        ),
    ]
}

/// Whose entries a call is about.
type ScopeOf = fn(&Call<'_>) -> Result<LogScope, ApiError>;

fn of_repository(call: &Call<'_>) -> Result<LogScope, ApiError> {
    match &call.grounds.repository {
        Some(repository) => Ok(LogScope::Repository(repository.id)),
        None => Err(unknown("repository", call.parameter("repository"))),
    }
}

fn of_namespace(call: &Call<'_>) -> Result<LogScope, ApiError> {
    match &call.grounds.namespace {
        Some(namespace) => Ok(LogScope::Namespace(namespace.id)),
        None => Err(unknown("organization", call.parameter("orgname"))),
    }
}

fn of_caller(call: &Call<'_>) -> Result<LogScope, ApiError> {
    Ok(LogScope::Namespace(call.account()?))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of several functions that a call is asked by"
)]
fn of_everything(_: &Call<'_>) -> Result<LogScope, ApiError> {
    Ok(LogScope::Everything)
}

fn unknown(what: &'static str, name: &str) -> ApiError {
    let name = name.to_owned();
    ManagementError::Unknown { what, name }.into()
}

async fn list(inner: &Inner, call: Call<'_>, of: ScopeOf) -> Result<Response<Body>, ApiError> {
    let (performer, start) = (call.text("performer")?, call.text("starttime")?);
    let end = call.text("endtime")?;
    let listing = LogListing {
        scope: of(&call)?,
        performer: performer.as_deref(),
        start: start.as_deref(),
        end: end.as_deref(),
        after: call.next_page("next_page")?,
    };
    let found = inner.management.list_log(&listing).await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn count(inner: &Inner, call: Call<'_>, of: ScopeOf) -> Result<Response<Body>, ApiError> {
    let (performer, start) = (call.text("performer")?, call.text("starttime")?);
    let end = call.text("endtime")?;
    let listing = LogListing {
        scope: of(&call)?,
        performer: performer.as_deref(),
        start: start.as_deref(),
        end: end.as_deref(),
        after: None,
    };
    let counts = inner.management.count_log(&listing).await?;
    Ok(json_response(StatusCode::OK, &counts))
}
