//! What `location list` prints.

use std::time::Duration;

use roadstead_metadata::Instance;

use super::*;
use crate::commands::world::{World, console};

#[tokio::test]
async fn it_lists_the_configured_locations_and_whether_they_work() {
    let world = World::new().await;
    world.push_blob("eustorage", b"content").await;
    world.lose("usstorage");
    let (mut list, output, errors) = console("");
    let code = run(&Arguments::default(), &world.opened, &mut list)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    // How long a probe takes is nobody's promise.
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim);
        cells
            .filter(|cell| !cell.is_empty() && !cell.ends_with(" ms"))
            .map(str::to_owned)
            .collect()
    };
    let printed: Vec<Vec<String>> = output.text().lines().map(cells).collect();
    let expected = [
        vec![
            "location",
            "state",
            "store",
            "answers in",
            "default",
            "placements",
        ],
        vec!["eustorage", "active", "works", "yes", "1 blob (7 B)"],
        vec!["usstorage", "active", "down", "-", "yes", "-"],
    ];
    assert_eq!(printed, expected);
    assert!(
        errors.text().starts_with("usstorage: could not probe"),
        "{}",
        errors.text()
    );

    let (mut json, output, _) = console("");
    run(&Arguments { json: true }, &world.opened, &mut json)
        .await
        .unwrap();
    let listed: serde_json::Value = serde_json::from_str(&output.text()).unwrap();
    assert_eq!(
        listed[0]["placed"],
        serde_json::json!({"blobs": 1, "bytes": 7})
    );
    assert_eq!(listed[1]["reachable"], false);
}

#[tokio::test]
async fn it_shows_how_every_running_process_sees_every_location() {
    let world = World::new().await;
    let deployment = &world.opened.deployment;
    let now = deployment.environment.now();
    let region: roadstead_placement::LocationName = "eustorage".parse().unwrap();
    for (name, seen_at) in [
        ("eu-1", now),
        ("eu-2 (ended)", now - Duration::from_mins(3)),
    ] {
        let told = Instance {
            name: name.to_owned(),
            region: region.clone(),
            seen_at,
            locations: serde_json::to_string(
                &deployment.locations.documents(Duration::from_secs(1)).await,
            )
            .unwrap(),
        };
        let long_ago = now - Duration::from_hours(1);
        let noted = deployment.database.note_instance(&told, long_ago);
        noted.await.unwrap();
    }
    let (mut list, output, _) = console("");
    run(&Arguments::default(), &world.opened, &mut list)
        .await
        .unwrap();
    let text = output.text();
    let seen: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("eustorage (eu-1)"))
        .collect();
    assert_eq!(seen.len(), 2, "{text}");
    assert!(seen.iter().all(|line| line.contains("healthy")), "{text}");
    assert!(!text.contains("ended"), "{text}");
}
