//! What `location drain` and `undrain` say and do.

use super::*;
use crate::commands::world::{World, console};

fn of(location: &str) -> Arguments {
    Arguments {
        location: location.to_owned(),
        ..Arguments::default()
    }
}

#[tokio::test]
async fn a_location_is_drained_waited_for_and_taken_back() {
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    let (mut first, output, _) = console("");
    let code = run(&of("usstorage"), &world.opened, &mut first).await;
    assert_eq!(code.unwrap(), ExitCode::SUCCESS);
    assert_eq!(
        output.text(),
        "usstorage takes no new bytes; it is still read from.\n\
         2 blobs (17 B) are at usstorage only. Their copies are queued, before all others; a running registry or replicator makes them.\n"
    );
    let waiting = Arguments {
        wait: true,
        timeout: Some(Duration::ZERO),
        ..of("usstorage")
    };
    let (mut early, _, errors) = console("");
    let code = run(&waiting, &world.opened, &mut early).await.unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    assert!(
        errors.text().contains("2 blobs (17 B) to go"),
        "{}",
        errors.text()
    );
    world.work().await;
    let (mut late, output, _) = console("");
    let code = run(&waiting, &world.opened, &mut late).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(
        output.text().contains("Nothing is at usstorage only"),
        "{}",
        output.text()
    );

    for expected in ["takes part again", "nothing was to be taken back"] {
        let (mut back, output, _) = console("");
        undrain("usstorage", &world.opened, &mut back)
            .await
            .unwrap();
        assert!(output.text().contains(expected), "{}", output.text());
    }
}

#[tokio::test]
async fn what_cannot_be_drained_is_refused_with_what_to_do() {
    let world = World::new().await;
    run(&of("usstorage"), &world.opened, &mut console("").0)
        .await
        .unwrap();
    let refused = run(&of("eustorage"), &world.opened, &mut console("").0)
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("no other location takes new bytes"),
        "{refused}"
    );
    let unknown = run(&of("mars"), &world.opened, &mut console("").0)
        .await
        .unwrap_err();
    assert!(
        unknown
            .to_string()
            .contains("known are: eustorage, usstorage"),
        "{unknown}"
    );
}
