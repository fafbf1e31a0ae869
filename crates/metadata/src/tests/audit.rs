//! The log of actions.

use roadstead_oci::MediaType;

use super::*;

async fn log(world: &World) -> Vec<String> {
    world
        .texts(
            r#"SELECT k.name || ' by ' || COALESCE(p.username, '-') || ' in ' || a.username || '/' || r.name
                      || ' from ' || COALESCE(l.ip, '-') || ' ' || l.metadata_json AS name
               FROM logentry3 l JOIN logentrykind k ON k.id = l.kind_id JOIN "user" a ON a.id = l.account_id
               JOIN repository r ON r.id = l.repository_id LEFT JOIN "user" p ON p.id = l.performer_id
               ORDER BY l.datetime, l.metadata_json"#,
        )
        .await
}

#[tokio::test]
async fn pushes_and_deletions_are_logged_with_what_they_did_and_by_nothing_else() {
    for mut world in worlds().await {
        world.actor = Actor::new(Some("admin".into()))
            .with_client(Some("192.0.2.7".parse().unwrap()), "skopeo/1.9.3");
        world.blob("{}", &us()).await;
        let manifest = image(&[]);
        let digest = manifest.digest(Algorithm::Sha256);
        world.put(&image(&["unknown"]), &["v1"], world.now).await;
        world.put(&manifest, &["v1", "v2"], world.now).await;
        world.put(&manifest, &[], world.now).await;
        world.delete("v2", later(world.now, 1)).await;
        world.delete("v2", later(world.now, 1)).await;
        world.delete(digest.as_str(), later(world.now, 2)).await;
        let entry = |kind: &str, tag: &str, more: &str| {
            format!(
                r#"{kind} by admin in acme/app from 192.0.2.7 {{"repo": "app", "namespace": "acme", "user-agent": "skopeo/1.9.3", "tag": "{tag}", {more}, "username": "admin"}}"#
            )
        };
        let media_type = r#""mediaType": "application/vnd.oci.image.manifest.v1+json""#;
        let with_digest = format!(r#""digest": "{digest}""#);
        assert_eq!(
            log(&world).await,
            [
                entry("push_repo", "v1", media_type),
                entry("push_repo", "v2", media_type),
                entry("delete_tag", "v2", &with_digest),
                entry("delete_tag", "v1", &with_digest),
            ]
        );
    }
}

#[tokio::test]
async fn entries_are_written_in_batches_and_name_nobody_who_is_gone() {
    for world in worlds().await {
        let reference = "v1".parse().unwrap();
        let entries: Vec<LogEntry> = (0..1000)
            .map(|number| {
                let actor = match number % 3 {
                    0 => Actor::new(Some("admin".into())),
                    1 => Actor::new(Some("nobody's robot '; --+x".into())),
                    _ => Actor::new(None),
                };
                LogEntry::pull(
                    &actor.with_client(
                        Some("2001:db8::1".parse().unwrap()),
                        &format!("\"{number}' ö\u{0}"),
                    ),
                    &world.repository,
                    &reference,
                    &MediaType::OCI_MANIFEST,
                    later(world.now, number),
                )
            })
            .collect();
        world.database.write_log(&entries).await.unwrap();
        world.database.write_log(&[]).await.unwrap();
        let log = log(&world).await;
        assert_eq!(log.len(), 1000);
        assert!(
            log[0].starts_with("pull_repo by admin in acme/app from 2001:db8::1 {"),
            "{}",
            log[0]
        );
        assert!(
            log[1].starts_with("pull_repo by - in ") && log[1].contains("nobody's robot '; --+x"),
            "{}",
            log[1]
        );
        assert!(
            log[2].contains(r#""user-agent": "\"2' \u00f6""#),
            "{}",
            log[2]
        );
    }
}
