//! Quotas of namespaces, and their limits. Superusers change them.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{
    NewQuotaLimit, QuotaDocument, QuotaLimitChanges, QuotaLimitDocument, QuotaSize,
};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{About, Operation};

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/organization/{orgname}/quota",
            "listOrganizationQuota",
            Need::NamespaceMember,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The quota of a namespace: one, the registry's default, or none.")
        .about(About::Namespace("orgname"))
        .gives::<Vec<QuotaDocument>>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/organization/{orgname}/quota",
            "createOrganizationQuota",
            Need::Superuser,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Gives a namespace a quota.")
        .changes_no_rights()
        .about(About::Namespace("orgname"))
        .takes::<QuotaSize>()
        .gives::<String>(StatusCode::CREATED),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/quota/{quota_id}",
            "getOrganizationQuota",
            Need::NamespaceMember,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("A quota.")
        .about(About::Namespace("orgname"))
        .gives::<QuotaDocument>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/organization/{orgname}/quota/{quota_id}",
            "changeOrganizationQuota",
            Need::Superuser,
            |inner, call| Box::pin(change(inner, call)),
        )
        .summary("Gives a quota another size.")
        .changes_no_rights()
        .about(About::Namespace("orgname"))
        .takes::<QuotaSize>()
        .gives::<QuotaDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/quota/{quota_id}",
            "deleteOrganizationQuota",
            Need::Superuser,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Takes a quota away, with its limits.")
        .changes_no_rights()
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/quota/{quota_id}/limit",
            "listOrganizationQuotaLimit",
            Need::NamespaceMember,
            |inner, call| Box::pin(list_limits(inner, call)),
        )
        .summary("The limits of a quota.")
        .about(About::Namespace("orgname"))
        .gives::<Vec<QuotaLimitDocument>>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/organization/{orgname}/quota/{quota_id}/limit/{limit_id}",
            "getOrganizationQuotaLimit",
            Need::NamespaceMember,
            |inner, call| Box::pin(get_limit(inner, call)),
        )
        .summary("A limit of a quota.")
        .about(About::Namespace("orgname"))
        .gives::<QuotaLimitDocument>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/organization/{orgname}/quota/{quota_id}/limit",
            "createOrganizationQuotaLimit",
            Need::Superuser,
            |inner, call| Box::pin(create_limit(inner, call)),
        )
        .summary("Gives a quota a limit.")
        .changes_no_rights()
        .about(About::Namespace("orgname"))
        .takes::<NewQuotaLimit>()
        .gives::<String>(StatusCode::CREATED),
        Operation::new(
            Method::PUT,
            "/organization/{orgname}/quota/{quota_id}/limit/{limit_id}",
            "changeOrganizationQuotaLimit",
            Need::Superuser,
            |inner, call| Box::pin(change_limit(inner, call)),
        )
        .summary("Changes a limit of a quota.")
        .changes_no_rights()
        .about(About::Namespace("orgname"))
        .takes::<QuotaLimitChanges>()
        .gives::<QuotaDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/organization/{orgname}/quota/{quota_id}/limit/{limit_id}",
            "deleteOrganizationQuotaLimit",
            Need::Superuser,
            |inner, call| Box::pin(delete_limit(inner, call)),
        )
        .summary("Takes a limit away.")
        .changes_no_rights()
        .about(About::Namespace("orgname")),
        Operation::new(
            Method::GET,
            "/user/quota",
            "listUserQuota",
            Need::OwnAccount,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The quota of a namespace: one, the registry's default, or none.")
        .gives::<Vec<QuotaDocument>>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/quota/{quota_id}",
            "getUserQuota",
            Need::OwnAccount,
            |inner, call| Box::pin(get(inner, call)),
        )
        .summary("A quota.")
        .gives::<QuotaDocument>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/quota/{quota_id}/limit",
            "listUserQuotaLimit",
            Need::OwnAccount,
            |inner, call| Box::pin(list_limits(inner, call)),
        )
        .summary("The limits of a quota.")
        .gives::<Vec<QuotaLimitDocument>>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/quota/{quota_id}/limit/{limit_id}",
            "getUserQuotaLimit",
            Need::OwnAccount,
            |inner, call| Box::pin(get_limit(inner, call)),
        )
        .summary("A limit of a quota.")
        .gives::<QuotaLimitDocument>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/superuser/users/{namespace}/quota",
            "listUserQuotaSuperUser",
            Need::SuperuserRead,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The quota of a namespace: one, the registry's default, or none.")
        .gives::<Vec<QuotaDocument>>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/superuser/users/{namespace}/quota",
            "createUserQuotaSuperUser",
            Need::Superuser,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Gives a namespace a quota.")
        .changes_no_rights()
        .takes::<QuotaSize>()
        .gives::<String>(StatusCode::CREATED),
        Operation::new(
            Method::PUT,
            "/superuser/users/{namespace}/quota/{quota_id}",
            "changeUserQuotaSuperUser",
            Need::Superuser,
            |inner, call| Box::pin(change(inner, call)),
        )
        .summary("Gives a quota another size.")
        .changes_no_rights()
        .takes::<QuotaSize>()
        .gives::<QuotaDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/superuser/users/{namespace}/quota/{quota_id}",
            "deleteUserQuotaSuperUser",
            Need::Superuser,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Takes a quota away, with its limits.")
        .changes_no_rights(),
        Operation::new(
            Method::GET,
            "/superuser/organization/{namespace}/quota",
            "listOrganizationQuotaSuperUser",
            Need::SuperuserRead,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("The quota of a namespace: one, the registry's default, or none.")
        .gives::<Vec<QuotaDocument>>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/superuser/organization/{namespace}/quota",
            "createOrganizationQuotaSuperUser",
            Need::Superuser,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Gives a namespace a quota.")
        .changes_no_rights()
        .takes::<QuotaSize>()
        .gives::<String>(StatusCode::CREATED),
        Operation::new(
            Method::PUT,
            "/superuser/organization/{namespace}/quota/{quota_id}",
            "changeOrganizationQuotaSuperUser",
            Need::Superuser,
            |inner, call| Box::pin(change(inner, call)),
        )
        .summary("Gives a quota another size.")
        .changes_no_rights()
        .takes::<QuotaSize>()
        .gives::<QuotaDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/superuser/organization/{namespace}/quota/{quota_id}",
            "deleteOrganizationQuotaSuperUser",
            Need::Superuser,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Takes a quota away, with its limits.")
        .changes_no_rights(),
    ]
}

