//! What a registry on a database that it shares with Quay answers, and what it writes there of who asked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http::header::AUTHORIZATION;
use roadstead_metadata::{Features, ImmutableTags};
use roadstead_test_servers::{Postgres, PostgresDatabase};

use super::world::{APP, Answer, World, basic, descriptor, image, on, sha256};

/// A world on PostgreSQL, with tags that can be immutable, and its database.
async fn world() -> (World, PostgresDatabase) {
    let server = Postgres::shared().database();
    let world = World::with(|settings| {
        settings.database = Some(on(&server));
        settings.distribution.features = Features {
            immutable_tags: ImmutableTags::Kept,
            ..Features::default()
        };
    })
    .await;
    (world, server)
}

#[tokio::test]
async fn an_immutable_tag_is_refused_in_quays_words() {
    let (world, server) = world().await;
    let digest = world.push_image("1.0").await;
    server.psql("UPDATE tag SET immutable = true");
    let expected = r#"{"errors":[{"code":"TAG_IMMUTABLE","detail":{"message":"tag '1.0' is immutable"},"message":"tag is immutable and cannot be overwritten"}]}"#;
    let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
    let other = image(&[], "");
    let answers = [
        world.push_manifest("1.0", &other).await,
        world
            .request("DELETE", &format!("/v2/{APP}/manifests/1.0"))
            .send()
            .await,
        world
            .request("DELETE", &format!("/v2/{APP}/manifests/{digest}"))
            .send()
            .await,
    ];
    for answer in answers {
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (409, expected.clone())
        );
    }
    assert_eq!(
        world
            .get(&format!("/v2/{APP}/manifests/1.0"))
            .await
            .header("docker-content-digest"),
        digest.as_str()
    );
}

#[tokio::test]
async fn an_upload_that_quay_began_is_unknown_here_and_the_client_is_told_to_start_anew() {
    let (world, server) = world().await;
    let id = "f1763c39-f35e-457f-a309-cf861d02f32d";
    server.psql(&format!(
        r#"INSERT INTO blobupload (repository_id, uuid, byte_count, location_id, storage_metadata, chunk_count)
           SELECT r.id, '{id}', 3, l.id, '{{"chunks": [["uploads/x", 0, 3]]}}', 1
           FROM repository r, imagestoragelocation l WHERE r.name = 'app' AND l.name = 'us'"#
    ));
    let before = server.psql("SELECT * FROM blobupload");
    assert!(!before.is_empty());
    let path = format!("/v2/{APP}/blobs/uploads/{id}");
    let finish = format!("{path}?digest={}", sha256(b"abcdef"));
    for (method, path) in [
        ("GET", &path),
        ("PATCH", &path),
        ("PUT", &finish),
        ("DELETE", &path),
    ] {
        let answer = world.request(method, path).body("def").await;
        assert_eq!(
            answer.error(),
            (404, "BLOB_UPLOAD_UNKNOWN".to_owned()),
            "{method}"
        );
        if method != "HEAD" {
            let message = answer.json()["errors"][0]["message"].to_string();
            assert!(message.contains("start a new one"), "{message}");
        }
    }
    assert_eq!(server.psql("SELECT * FROM blobupload"), before);
}

#[tokio::test]
async fn a_nul_is_refused_wherever_a_client_sends_it() {
    let (world, _server) = world().await;
    let digest = sha256(b"");
    for path in [
        format!("/v2/{APP}/tags/list?last=a%00"),
        "/v2/_catalog?last=a%00".to_owned(),
        format!("/v2/{APP}/referrers/{digest}?artifactType=a%00b"),
        format!("/v2/{APP}/manifests/a%00"),
        "/v2/auth?service=a%00&scope=repository:a:pull".to_owned(),
        "/v2/auth?scope=repository:a%00:pull".to_owned(),
    ] {
        let answer = world
            .request("GET", &path)
            .with(AUTHORIZATION.as_str(), &basic("admin", "wrong"))
            .send()
            .await;
        refused(&path, &answer);
    }
    for header in [
        basic("admin\0", "password"),
        basic("admin", "password\0"),
        format!(
            "Bearer {}.{}.c2ln",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"a\u0000"}"#),
            URL_SAFE_NO_PAD.encode("{}")
        ),
    ] {
        let answer = world
            .request("GET", &format!("/v2/{APP}/tags/list"))
            .anonymously()
            .with(AUTHORIZATION.as_str(), &header)
            .send()
            .await;
        refused(&header, &answer);
        let answer = world
            .request("GET", "/v2/auth?scope=repository:acme/app:pull")
            .anonymously()
            .with(AUTHORIZATION.as_str(), &header)
            .send()
            .await;
        refused(&header, &answer);
    }
    // Within JSON it can be written so that the document has none.
    let config = br#"{"config":{"Labels":{"a\u0000b":"c","d":"e\u0000","kept":"f"}}}"#;
    world.push_blob(config).await;
    let manifest = |more: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[]{more}}}"#,
            descriptor(
                "application/vnd.oci.image.config.v1+json",
                &sha256(config),
                config.len()
            )
        )
    };
    for more in [
        r#","annotations":{"a":"b\u0000"}"#,
        r#","annotations":{"a\u0000":"b"}"#,
        r#","artifactType":"application/vnd.a\u0000""#,
    ] {
        refused(more, &world.push_manifest("v1", &manifest(more)).await);
    }
    let answer = world.push_manifest("v1", &manifest("")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

fn refused(what: &str, answer: &Answer) {
    assert!(answer.status.is_client_error(), "{what}: {answer:?}");
}

#[tokio::test]
async fn the_log_tells_who_asked_from_where_and_with_what() {
    let (world, server) = world().await;
    world.push_image("1.0").await;
    let service = world.service.for_client("192.0.2.7".parse().unwrap());
    for (method, token) in [("HEAD", true), ("GET", true), ("GET", false)] {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/v2/{APP}/manifests/1.0"))
            .header("user-agent", "docker/29 \"quoted\"");
        if token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", world.token));
        }
        let body = http_body_util::Full::new(bytes::Bytes::new());
        let answer = service.answer(request.body(body).unwrap()).await;
        assert_eq!(answer.status().is_success(), token);
    }
    world.registry.write_pull_notes().await.unwrap();
    assert_eq!(
        server.psql(
            r#"SELECT k.name, u.username, l.ip, l.metadata_json FROM logentry3 l
               JOIN logentrykind k ON k.id = l.kind_id LEFT JOIN "user" u ON u.id = l.performer_id ORDER BY l.id"#
        ),
        [
            r#"push_repo|admin||{"repo": "app", "namespace": "acme", "user-agent": "", "tag": "1.0", "mediaType": "application/vnd.oci.image.manifest.v1+json", "username": "admin"}"#,
            r#"pull_repo|admin|192.0.2.7|{"repo": "app", "namespace": "acme", "user-agent": "docker/29 \"quoted\"", "tag": "1.0", "mediaType": "application/vnd.oci.image.manifest.v1+json", "username": "admin"}"#,
            r#"pull_repo|admin|192.0.2.7|{"repo": "app", "namespace": "acme", "user-agent": "docker/29 \"quoted\"", "tag": "1.0", "mediaType": "application/vnd.oci.image.manifest.v1+json", "username": "admin"}"#,
        ]
        .join("\n")
    );
}
