//! App-specific tokens: passwords of people for single programs.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{AppTokens, NewAppTokenDocument, OneAppToken};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{Operation, QueryKind, QueryParameter};

/// The most tokens of a list of everybody's.
const ALL_MAX: u32 = 10_000;

const EXPIRING: QueryParameter = QueryParameter {
    name: "expiring",
    kind: QueryKind::Flag,
    summary: "Whether only those are wanted that end soon.",
};

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/user/apptoken",
            "listAppTokens",
            Need::OwnAccount,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The app tokens of the one who asks, without what proves anything.")
        .query(&[EXPIRING])
        .gives::<AppTokens>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/user/apptoken",
            "createAppToken",
            Need::OwnAccount,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Makes an app token.")
        .takes::<NewAppTokenDocument>()
        .gives::<OneAppToken>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/apptoken/{token_uuid}",
            "getAppToken",
            Need::OwnAccount,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("An app token, with what proves it.")
        .gives::<OneAppToken>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/user/apptoken/{token_uuid}",
            "revokeAppToken",
            Need::OwnAccount,
            |inner, call| Box::pin(revoke(inner, call)),
        )
        .summary("Ends an app token."),
        Operation::new(
            Method::GET,
            "/superuser/apptokens",
            "listAllAppTokens",
            Need::SuperuserRead,
            |inner, call| Box::pin(list_all(inner, call)),
        )
        .summary("The app tokens of everybody, without what proves anything.")
        .query(&[EXPIRING])
        .gives::<AppTokens>(StatusCode::OK),
    ]
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let expiring = call.flag("expiring")?;
    let tokens = inner
        .management
        .app_tokens(call.username(), expiring)
        .await?;
    Ok(json_response(StatusCode::OK, &tokens))
}

async fn list_all(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let expiring = call.flag("expiring")?;
    let tokens = inner
        .management
        .all_app_tokens(expiring, None, ALL_MAX)
        .await?;
    Ok(json_response(StatusCode::OK, &tokens))
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: NewAppTokenDocument = call.document(inner).await?;
    let token = inner
        .management
        .create_app_token(call.username(), &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &token))
}

async fn get(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let token = inner
        .management
        .app_token(call.username(), call.parameter("token_uuid"))
        .await?;
    Ok(json_response(StatusCode::OK, &token))
}

async fn revoke(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    inner
        .management
        .revoke_app_token(
            Some(call.username()),
            call.parameter("token_uuid"),
            &call.actor(),
        )
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
