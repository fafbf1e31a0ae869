//! Who is asking: the challenge, the token flow, and what anonymous clients and wrong passwords get.

use roadstead_client::{ClientError, Credentials};
use roadstead_testkit::{ImageKind, TestImage, Universe, UniverseOptions, eventually};

use crate::call::call;

#[tokio::test]
async fn the_base_endpoint_asks_who_we_are_and_says_where_to_get_a_token() {
    let universe = Universe::start().await;
    let anonymous = universe.client_as(0, None);
    // Sent by itself, so that the client does not answer the challenge.
    let bytes = crate::wire::send_bytes(
        universe.address(0),
        b"GET /v2/ HTTP/1.1\r\nHost: registry.test:1234\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(bytes.status, Some(401), "{}", bytes.text);
    let text = bytes.text.to_lowercase();
    assert!(
        text.contains(
            "www-authenticate: bearer realm=\"http://registry.test:1234/v2/auth\",service=\""
        ),
        "{text}"
    );
    assert!(
        text.contains("docker-distribution-api-version: registry/2.0"),
        "{text}"
    );
    assert!(text.contains(r#""code":"unauthorized""#), "{text}");

    universe.client().ping().await.unwrap();
    assert_eq!(anonymous.ping().await.unwrap_err().status().unwrap(), 401);
    universe.finish().await;
}

#[tokio::test]
async fn a_wrong_password_an_unknown_user_and_nobody_push_nothing() {
    let universe = Universe::start().await;
    let image = TestImage::new(1, ImageKind::Oci, &[100]);
    let (repository, reference) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
    for credentials in [
        None,
        Some(Credentials::new("admin", "wrong")),
        Some(Credentials::new("nobody", universe.password())),
        Some(Credentials::new("", "")),
    ] {
        let client = universe.client_as(0, credentials.clone());
        let error = image
            .push(&client, &repository, &reference)
            .await
            .unwrap_err();
        assert_eq!(error.status().unwrap(), 401, "{credentials:?}: {error}");
        assert_eq!(error.code(), Some("UNAUTHORIZED"), "{credentials:?}");
    }
    // A wrong password makes the next attempt wait a moment, also one with the right password.
    let repositories = eventually("the right password is taken again", async || {
        universe.client().catalog().await.ok()
    })
    .await;
    assert_eq!(repositories, Vec::<String>::new());
    universe.finish().await;
}

#[tokio::test]
async fn a_private_repository_looks_to_strangers_as_one_that_does_not_exist() {
    let universe = Universe::start().await;
    let image = TestImage::new(1, ImageKind::Oci, &[100]);
    let (repository, reference) = ("team/private".parse().unwrap(), "v1".parse().unwrap());
    image
        .push(&universe.client(), &repository, &reference)
        .await
        .unwrap();
    let stranger = universe.client_as(0, None);
    let nowhere = "team/nowhere".parse().unwrap();
    for name in [&repository, &nowhere] {
        let error = stranger.get_manifest(name, &reference).await.unwrap_err();
        assert_eq!(error.status().unwrap(), 401, "{name}: {error}");
        assert!(matches!(error, ClientError::Refused { .. }));
    }
    universe.finish().await;
}

#[tokio::test]
async fn anybody_pulls_from_a_public_repository_and_nobody_else_pushes_to_it() {
    let universe = UniverseOptions::default()
        .key("CREATE_PRIVATE_REPO_ON_PUSH", false)
        .start()
        .await;
    let image = TestImage::new(1, ImageKind::Oci, &[100]);
    let (repository, reference) = ("team/public".parse().unwrap(), "v1".parse().unwrap());
    image
        .push(&universe.client(), &repository, &reference)
        .await
        .unwrap();
    let stranger = universe.client_as(0, None);
    image
        .pull(&stranger, &repository, &reference)
        .await
        .unwrap();
    assert_eq!(stranger.tags(&repository).await.unwrap(), ["v1"]);
    let error = image.push_blobs(&stranger, &repository).await.unwrap_err();
    assert_eq!(error.status().unwrap(), 401, "{error}");
    universe.finish().await;
}

#[tokio::test]
async fn a_token_names_what_it_is_for_and_reaches_no_further() {
    let universe = Universe::start().await;
    let (client, password) = (universe.client(), universe.password());
    let image = TestImage::new(1, ImageKind::Oci, &[100]);
    let (repository, reference) = ("team/one".parse().unwrap(), "v1".parse().unwrap());
    image.push(&client, &repository, &reference).await.unwrap();
    let token = crate::wire::bearer(&client, &password, "team/two").await;
    for (path, status) in [
        ("/v2/team/two/tags/list", 200),
        ("/v2/team/one/tags/list", 401),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
        );
        let answer = crate::wire::send_bytes(universe.address(0), request.as_bytes()).await;
        assert_eq!(answer.status, Some(status), "{path}: {}", answer.text);
    }
    universe.finish().await;
}

#[tokio::test]
async fn nonsense_in_the_authorization_header_is_refused_and_not_a_failure() {
    let universe = Universe::start().await;
    for value in [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Bearer a.b.c",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Basic",
        "Basic !!!",
        "Basic OjpAOg==",
        "Digest x",
        "\u{7f}",
    ] {
        let request = format!(
            "GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: {value}\r\nConnection: close\r\n\r\n"
        );
        let answer = crate::wire::send_bytes(universe.address(0), request.as_bytes()).await;
        assert!(
            matches!(answer.status, Some(400 | 401)),
            "{value:?}: {}",
            answer.text
        );
    }
    universe.finish().await;
}

#[tokio::test]
async fn a_scope_that_makes_no_sense_gets_no_token() {
    let universe = Universe::start().await;
    let credentials = Credentials::new("admin", universe.password());
    let client = universe.client_as(0, Some(credentials));
    client.ping().await.unwrap();
    for scope in [
        "repository",
        "repository:a/b",
        "repository:..%2F..:pull",
        "repository:a/b:fly",
        "%00",
        "%ff",
    ] {
        let reply = call("GET", format!("/v2/auth?service=x&scope={scope}"))
            .send(&client)
            .await;
        assert!(
            reply.status == 400 || reply.status == 401,
            "{scope}: {reply:?}"
        );
    }
    universe.finish().await;
}
