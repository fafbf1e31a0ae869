//! What `replication status` prints, and its exit codes.

use std::fs;

use super::*;
use crate::commands::world::{PATIENCE, World, console};

fn waiting(timeout: Duration, run: bool) -> Arguments {
    Arguments {
        wait: true,
        timeout: Some(timeout),
        run,
        ..Arguments::default()
    }
}

/// Runs the command while time passes.
async fn run_in_time(arguments: &Arguments, world: &World, console: &mut Console) -> ExitCode {
    let time_passes = async {
        loop {
            world.clock.advance(Duration::from_millis(100));
            world.database().ping().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            code = run(arguments, &world.opened, console) => code.unwrap(),
            () = time_passes => unreachable!("time does not end"),
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn it_says_what_is_missing_where_and_which_images_it_concerns() {
    let world = World::new().await;
    let [config, layer] = world.push_image("usstorage", "v1", b"layer").await;
    world.clock.advance(Duration::from_mins(2));
    let (mut status, output, _) = console("");
    let code = run(&Arguments::default(), &world.opened, &mut status)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    let mut blobs = [config.digest, layer.digest];
    blobs.sort();
    let expected = format!(
        "\
location   state   present         missing         unreadable  queued  failing  oldest gap  store
eustorage  active  -               2 blobs (17 B)  -           2       -        2 minutes   checked
usstorage  active  2 blobs (17 B)  -               -           -       -        -           checked
images concerned:
  admin/app:v1 needs {} and 1 more
not complete: 17 B to be copied
",
        blobs[0]
    );
    assert_eq!(output.text(), expected);
    world.work().await;
    let (mut status, output, _) = console("");
    let code = run(&Arguments::default(), &world.opened, &mut status)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(output.text().ends_with("\ncomplete\n"), "{}", output.text());
}

#[tokio::test]
async fn a_store_that_is_gone_makes_it_incomplete_unless_stores_are_not_looked_at() {
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    world.work().await;
    world.lose("usstorage");
    let (mut status, output, _) = console("");
    let code = run(&Arguments::default(), &world.opened, &mut status)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    assert!(
        output.text().contains("usstorage cannot be read: "),
        "{}",
        output.text()
    );
    assert!(
        output
            .text()
            .contains("2 blobs (17 B)  -       -        -           unreadable"),
        "{}",
        output.text()
    );
    let (mut status, _, _) = console("");
    let believing = Arguments {
        no_store_check: true,
        ..Arguments::default()
    };
    assert_eq!(
        run(&believing, &world.opened, &mut status).await.unwrap(),
        ExitCode::SUCCESS
    );
}

#[tokio::test]
async fn waiting_with_run_makes_the_copies_and_repairs_what_the_stores_lost() {
    let world = World::new().await;
    let [_, layer] = world.push_image("usstorage", "v1", b"layer").await;
    world.work().await;
    world.push_blob("usstorage", b"unqueued").await;
    fs::remove_file(world.object("eustorage", &layer)).unwrap();
    let (mut wait, output, _) = console("");
    let code = run_in_time(&waiting(Duration::from_hours(24), true), &world, &mut wait).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(output.text().ends_with("\ncomplete\n"), "{}", output.text());
    assert_eq!(
        fs::read(world.object("eustorage", &layer)).unwrap(),
        b"layer"
    );
}

#[tokio::test]
async fn waiting_where_nobody_copies_says_so_and_ends_with_the_time() {
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    let (mut wait, output, errors) = console("");
    let arguments = Arguments {
        no_store_check: true,
        ..waiting(Duration::from_mins(20), false)
    };
    let code = run_in_time(&arguments, &world, &mut wait).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(
        output.text().contains("not complete: 17 B to be copied"),
        "{}",
        output.text()
    );
    assert!(
        errors
            .text()
            .contains("is a registry or replicator running?"),
        "{}",
        errors.text()
    );
}

#[tokio::test]
async fn without_replication_there_is_nothing_to_wait_for() {
    let world = World::without_replication().await;
    let (mut wait, _, errors) = console("");
    let arguments = waiting(Duration::from_hours(2), false);
    assert_eq!(
        run(&arguments, &world.opened, &mut wait).await.unwrap(),
        ExitCode::SUCCESS
    );
    assert!(
        errors
            .text()
            .starts_with("Storage replication is not enabled"),
        "{}",
        errors.text()
    );
}

#[tokio::test]
async fn the_json_form_is_one_document() {
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    let (mut status, output, _) = console("");
    let arguments = Arguments {
        json: true,
        ..Arguments::default()
    };
    assert_eq!(
        run(&arguments, &world.opened, &mut status).await.unwrap(),
        ExitCode::FAILURE
    );
    let report: serde_json::Value = serde_json::from_str(&output.text()).unwrap();
    assert_eq!(report["complete"], false);
    assert_eq!(
        report["locations"][0]["missing"],
        serde_json::json!({"blobs": 2, "bytes": 17})
    );
}

#[test]
fn durations_are_digits_and_a_unit() {
    for (text, seconds) in [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86_400),
        ("1w", 604_800),
        ("0s", 0),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
    }
    for wrong in [
        "",
        "10",
        "m",
        "-1m",
        "+1m",
        "1.5h",
        "10 m",
        "10M",
        "1é",
        "99999999999999999w",
    ] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

/// What the command says of an image, and its exit code.
async fn of_image(arguments: Arguments, world: &World) -> (ExitCode, String) {
    let (mut status, output, _) = console("");
    let code = run(&arguments, &world.opened, &mut status).await.unwrap();
    (code, output.text())
}

fn image(location: Option<&str>) -> Arguments {
    Arguments {
        image: Some("admin/app:v1".parse().unwrap()),
        location: location.map(str::to_owned),
        ..Arguments::default()
    }
}

#[tokio::test]
async fn an_image_is_said_to_be_complete_copying_or_failed_at_each_location() {
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    let (code, text) = of_image(image(None), &world).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(
        text,
        "\
location   admin/app:v1
eustorage  copying 0/2 (0 B of 17 B)
usstorage  complete
not complete
"
    );
    world
        .opened
        .replication
        .pause(Some("eustorage"))
        .await
        .unwrap();
    world.fail_jobs("the disk is full").await;
    let (code, text) = of_image(image(Some("eustorage")), &world).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(
        text,
        "\
location   admin/app:v1
eustorage  failed: the disk is full
eustorage: copying is paused; `admin replication resume` lets it go on
not complete
"
    );
    let (code, _) = of_image(image(Some("usstorage")), &world).await;
    assert_eq!(code, ExitCode::SUCCESS);
    let json = Arguments {
        json: true,
        ..image(None)
    };
    let (_, text) = of_image(json, &world).await;
    let status: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status["locations"][0]["state"], "failed");
    assert_eq!(
        status["needs"],
        serde_json::json!({"blobs": 2, "bytes": 17})
    );
}

#[tokio::test]
async fn a_pipeline_waits_for_its_image_and_no_other() {
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    let arguments = Arguments {
        wait: true,
        run: true,
        timeout: Some(Duration::from_hours(1)),
        ..image(None)
    };
    let (mut wait, output, _) = console("");
    let code = run_in_time(&arguments, &world, &mut wait).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(output.text().ends_with("\ncomplete\n"), "{}", output.text());
    // One that is missing elsewhere does not matter.
    world.push_image("usstorage", "v2", b"another layer").await;
    let (mut wait, _, _) = console("");
    let nobody_copies = Arguments {
        run: false,
        ..arguments.clone()
    };
    let code = run_in_time(&nobody_copies, &world, &mut wait).await;
    assert_eq!(code, ExitCode::SUCCESS);
    let unknown = Arguments {
        image: Some("admin/app:v3".parse().unwrap()),
        ..arguments
    };
    let (mut wait, _, _) = console("");
    let error = run(&unknown, &world.opened, &mut wait).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("there is no image `admin/app:v3`"),
        "{error}"
    );
}

#[tokio::test]
async fn only_the_location_counts_that_was_asked_for() {
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    for (location, expected) in [
        ("usstorage", ExitCode::SUCCESS),
        ("eustorage", ExitCode::FAILURE),
    ] {
        let arguments = Arguments {
            location: Some(location.to_owned()),
            ..Arguments::default()
        };
        let (mut status, output, _) = console("");
        let code = run(&arguments, &world.opened, &mut status).await.unwrap();
        assert_eq!(code, expected, "{}", output.text());
        assert_eq!(
            output.text().matches("storage ").count(),
            1,
            "{}",
            output.text()
        );
    }
    let nowhere = Arguments {
        location: Some("nowhere".to_owned()),
        ..Arguments::default()
    };
    let (mut status, _, _) = console("");
    let error = run(&nowhere, &world.opened, &mut status).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no location `nowhere`; known are: eustorage, usstorage"
    );
}
