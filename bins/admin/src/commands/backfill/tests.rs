//! What `backfillreplication` prints and queues.

use super::*;
use crate::commands::world::{World, console};

#[tokio::test]
async fn it_prints_quays_line_for_each_blob_that_gets_a_job_and_nothing_else() {
    let world = World::new().await;
    let one = world.push_blob("usstorage", b"one").await;
    let two = world.push_blob("eustorage", b"the second").await;
    let (mut first, output, errors) = console("");
    assert_eq!(
        run(&Arguments::default(), &world.opened, &mut first)
            .await
            .unwrap(),
        ExitCode::SUCCESS
    );
    let expected = format!(
        "Enqueueing manifest blob {} to be replicated\nEnqueueing manifest blob {} to be replicated\n",
        one.uuid, two.uuid
    );
    assert_eq!(output.text(), expected);
    let plan = "eustorage lacks 1 blob (3 B); 0 have a job already\nusstorage lacks 1 blob (10 B); 0 have a job already\n";
    assert!(errors.text().starts_with(plan), "{}", errors.text());
    let (mut second, output, errors) = console("");
    assert_eq!(
        run(&Arguments::default(), &world.opened, &mut second)
            .await
            .unwrap(),
        ExitCode::SUCCESS
    );
    assert_eq!(output.text(), "");
    assert!(
        errors.text().contains("1 have a job already"),
        "{}",
        errors.text()
    );
    world.work().await;
    let (mut third, output, errors) = console("");
    run(&Arguments::default(), &world.opened, &mut third)
        .await
        .unwrap();
    assert_eq!(output.text(), "");
    assert!(
        errors.text().starts_with("nothing is missing"),
        "{}",
        errors.text()
    );
}

#[tokio::test]
async fn without_replication_it_says_so_and_succeeds_as_quays_does() {
    let world = World::without_replication().await;
    let (mut console, output, _) = console("");
    assert_eq!(
        run(&Arguments::default(), &world.opened, &mut console)
            .await
            .unwrap(),
        ExitCode::SUCCESS
    );
    assert_eq!(output.text(), "Storage replication is not enabled\n");
}

#[tokio::test]
async fn a_dry_run_says_what_is_missing_and_queues_nothing() {
    let world = World::new().await;
    world.push_blob("usstorage", b"one").await;
    let arguments = Arguments {
        dry_run: true,
        ..Arguments::default()
    };
    let (mut console, output, errors) = console("");
    let code = run(&arguments, &world.opened, &mut console).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(output.text(), "");
    assert_eq!(
        errors.text(),
        "eustorage lacks 1 blob (3 B); 0 have a job already\nnothing was queued; without --dry-run all of it is\n"
    );
    let queue = world.opened.queue.clone().unwrap();
    assert_eq!(world.database().count_jobs(&queue).await.unwrap(), 0);
}

#[tokio::test]
async fn one_location_is_served_alone_and_waited_for() {
    let world = World::new().await;
    let one = world.push_blob("usstorage", b"one").await;
    world.push_blob("eustorage", b"two").await;
    let arguments = |wait, location: &str| Arguments {
        location: Some(location.to_owned()),
        wait,
        timeout: wait.then_some(Duration::ZERO),
        ..Arguments::default()
    };
    let (mut first, output, errors) = console("");
    let code = run(&arguments(true, "eustorage"), &world.opened, &mut first).await;
    assert_eq!(code.unwrap(), ExitCode::FAILURE);
    assert_eq!(
        output.text(),
        format!("Enqueueing manifest blob {} to be replicated\n", one.uuid)
    );
    assert!(errors.text().contains("not complete"), "{}", errors.text());
    assert!(!errors.text().contains("usstorage"), "{}", errors.text());
    world.work().await;
    let (mut second, output, _) = console("");
    let code = run(&arguments(true, "eustorage"), &world.opened, &mut second).await;
    assert_eq!(code.unwrap(), ExitCode::SUCCESS);
    assert_eq!(output.text(), "");
    let (mut unknown, _, _) = console("");
    let error = run(&arguments(false, "mars"), &world.opened, &mut unknown)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no location `mars`"), "{error}");
}
