//! `/api/v1/repository`: repositories, at Quay's addresses.

use http::{Method, Response, StatusCode};
use roadstead_auth::{Need, Subject};
use roadstead_management::{
    CreatedRepository, DescriptionDocument, NewRepositoryDocument, RepositoryList,
    RepositoryListing, RepositoryQuestion, RepositoryView, StateDocument, Success,
    VisibilityDocument,
};
use roadstead_metadata::{CatalogViewer, Repository, RepositoryPath, RepositoryRole};

use crate::body::Body;
use crate::error::ApiError;
use crate::response::{empty, json_response};
use crate::service::Inner;
use crate::v1::call::{Call, malformed};
use crate::v1::operation::{About, Operation, QueryKind, QueryParameter};

/// The repository that the path names.
pub(super) const REPOSITORY: About = About::Repository("repository");

pub(super) const NEXT_PAGE: QueryParameter = QueryParameter {
    name: "next_page",
    kind: QueryKind::Text,
    summary: "`next_page` of the page before.",
};

const fn flag(name: &'static str, summary: &'static str) -> QueryParameter {
    QueryParameter {
        name,
        kind: QueryKind::Flag,
        summary,
    }
}

const LISTED: &[QueryParameter] = &[
    QueryParameter {
        name: "namespace",
        kind: QueryKind::Text,
        summary: "Only those of this namespace.",
    },
    flag("public", "The public ones too."),
    flag("starred", "Only those that the caller has starred."),
    flag("popularity", "Tell how much they are used."),
    flag("last_modified", "Tell when they were changed last."),
    QueryParameter {
        name: "repo_kind",
        kind: QueryKind::Text,
        summary: "What they hold: `image`.",
    },
    NEXT_PAGE,
];

const VIEWED: &[QueryParameter] = &[
    QueryParameter {
        name: "includeTags",
        kind: QueryKind::Flag,
        summary: "Tell its tags, which is done unless it is `false`.",
    },
    flag("includeStats", "Tell how much it was used."),
];

/// All operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::GET,
            "/repository",
            "listRepos",
            Need::Nothing,
            |inner, call| Box::pin(list(inner, call)),
        )
        .summary(
            "Repositories that the caller may see: of a namespace, starred ones, or all with the public ones.",
        )
        .query(LISTED)
        .gives::<RepositoryList>(StatusCode::OK),
        Operation::new(
            Method::POST,
            "/repository",
            "createRepo",
            Need::NamespaceCreate,
            |inner, call| Box::pin(create(inner, call)),
        )
        .about(About::Document)
        .summary("Makes a repository, by whoever may make them in the namespace.")
        .takes::<NewRepositoryDocument>()
        .gives::<CreatedRepository>(StatusCode::CREATED),
        Operation::new(
            Method::GET,
            "/repository/{repository}",
            "getRepo",
            Need::RepositoryRead,
            |inner, call| Box::pin(view(inner, call)),
        )
        .summary("All about a repository.")
        .about(REPOSITORY)
        .query(VIEWED)
        .gives::<RepositoryView>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/repository/{repository}",
            "updateRepo",
            Need::RepositoryWrite,
            |inner, call| Box::pin(describe(inner, call)),
        )
        .summary("Says what a repository is for.")
        .about(REPOSITORY)
        .takes::<DescriptionDocument>()
        .gives::<Success>(StatusCode::OK),
        Operation::new(
            Method::DELETE,
            "/repository/{repository}",
            "deleteRepository",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(delete(inner, call)),
        )
        .summary("Deletes a repository with everything in it.")
        .about(REPOSITORY),
        Operation::new(
            Method::POST,
            "/repository/{repository}/changevisibility",
            "changeRepoVisibility",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(change_visibility(inner, call)),
        )
        .summary("Lets everybody pull from a repository, or only those with a permission.")
        .about(REPOSITORY)
        .takes::<VisibilityDocument>()
        .gives::<Success>(StatusCode::OK),
        Operation::new(
            Method::PUT,
            "/repository/{repository}/changestate",
            "changeRepoState",
            Need::RepositoryAdmin,
            |inner, call| Box::pin(change_state(inner, call)),
        )
        .summary("Says who may push to a repository.")
        .about(REPOSITORY)
        .takes::<StateDocument>()
        .gives::<Success>(StatusCode::OK),
    ]
}

