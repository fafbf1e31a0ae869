//! What `replication at-risk` prints, and its exit codes.

use super::*;
use crate::commands::world::{World, console};

fn usstorage(json: bool) -> Arguments {
    Arguments {
        location: "usstorage".to_owned(),
        json,
    }
}

#[tokio::test]
async fn every_image_is_named_behind_the_totals_and_none_when_all_is_copied() {
    let world = World::new().await;
    let [config, _] = world.push_image("usstorage", "v1", b"layer").await;
    world.push_image("usstorage", "v2", b"layer").await;
    world.push_blob("usstorage", b"of nobody").await;
    world.lose("usstorage");
    let (mut listing, output, _) = console("");
    let code = run(&usstorage(false), &world.opened, &mut listing)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    let size = config.size;
    assert_eq!(
        output.text(),
        format!(
            "\
2 images would be lost with usstorage: 3 blobs ({} B)
1 more blobs that no image needs are there only
  admin/app:v1 needs 2 blobs ({} B)
  admin/app:v2 needs 2 blobs ({} B)
",
            2 * size + 5,
            size + 5,
            size + 5,
        )
    );
    let (mut listing, output, _) = console("");
    run(&usstorage(true), &world.opened, &mut listing)
        .await
        .unwrap();
    let lines: Vec<serde_json::Value> = output
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((lines[0]["images"].as_u64(), lines.len()), (Some(2), 3));
    assert_eq!(
        lines[2],
        serde_json::json!({"image": "admin/app:v2", "blobs": 2, "bytes": size + 5})
    );
    let none = Arguments {
        location: "eustorage".to_owned(),
        json: false,
    };
    let (mut listing, output, _) = console("");
    let code = run(&none, &world.opened, &mut listing).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(output.text(), "no image would be lost with eustorage\n");
    let nowhere = Arguments {
        location: "nowhere".to_owned(),
        json: true,
    };
    let (mut listing, _, _) = console("");
    let error = run(&nowhere, &world.opened, &mut listing)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("there is no location `nowhere`"),
        "{error}"
    );
}
