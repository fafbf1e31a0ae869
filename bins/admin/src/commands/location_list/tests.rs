//! What `location list` prints.

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
    let expected = "\
location   state   store  default  placements
eustorage  active  works  yes      1 blob (7 B)
usstorage  active  down   yes      -
";
    assert_eq!(output.text(), expected);
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