/// Whose quota the call is about.
fn namespace<'a>(call: &'a Call<'_>) -> &'a str {
    for name in ["orgname", "namespace"] {
        if call.operation.path_parameters().any(|known| known == name) {
            return call.parameter(name);
        }
    }
    call.username()
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let quotas = inner.management.quotas(namespace(&call)).await?;
    Ok(json_response(StatusCode::OK, &quotas))
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: QuotaSize = call.document(inner).await?;
    inner
        .management
        .create_quota(namespace(&call), &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::CREATED, &"Created"))
}

async fn get(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let namespace = namespace(&call);
    let id = call.parameter("quota_id");
    let quota = inner.management.quota(namespace, id).await?;
    Ok(json_response(StatusCode::OK, &quota))
}

async fn change(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: QuotaSize = call.document(inner).await?;
    let namespace = namespace(&call);
    let id = call.parameter("quota_id");
    let quota = inner
        .management
        .change_quota(namespace, id, &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &quota))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let namespace = namespace(&call);
    let id = call.parameter("quota_id");
    inner
        .management
        .delete_quota(namespace, id, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_limits(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let namespace = namespace(&call);
    let id = call.parameter("quota_id");
    let limits = inner.management.quota_limits(namespace, id).await?;
    Ok(json_response(StatusCode::OK, &limits))
}

async fn get_limit(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let namespace = namespace(&call);
    let ids = (call.parameter("quota_id"), call.parameter("limit_id"));
    let limit = inner.management.quota_limit(namespace, ids).await?;
    Ok(json_response(StatusCode::OK, &limit))
}

async fn create_limit(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: NewQuotaLimit = call.document(inner).await?;
    let namespace = namespace(&call);
    let id = call.parameter("quota_id");
    inner
        .management
        .create_quota_limit(namespace, id, &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::CREATED, &"Created"))
}

async fn change_limit(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: QuotaLimitChanges = call.document(inner).await?;
    let namespace = namespace(&call);
    let ids = (call.parameter("quota_id"), call.parameter("limit_id"));
    let quota = inner
        .management
        .change_quota_limit(namespace, ids, &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &quota))
}

async fn delete_limit(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let namespace = namespace(&call);
    let ids = (call.parameter("quota_id"), call.parameter("limit_id"));
    inner
        .management
        .delete_quota_limit(namespace, ids, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
