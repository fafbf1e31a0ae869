//! Robots of organizations, and of the one who asks.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{
    GrantedPermissions, NewRobotDocument, RobotDocument, RobotSight, Robots,
};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{About, Operation, QueryKind, QueryParameter};
use crate::v1::standing::{administers, inspects};

const ROBOTS_QUERY: &[QueryParameter] = &[
    QueryParameter {
        name: "permissions",
        kind: QueryKind::Flag,
        summary: "Whether the teams and repositories that they are in are wanted.",
    },
    QueryParameter {
        name: "token",
        kind: QueryKind::Flag,
        summary: "Whether their tokens are wanted; they are unless this is false. Only administrators get them.",
    },
    QueryParameter {
        name: "limit",
        kind: QueryKind::Entries {
            default: 10_000,
            most: 10_000,
        },
        summary: "The most robots.",
    },
];

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/organization/{orgname}/robots",
            "getOrgRobots",
            Need::NamespaceMember,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("Robots, by name.")
        .about(About::Namespace("orgname"))
        .query(ROBOTS_QUERY)
        .gives::<Robots>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/robots/{robot_shortname}",
            "getOrgRobot",
            Need::NamespaceInspect,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("A robot.")
        .about(About::Namespace("orgname"))
        .gives::<RobotDocument>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/organization/{orgname}/robots/{robot_shortname}",
            "createOrgRobot",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Makes a robot with a token.")
        .about(About::Namespace("orgname"))
        .takes::<NewRobotDocument>()
        .gives::<RobotDocument>(StatusCode::CREATED),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/robots/{robot_shortname}",
            "deleteOrgRobot",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Removes a robot, with its roles.")
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::POST,
            "/organization/{orgname}/robots/{robot_shortname}/regenerate",
            "regenerateOrgRobotToken",
            Need::NamespaceAdmin,
            |inner, call| Box::pin(regenerate(inner, call)),
        )
        .summary("Gives a robot another token; the one that it had ends.")
        .about(About::Namespace("orgname"))
        .gives::<RobotDocument>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/robots/{robot_shortname}/permissions",
            "getOrgRobotPermissions",
            Need::NamespaceInspect,
            |inner, call| Box::pin(permissions(inner, call)),
        )
        .summary("In which repositories a robot has which role of its own.")
        .about(About::Namespace("orgname"))
        .gives::<GrantedPermissions>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/robots",
            "getUserRobots",
            Need::OwnAccount,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("Robots, by name.")
        .query(ROBOTS_QUERY)
        .gives::<Robots>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/robots/{robot_shortname}",
            "getUserRobot",
            Need::OwnAccount,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("A robot.")
        .gives::<RobotDocument>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/user/robots/{robot_shortname}",
            "createUserRobot",
            Need::OwnAccount,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Makes a robot with a token.")
        .takes::<NewRobotDocument>()
        .gives::<RobotDocument>(StatusCode::CREATED),
        Operation::new(
            Method::DELETE,
            "/user/robots/{robot_shortname}",
            "deleteUserRobot",
            Need::OwnAccount,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Removes a robot, with its roles."),
        Operation::new(
            Method::POST,
            "/user/robots/{robot_shortname}/regenerate",
            "regenerateUserRobotToken",
            Need::OwnAccount,
            |inner, call| Box::pin(regenerate(inner, call)),
        )
        .summary("Gives a robot another token; the one that it had ends.")
        .gives::<RobotDocument>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/robots/{robot_shortname}/permissions",
            "getUserRobotPermissions",
            Need::OwnAccount,
            |inner, call| Box::pin(permissions(inner, call)),
        )
        .summary("In which repositories a robot has which role of its own.")
        .gives::<GrantedPermissions>(StatusCode::OK),
    ]
}

/// Whose robots the call is about.
fn owner<'a>(call: &'a Call<'_>) -> &'a str {
    organization(call).unwrap_or_else(|| call.username())
}

/// The organisation whose robots the call is about; none: they are the caller's own.
fn organization<'a>(call: &'a Call<'_>) -> Option<&'a str> {
    match call.operation.about {
        About::Namespace(name) => Some(call.parameter(name)),
        About::Registry | About::Repository(_) | About::Document => None,
    }
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let token = call.text("token")?.is_none() || call.flag("token")?;
    let permissions = call.flag("permissions")?;
    let (sees_tokens, sees_places) = match organization(&call) {
        Some(name) => (
            administers(inner, &call.identity, name).await?,
            inspects(inner, &call.identity, name).await?,
        ),
        None => (true, true),
    };
    let sight = RobotSight {
        token: token && sees_tokens,
        permissions: permissions && sees_places,
    };
    let robots = inner
        .management
        .robots(owner(&call), sight, call.number("limit")?)
        .await?;
    Ok(json_response(StatusCode::OK, &robots))
}

async fn get(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let token = match organization(&call) {
        Some(name) => administers(inner, &call.identity, name).await?,
        None => true,
    };
    let (owner, short) = (owner(&call), call.parameter("robot_shortname"));
    let robot = inner.management.robot(owner, short, token).await?;
    Ok(json_response(StatusCode::OK, &robot))
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: NewRobotDocument = call.document(inner).await?;
    let (owner, short) = (owner(&call), call.parameter("robot_shortname"));
    let robot = inner
        .management
        .create_robot(owner, short, &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::CREATED, &robot))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (owner, short) = (owner(&call), call.parameter("robot_shortname"));
    inner
        .management
        .delete_robot(owner, short, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn regenerate(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (owner, short) = (owner(&call), call.parameter("robot_shortname"));
    let robot = inner
        .management
        .regenerate_robot(owner, short, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &robot))
}

async fn permissions(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (owner, short) = (owner(&call), call.parameter("robot_shortname"));
    let permissions = inner.management.robot_permissions(owner, short).await?;
    Ok(json_response(StatusCode::OK, &permissions))
}
