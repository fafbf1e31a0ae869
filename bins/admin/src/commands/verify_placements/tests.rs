//! What `verifyplacements` finds, prints and returns.

use std::fs;

use super::*;
use crate::commands::world::{World, console};

async fn verify_all(world: &World, arguments: &Arguments) -> (ExitCode, String, String) {
    let (mut console, output, errors) = console("");
    let code = run(arguments, &world.opened, &mut console).await.unwrap();
    (code, output.text(), errors.text())
}

#[tokio::test]
async fn what_is_damaged_is_named_repaired_and_then_all_is_well() {
    let world = World::new().await;
    let [_, layer] = world.push_image("usstorage", "v1", b"layer").await;
    world.work().await;
    let all = Arguments::default();
    let (code, output, errors) = verify_all(&world, &all).await;
    assert_eq!((code, output.as_str()), (ExitCode::SUCCESS, ""));
    assert!(
        errors.contains("eustorage: read 2 blobs (17 B); 0 missing or damaged\n"),
        "{errors}"
    );
    fs::write(world.object("eustorage", &layer), b"lay").unwrap();
    let (code, output, _) = verify_all(&world, &all).await;
    assert_eq!(code, ExitCode::FAILURE);
    let expected = format!(
        "location `eustorage`: {} is truncated: 3 bytes",
        layer.digest
    );
    assert!(output.starts_with(&expected), "{output}");
    assert_eq!(output.lines().count(), 1);
    let status = Arguments {
        status: true,
        ..Arguments::default()
    };
    let (code, output, _) = verify_all(&world, &status).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(output.contains("being copied again"), "{output}");
    world.work().await;
    let (code, output, _) = verify_all(&world, &status).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(output.contains("repaired"), "{output}");
    let (code, output, _) = verify_all(&world, &all).await;
    assert_eq!((code, output.as_str()), (ExitCode::SUCCESS, ""));
}

#[tokio::test]
async fn json_has_an_object_in_each_line_and_a_location_that_cannot_be_read_is_told() {
    let world = World::new().await;
    let [config, _] = world.push_image("usstorage", "v1", b"layer").await;
    fs::remove_file(world.object("usstorage", &config)).unwrap();
    world.lose("eustorage");
    let arguments = Arguments {
        json: true,
        orphans: true,
        ..Arguments::default()
    };
    let (code, output, _) = verify_all(&world, &arguments).await;
    assert_eq!(code, ExitCode::FAILURE);
    let lines: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found = lines
        .iter()
        .find(|line| line["kind"] == "defective")
        .unwrap();
    assert_eq!(found["digest"], config.digest.as_str());
    assert_eq!(
        (&found["defect"], &found["only_copy"]),
        (&"missing".into(), &true.into())
    );
    let summary = |location: &str| {
        lines
            .iter()
            .find(|line| line["kind"] == "summary" && line["location"] == location)
            .unwrap()
    };
    assert_eq!(summary("usstorage")["defective"], 1);
    let failure = summary("eustorage")["failure"].as_str().unwrap();
    assert!(failure.contains("eustorage"), "{failure}");
    let nowhere = Arguments {
        location: Some("nowhere".to_owned()),
        ..Arguments::default()
    };
    let refused = run(&nowhere, &world.opened, &mut console("").0)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().contains("no location `nowhere`"),
        "{refused}"
    );
}
