//! What `location add` tries and says.

use super::*;
use crate::commands::world::{World, console};

async fn add(world: &World, location: &str) -> (ExitCode, String) {
    let (mut console, output, _) = console("");
    let arguments = Arguments {
        location: location.to_owned(),
    };
    let code = run(&arguments, &world.opened, &mut console).await.unwrap();
    (code, output.text())
}

#[tokio::test]
async fn a_location_is_tried_and_what_will_be_copied_is_said() {
    let world = World::new().await;
    world.push_blob("usstorage", b"one").await;
    let (code, output) = add(&world, "eustorage").await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(
        output
            .contains("Every blob has to be there: 1 blob (3 B) are missing; 0 copies are queued"),
        "{output}"
    );
    let queue = world.opened.queue.clone().unwrap();
    assert_eq!(world.database().count_jobs(&queue).await.unwrap(), 0);
    let listed = world.opened.replication.list_locations().await.unwrap();
    assert!(
        listed
            .iter()
            .all(|listing| listing.state == LocationState::Active)
    );
}

#[tokio::test]
async fn what_the_configuration_does_not_name_or_cannot_be_written_is_said() {
    let world = World::new().await;
    let (code, output) = add(&world, "mars").await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(output.contains("does not name mars"), "{output}");
    world.lose("eustorage");
    let (code, output) = add(&world, "eustorage").await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(output.contains("eustorage"), "{output}");
}
