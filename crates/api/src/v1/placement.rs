//! Where images belong, for those who administer them: `/api/v1/organization/<name>/placement`, `/api/v1/user/placement` and
//! `/api/v1/repository/<repository>/placement`. The same rules as `admin placement`, with a bound on how many a namespace may have. What a change demands is
//! queued by the next reconciliation, within a minute.

use std::time::Duration;

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::ManagementError;
use roadstead_replication::{DemandError, Place, RuleWording};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::{Call, malformed};
use crate::v1::operation::{About, Object, Operation, QueryKind, QueryParameter};
use crate::v1::repositories::REPOSITORY;

/// The most locations that a document names.
const LOCATIONS_MAX: usize = 100;

/// The most copies, and the most locations that a push waits for.
const COPIES_MAX: u32 = 1_000;

/// The longest that a push may be said to wait: a day. The operator's bound is another.
const DEADLINE_SECONDS_MAX: u32 = 86_400;

/// The most rules that the administrators of one namespace may set, of the 1,000 that a registry may have.
const RULES_MAX: usize = 20;

/// How long a push waits unless somebody says otherwise, as of `admin placement set`.
const DEADLINE_SECONDS: u32 = 60;

const ORGANIZATION: &str = "/organization/{orgname}/placement";
const USER: &str = "/user/placement";
const OF_REPOSITORY: &str = "/repository/{repository}/placement";

const TAGS: &[QueryParameter] = &[QueryParameter {
    name: "tags",
    kind: QueryKind::Text,
    summary: "The rule for this pattern of tags, and not the one for all.",
}];

/// Where images belong. Of several rules the most specific counts: repository and tags, repository, namespace and tags, namespace.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
struct PlacementRuleDocument {
    /// Only images with a tag that fits this pattern, in which `*` and `?` are wildcards; all if left out.
    #[schemars(length(min = 1, max = 128))]
    tags: Option<String>,
    /// The locations that must hold them.
    #[schemars(length(max = 100))]
    locations: Option<Vec<String>>,
    /// How many locations must hold them at least.
    #[schemars(range(min = 1, max = 1_000))]
    copies: Option<u32>,
    /// Whether they never leave `locations`.
    only: Option<bool>,
}

/// Where the images of a namespace belong, and what its pushes wait for. What is left out stays.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
struct NamespacePlacementDocument {
    #[serde(flatten)]
    rule: PlacementRuleDocument,
    /// Locations that everything must reach besides the default ones, for Quay's workers too.
    #[schemars(length(max = 100))]
    regions: Option<Vec<String>>,
    /// Pushes are acknowledged when so many locations hold them; 0: at once.
    #[schemars(range(min = 0, max = 1_000))]
    min_locations: Option<u32>,
    /// How long a push waits for that, in seconds; 60 if left out.
    #[schemars(range(min = 1, max = 86_400))]
    deadline_seconds: Option<u32>,
}

/// The locations that rules can name.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct LocationNames {
    locations: Vec<NamedLocation>,
}

