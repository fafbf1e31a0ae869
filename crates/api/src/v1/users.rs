//! Accounts of people: the first one, one's own, those that superusers look after.

use http::{Method, Response, StatusCode};
use roadstead_auth::Need;
use roadstead_management::{
    Entities, EntitySearch, Initialization, Initialized, InstallOrganization, InstallOrganizations,
    InstallUser, InstallUserChanges, InstallUserDocument, InstallUsers, InstalledUser,
    ManagementError, NewUserDocument, OwnAccount, OwnChanges, PublicAccount, Renaming, TakenOver,
};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::Call;
use crate::v1::operation::{Operation, QueryKind, QueryParameter};
use crate::v1::standing::belongs;

/// The number of entries of a page.
const LIMIT: QueryParameter = QueryParameter {
    name: "limit",
    kind: QueryKind::Entries {
        default: 1000,
        most: 1000,
    },
    summary: "The most entries.",
};

/// Where a page begins.
const NEXT_PAGE: QueryParameter = QueryParameter {
    name: "next_page",
    kind: QueryKind::Text,
    summary: "What the page before said.",
};

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            "/user/initialize",
            "initializeUser",
            Need::Nothing,
            |inner, call| Box::pin(initialize(inner, call)),
        )
        .summary("Makes the first account of an empty registry, where FEATURE_USER_INITIALIZE allows it.")
        .takes::<Initialization>()
        .gives::<Initialized>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/user/",
            "getLoggedInUser",
            Need::Account,
            |inner, call| Box::pin(own(inner, call)),
        )
        .summary("The account of the one who asks.")
        .gives::<OwnAccount>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/user/",
            "changeUserDetails",
            Need::OwnAccount,
            |inner, call| Box::pin(change_own(inner, call)),
        )
        .summary("Changes the account of the one who asks: password, address, how long deleted tags are kept.")
        .takes::<OwnChanges>()
        .gives::<OwnAccount>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/user/",
            "createNewUser",
            Need::Nothing,
            |inner, call| Box::pin(create(inner, call)),
        )
        .summary("Makes an account, where FEATURE_USER_CREATION allows it.")
        .takes::<NewUserDocument>()
        .gives::<PublicAccount>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/users/{username}",
            "getUserInformation",
            Need::Account,
            |inner, call| Box::pin(public(inner, call)),
        )
        .summary("What everybody with an account may know of one.")
        .gives::<PublicAccount>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/entities/{prefix}",
            "getMatchingEntities",
            Need::Account,
            |inner, call| Box::pin(entities(inner, call)),
        )
        .summary("People, robots and teams whose names begin so.")
        .query(&[
            QueryParameter {
                name: "namespace",
                kind: QueryKind::Text,
                summary: "The namespace whose robots and teams are looked through too.",
            },
            QueryParameter {
                name: "includeTeams",
                kind: QueryKind::Flag,
                summary: "Whether teams are wanted.",
            },
            QueryParameter {
                name: "includeOrgs",
                kind: QueryKind::Flag,
                summary: "Whether the organization itself is wanted.",
            },
        ])
        .gives::<Entities>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/superuser/users/",
            "listAllUsers",
            Need::SuperuserRead,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary("All accounts of people, oldest first.")
        .query(&[
            QueryParameter {
                name: "disabled",
                kind: QueryKind::Flag,
                summary: "Whether those are wanted that may not be used; they are unless this is false.",
            },
            LIMIT,
            NEXT_PAGE,
        ])
        .gives::<InstallUsers>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/superuser/users/",
            "createInstallUser",
            Need::Superuser,
            |inner, call| Box::pin(install(inner, call)),
        )
        .summary("Makes an account with a password that is drawn for it.")
        .takes::<InstallUser>()
        .gives::<InstalledUser>(StatusCode::OK),
        Operation::new(
            Method::GET,
            "/superuser/users/{username}",
            "getInstallUser",
            Need::SuperuserRead,
            |inner, call| Box::pin(installed(inner, call)),
        )
        .summary("An account.")
        .gives::<InstallUserDocument>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/superuser/users/{username}",
            "changeInstallUser",
            Need::Superuser,
            |inner, call| Box::pin(change_installed(inner, call)),
        )
        .summary("Changes an account that is no superuser's: password, address, whether it may be used.")
        .takes::<InstallUserChanges>()
        .gives::<InstallUserDocument>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/superuser/users/{username}",
            "deleteInstallUser",
            Need::Superuser,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Deletes an account that is no superuser's, with everything in its namespace."),
        Operation::new(
            Method::GET,
            "/superuser/organizations/",
            "listAllOrganizations",
            Need::SuperuserRead,
            |inner, call| Box::pin(list_organizations(inner, call)),
        )
        .summary("All organizations, oldest first.")
        .query(&[LIMIT, NEXT_PAGE])
        .gives::<InstallOrganizations>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/superuser/organizations/{name}",
            "changeOrganization",
            Need::Superuser,
            |inner, call| Box::pin(rename_organization(inner, call)),
        )
        .summary("Gives an organization another name, and its robots with it.")
        .takes::<Renaming>()
        .gives::<InstallOrganization>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/superuser/organizations/{name}",
            "deleteOrganization",
            Need::Superuser,
            |inner, call| Box::pin(delete_organization(inner, call)),
        )
        .summary("Deletes an organization with everything in it."),
        Operation::new(
            Method::POST,
            "/superuser/takeownership/{namespace}",
            "takeOwnership",
            Need::Superuser,
            |inner, call| Box::pin(take_ownership(inner, call)),
        )
        .summary("Makes the one who asks an administrator of a namespace; a person's becomes an organization.")
        .gives::<TakenOver>(StatusCode::OK),
    ]
}

