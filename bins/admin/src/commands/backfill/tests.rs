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
        run(&world.opened, &mut first).await.unwrap(),
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
        run(&world.opened, &mut second).await.unwrap(),
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
    run(&world.opened, &mut third).await.unwrap();
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
        run(&world.opened, &mut console).await.unwrap(),
        ExitCode::SUCCESS
    );
    assert_eq!(output.text(), "Storage replication is not enabled\n");
}