/// The repository that the path names.
pub(super) async fn named(inner: &Inner, path: RepositoryPath) -> Result<Repository, ApiError> {
    Ok(inner.management.repository(&path).await?)
}

async fn list(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    if !call.identity.reaches_repositories() {
        return Err(ApiError::Forbidden);
    }
    let namespace = call.text("namespace")?;
    let (public, starred) = (call.flag("public")?, call.flag("starred")?);
    if namespace.is_none() && !starred && !public {
        return Err(malformed(
            "`namespace`, `starred` or `public` has to be there",
        ));
    }
    let asker = call.identity.id();
    if starred && asker.is_none() {
        return Err(malformed("`starred` is for those with an account"));
    }
    let options = inner.authenticator.options();
    let anonymous_sees_nothing = asker.is_none() && (!public || !options.anonymous_access);
    let other_kind = call.text("repo_kind")?.is_some_and(|kind| kind != "image");
    if anonymous_sees_nothing || other_kind {
        let nothing = RepositoryList {
            repositories: Vec::new(),
            next_page: None,
        };
        return Ok(json_response(StatusCode::OK, &nothing));
    }
    let viewer = match asker {
        None => CatalogViewer::PublicOnly,
        Some(_) if inner.authenticator.sees_all(&call.identity) => CatalogViewer::All,
        Some(account) if public => CatalogViewer::AccountAndPublic(account),
        Some(account) => CatalogViewer::Account(account),
    };
    let found = inner
        .management
        .list_repositories(&RepositoryListing {
            viewer,
            asker,
            namespace: namespace.as_deref(),
            starred,
            last_modified: call.flag("last_modified")?,
            popularity: call.flag("popularity")?,
            after: call.next_page("next_page")?,
        })
        .await?;
    Ok(json_response(StatusCode::OK, &found))
}

async fn create(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let creator = call.account()?;
    let new: NewRepositoryDocument = call.document(inner).await?;
    let namespace = new
        .namespace
        .clone()
        .unwrap_or_else(|| call.username().to_owned());
    if namespace.contains('\0') {
        return Err(malformed("`namespace` is no name"));
    }
    inner
        .authenticator
        .permit(
            &call.identity,
            Need::NamespaceCreate,
            Subject::Namespace(&namespace),
        )
        .await?;
    let created = inner
        .management
        .create_repository(&namespace, &new, creator, &call.actor())
        .await?;
    Ok(json_response(StatusCode::CREATED, &created))
}

async fn view(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    let role = call.grounds.role;
    let question = RepositoryQuestion {
        asker: call.identity.id(),
        can_write: role >= Some(RepositoryRole::Write),
        can_admin: role == Some(RepositoryRole::Admin),
        tags: call.text("includeTags")?.is_none() || call.flag("includeTags")?,
        stats: call.flag("includeStats")?,
    };
    let view = inner
        .management
        .view_repository(&repository, question)
        .await?;
    Ok(json_response(StatusCode::OK, &view))
}

async fn describe(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: DescriptionDocument = call.document(inner).await?;
    let repository = named(inner, call.repository()?).await?;
    let done = inner
        .management
        .describe_repository(&repository, &document, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &done))
}

async fn delete(inner: &Inner, call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let repository = named(inner, call.repository()?).await?;
    inner
        .management
        .delete_repository(&repository, &call.actor())
        .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn change_visibility(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: VisibilityDocument = call.document(inner).await?;
    let repository = named(inner, call.repository()?).await?;
    let done = inner
        .management
        .change_visibility(&repository, document.visibility, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &done))
}

async fn change_state(inner: &Inner, mut call: Call<'_>) -> Result<Response<Body>, ApiError> {
    let document: StateDocument = call.document(inner).await?;
    let repository = named(inner, call.repository()?).await?;
    let done = inner
        .management
        .change_state(&repository, document.state, &call.actor())
        .await?;
    Ok(json_response(StatusCode::OK, &done))
}