/// A location.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct NamedLocation {
    /// Its name.
    name: String,
    /// Whether everything belongs there unless a rule says otherwise.
    default: bool,
}

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    let organization = About::Namespace("orgname");
    vec![
        Operation::new(
            Method::GET,
            "/locations",
            "listLocations",
            Need::Account,
            |inner, _| Box::pin(locations(inner)),
        )
        .summary("The locations that placement can name.")
        .gives::<LocationNames>(StatusCode::OK),
        Operation::new(
            Method::GET,
            ORGANIZATION,
            "getOrganizationPlacement",
            Need::NamespaceInspect,
            |inner, call| Box::pin(show(inner, call, of_organization)),
        )
        .summary("Where the images of an organization belong.")
        .about(organization)
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            ORGANIZATION,
            "changeOrganizationPlacement",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(set_of_namespace(inner, call, of_organization)),
        )
        .summary("Says where the images of an organization belong, and what its pushes wait for.")
        .changes_no_rights()
        .about(organization)
        .takes::<NamespacePlacementDocument>()
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            ORGANIZATION,
            "deleteOrganizationPlacement",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(clear(inner, call, of_organization)),
        )
        .summary("Takes a rule of an organization away.")
        .changes_no_rights()
        .about(organization)
        .query(TAGS),
        Operation::new(
            Method::GET,
            USER,
            "getUserPlacement",
            Need::OwnAccount,
            |inner, call| Box::pin(show(inner, call, of_user)),
        )
        .summary("Where the images of the caller belong.")
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            USER,
            "changeUserPlacement",
            Need::OwnAccount,
            |inner, call| Box::pin(set_of_namespace(inner, call, of_user)),
        )
        .summary("Says where the images of the caller belong, and what pushes of them wait for.")
        .changes_no_rights()
        .takes::<NamespacePlacementDocument>()
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            USER,
            "deleteUserPlacement",
            Need::OwnAccount,
            |inner, call| Box::pin(clear(inner, call, of_user)),
        )
        .summary("Takes a rule of the caller away.")
        .changes_no_rights()
        .query(TAGS),
        Operation::new(
            Method::GET,
            OF_REPOSITORY,
            "getRepoPlacement",
            Need::RepositoryInspect,
            |inner, call| Box::pin(show(inner, call, of_repository)),
        )
        .summary("Where the images of a repository belong.")
        .about(REPOSITORY)
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            OF_REPOSITORY,
            "changeRepoPlacement",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(set_of_repository(inner, call)),
        )
        .summary("Says where the images of a repository belong.")
        .changes_no_rights()
        .about(REPOSITORY)
        .takes::<PlacementRuleDocument>()
        .gives::<Object>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            OF_REPOSITORY,
            "deleteRepoPlacement",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(clear(inner, call, of_repository)),
        )
        .summary("Takes a rule of a repository away.")
        .changes_no_rights()
        .about(REPOSITORY)
        .query(TAGS),
    ]
}