async fn initialize(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: Initialization = call.document(inner).await?;
    let made = inner
        .management
        .initialize(&document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &made))
}

async fn own(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let account = inner.management.own_account(call.username()).await?;
    Ok(json_response(StatusCode::OK, &account))
}

async fn change_own(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: OwnChanges = call.document(inner).await?;
    let username = call.username();
    inner
        .management
        .change_own_account(username, &document, &call.actor())
        .await?;
    let account = inner.management.own_account(username).await?;
    Ok(json_response(StatusCode::OK, &account))
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    if !inner.authenticator.options().user_creation {
        return Err(ManagementError::NotConfigured {
            key: "FEATURE_USER_CREATION",
        }
        .into());
    }
    let document: NewUserDocument = call.document(inner).await?;
    inner
        .management
        .create_user(&document, &call.actor())
        .await?;
    let account = inner.management.public_account(&document.username).await?;
    Ok(json_response(StatusCode::OK, &account))
}

async fn public(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let account = inner
        .management
        .public_account(call.parameter("username"))
        .await?;
    Ok(json_response(StatusCode::OK, &account))
}

async fn entities(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let namespace = call.text("namespace")?.filter(|name| !name.is_empty());
    let namespace = match &namespace {
        Some(name) if !name.contains('\0') && belongs(inner, &call.identity, name).await? => {
            Some(name.as_ref())
        }
        _ => None,
    };
    let found = inner
        .management
        .entities(EntitySearch {
            prefix: call.parameter("prefix"),
            namespace,
            teams: call.flag("includeTeams")?,
            organization: call.flag("includeOrgs")?,
        })
        .await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let disabled = call.text("disabled")?.is_none() || call.flag("disabled")?;
    let (after, limit) = (call.next_page("next_page")?, call.number("limit")?);
    let users = inner
        .management
        .install_users(disabled, after, limit)
        .await?;
    Ok(json_response(StatusCode::OK, &users))
}

async fn install(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: InstallUser = call.document(inner).await?;
    let made = inner
        .management
        .create_install_user(&document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &made))
}

async fn installed(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let user = inner
        .management
        .install_user(call.parameter("username"))
        .await?;
    Ok(json_response(StatusCode::OK, &user))
}

async fn change_installed(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: InstallUserChanges = call.document(inner).await?;
    let user = inner
        .management
        .change_install_user(call.parameter("username"), &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &user))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    inner
        .management
        .delete_user(call.parameter("username"), &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_organizations(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let (after, limit) = (call.next_page("next_page")?, call.number("limit")?);
    let organizations = inner.management.install_organizations(after, limit).await?;
    Ok(json_response(StatusCode::OK, &organizations))
}

async fn rename_organization(
    inner: &Inner,
    mut call: Call<'_>,
) -> Result<Response<Body>, ApiError> {
    let document: Renaming = call.document(inner).await?;
    let organization = inner
        .management
        .rename_organization(call.parameter("name"), &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &organization))
}

async fn delete_organization(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    inner
        .management
        .delete_organization(call.parameter("name"), &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn take_ownership(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let taken = inner
        .management
        .take_ownership(call.parameter("namespace"), call.username(), &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &taken))
}
