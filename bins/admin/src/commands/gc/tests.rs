//! What the `gc` commands print, and their exit codes.

use std::time::Duration;

use super::*;
use crate::commands::world::{World, console};

/// An image at `usstorage` whose tag ended longer ago than its namespace's window.
async fn garbage(world: &World) {
    world.push_image("usstorage", "v1", b"layer").await;
    world.delete_tag("v1").await;
    world.clock.advance(Duration::from_hours(14 * 24));
}

async fn status_of(world: &World) -> (ExitCode, String) {
    let (mut console, output, _) = console("");
    let code = status(&StatusArguments::default(), &world.opened, &mut console)
        .await
        .unwrap();
    (code, output.text())
}

#[tokio::test]
async fn status_says_what_would_go_and_then_what_went() {
    let world = World::new().await;
    let (code, text) = status_of(&world).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        text,
        "to be removed now: 0 tags, 0 manifests, 0 blobs\n\
         nothing was removed so far\n\
         nobody has looked for garbage so far\n"
    );
    garbage(&world).await;
    let (_, text) = status_of(&world).await;
    assert!(
        text.starts_with("to be removed now: 1 tag, 1 manifest, 2 blobs (17 B)\n"),
        "{text}"
    );
    let (mut console, output, notes) = console("");
    let code = run(&RunArguments::default(), &world.opened, &mut console)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        output.text(),
        "removed 1 tag, 1 manifest, 2 blobs (17 B), 2 objects\n"
    );
    assert!(notes.text().starts_with("so far: 1 tag"));
    world.clock.advance(Duration::from_mins(2));
    let (code, text) = status_of(&world).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        text,
        "to be removed now: 0 tags, 0 manifests, 0 blobs\n\
         last removed, 2 minutes ago: 1 tag, 1 manifest, 2 blobs (17 B), 2 objects\n\
         last looked for garbage 2 minutes ago\n"
    );
}

#[tokio::test]
async fn a_dry_run_names_what_would_go_and_leaves_it() {
    let world = World::new().await;
    garbage(&world).await;
    let before = world.database().garbage_names(world.now(), 10).await;
    let (mut console, output, _) = console("");
    let arguments = RunArguments {
        dry_run: true,
        ..RunArguments::default()
    };
    let code = run(&arguments, &world.opened, &mut console).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let names = before.unwrap();
    let expected = format!(
        "would be removed: 1 tag, 1 manifest, 2 blobs (17 B)\n\
         tags:\n  admin/app:v1\n\
         manifests:\n  {}\n\
         blobs:\n  {}\n  {}\n",
        names.manifests[0], names.blobs[0], names.blobs[1]
    );
    assert_eq!(output.text(), expected);
    assert!(names.manifests[0].starts_with("admin/app@sha256:"));
    let (_, text) = status_of(&world).await;
    assert!(text.starts_with("to be removed now: 1 tag"), "{text}");
}

#[tokio::test]
async fn a_store_that_is_gone_is_named_with_what_waits_for_it_and_the_exit_code_says_so() {
    let world = World::new().await;
    garbage(&world).await;
    world.lose("usstorage");
    let (mut console_of_run, output, _) = console("");
    let code = run(&RunArguments::default(), &world.opened, &mut console_of_run)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    let text = output.text();
    assert!(
        text.starts_with("removed 1 tag, 1 manifest, 2 blobs (17 B), 0 objects\n"),
        "{text}"
    );
    assert!(text.contains("\nusstorage  2 objects (17 B)"), "{text}");
    assert!(text.contains("\nusstorage: last failure: "), "{text}");
    let (mut console, output, _) = console("");
    let arguments = StatusArguments { json: true };
    let code = status(&arguments, &world.opened, &mut console)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    let report: Value = serde_json::from_str(&output.text()).unwrap();
    assert_eq!(report["waiting"][0]["location"], "usstorage");
    assert_eq!(report["waiting"][0]["objects"], 2);
    assert_eq!(report["waiting"][0]["configured"], true);
    assert_eq!(report["last_run"]["removed"]["blobs"], 2);
}

#[tokio::test]
async fn what_the_configuration_switches_off_is_not_run() {
    let world = World::without_garbage_collection().await;
    garbage(&world).await;
    let (mut console, output, notes) = console("");
    let code = run(&RunArguments::default(), &world.opened, &mut console)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(output.text(), "");
    assert!(notes.text().contains("FEATURE_GARBAGE_COLLECTION"));
    let (_, text) = status_of(&world).await;
    assert!(text.starts_with("to be removed now: 1 tag"), "{text}");
}