/// What a call is about.
type PlaceOf = fn(&Call<'_>) -> Result<Place, ApiError>;

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of several functions that a call is asked by"
)]
fn of_organization(call: &Call<'_>) -> Result<Place, ApiError> {
    Ok(Place {
        namespace: call.parameter("orgname").to_owned(),
        repository: None,
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of several functions that a call is asked by"
)]
fn of_user(call: &Call<'_>) -> Result<Place, ApiError> {
    Ok(Place {
        namespace: call.username().to_owned(),
        repository: None,
    })
}

fn of_repository(call: &Call<'_>) -> Result<Place, ApiError> {
    let path = call.repository()?;
    Ok(Place {
        namespace: path.namespace,
        repository: Some(path.name),
    })
}

async fn locations(inner: &Inner) -> Result<Response<Body>, ApiError> {
    let found = inner.replication.usable_locations().await?;
    let names = LocationNames {
        locations: found
            .into_iter()
            .map(|location| NamedLocation {
                name: location.name.to_string(),
                default: location.default,
            })
            .collect(),
    };
    Ok(json_response(StatusCode::OK, &names))
}

async fn show(inner: &Inner, call: Call<'_>, of: PlaceOf) -> Result<Response<Body>, ApiError> {
    tell(inner, &of(&call)?).await
}

/// What is demanded for a place.
async fn tell(inner: &Inner, place: &Place) -> Result<Response<Body>, ApiError> {
    let demands = inner
        .replication
        .demands(Some(place))
        .await
        .map_err(|error| told(error, place))?;
    Ok(json_response(StatusCode::OK, &demands))
}

async fn set_of_namespace(
    inner: &Inner,
    mut call: Call<'_>,
    of: PlaceOf,
) -> Result<Response<Body>, ApiError> {
    let place = &of(&call)?;
    let document: NamespacePlacementDocument = call.document(inner).await?;
    let replication = &inner.replication;
    let rule = wording(place, &document.rule)?;
    if rule.is_none() && document.regions.is_none() && document.min_locations.is_none() {
        return Err(malformed(
            "name `locations`, `copies`, `regions` or `min_locations`",
        ));
    }
    if let Some(regions) = &document.regions {
        check_names(regions)?;
    }
    check("min_locations", document.min_locations, 0, COPIES_MAX)?;
    check(
        "deadline_seconds",
        document.deadline_seconds,
        1,
        DEADLINE_SECONDS_MAX,
    )?;
    if let Some(rule) = &rule {
        set_rule(inner, rule).await?;
    }
    if let Some(regions) = &document.regions {
        replication
            .set_regions(&place.namespace, regions)
            .await
            .map_err(|error| told(error, place))?;
    }
    if let Some(locations) = document.min_locations {
        let deadline = document.deadline_seconds.unwrap_or(DEADLINE_SECONDS);
        let min = (locations > 0).then(|| (locations, Duration::from_secs(deadline.into())));
        let replicated = inner.registry.options().replication_queue.is_some();
        replication
            .set_min_locations(&place.namespace, min, replicated)
            .await
            .map_err(|error| told(error, place))?;
    }
    note(&call, place);
    tell(inner, place).await
}

async fn set_of_repository(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: PlacementRuleDocument = call.document(inner).await?;
    let place = of_repository(&call)?;
    let rule = wording(&place, &document)?
        .ok_or_else(|| malformed("name `locations` or `copies`, or both"))?;
    set_rule(inner, &rule).await?;
    note(&call, &place);
    tell(inner, &place).await
}

async fn clear(inner: &Inner, call: Call<'_>, of: PlaceOf) -> Result<Response<Body>, ApiError> {
    let place = of(&call)?;
    let tags = call.text("tags")?;
    inner
        .replication
        .clear_rule(&place, tags.as_deref())
        .await
        .map_err(|error| told(error, &place))?;
    note(&call, &place);
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The rule, if the document words one.
fn wording(
    place: &Place,
    document: &PlacementRuleDocument,
) -> Result<Option<RuleWording>, ApiError> {
    let locations = document.locations.clone().unwrap_or_default();
    check_names(&locations)?;
    check("copies", document.copies, 1, COPIES_MAX)?;
    if locations.is_empty() && document.copies.is_none() {
        return if document.tags.is_some() || document.only == Some(true) {
            Err(malformed("a rule names `locations` or `copies`, or both"))
        } else {
            Ok(None)
        };
    }
    Ok(Some(RuleWording {
        place: place.clone(),
        tags: document.tags.clone(),
        locations,
        copies: document.copies.unwrap_or_default(),
        only: document.only.unwrap_or_default(),
    }))
}

fn check_names(locations: &[String]) -> Result<(), ApiError> {
    if locations.len() > LOCATIONS_MAX {
        return Err(malformed(format!(
            "at most {LOCATIONS_MAX} locations can be named"
        )));
    }
    Ok(())
}

fn check(name: &str, number: Option<u32>, least: u32, most: u32) -> Result<(), ApiError> {
    match number {
        Some(number) if !(least..=most).contains(&number) => Err(malformed(format!(
            "`{name}` is a number between {least} and {most}"
        ))),
        _ => Ok(()),
    }
}

/// Sets a rule, if the namespace has not too many.
async fn set_rule(inner: &Inner, rule: &RuleWording) -> Result<(), ApiError> {
    let place = &rule.place;
    let namespace = Place {
        namespace: place.namespace.clone(),
        repository: None,
    };
    let demands = inner
        .replication
        .demands(Some(&namespace))
        .await
        .map_err(|error| told(error, place))?;
    let others = demands
        .rules
        .iter()
        .filter(|other| other.place != *place || other.tags != rule.tags)
        .count();
    if others >= RULES_MAX {
        return Err(ManagementError::Refused {
            reason: format!(
                "namespace `{}` has {others} rules; its administrators may set {RULES_MAX}: delete one first, or ask the operator",
                place.namespace
            ),
        }
        .into());
    }
    inner
        .replication
        .set_rule(rule)
        .await
        .map_err(|error| told(error, place))
}

/// The error as it is told to those who administer a part of the registry: without the names of other parts, or of commands.
fn told(error: DemandError, place: &Place) -> ApiError {
    let what = match error {
        DemandError::UnknownNamespace { .. } => "namespace",
        DemandError::UnknownRepository { .. } => "repository",
        DemandError::NoRule { .. } => "such rule of placement for",
        other => return other.into(),
    };
    ManagementError::Unknown {
        what,
        name: place.to_string(),
    }
    .into()
}

/// Quay's log of actions has no kind of entry for it.
fn note(call: &Call<'_>, place: &Place) {
    let user = call.username();
    tracing::info!(user, %place, "{user} changed where the images of {place} belong");
}
