//! What `replication failed` and `retry` print.

use std::time::Duration;

use super::*;
use crate::commands::world::{World, console};

const ALL: FailedArguments = FailedArguments {
    location: None,
    limit: 100,
    json: false,
};

/// An image whose two copies failed once, three seconds ago.
async fn world_with_failures() -> (World, [Digest; 2]) {
    let world = World::new().await;
    let [config, layer] = world.push_image("usstorage", "v1", b"layer").await;
    world.fail_jobs("the disk is full").await;
    world.clock.advance(Duration::from_secs(3));
    let mut digests = [config.digest, layer.digest];
    // In the order in which they became wanted: that of their rows.
    if config.storage > layer.storage {
        digests.reverse();
    }
    (world, digests)
}

#[tokio::test]
async fn what_failed_is_listed_with_its_reason_its_next_try_and_an_image() {
    let (world, [first, second]) = world_with_failures().await;
    let (mut listing, output, _) = console("");
    let code = failed(&ALL, &world.opened, &mut listing).await.unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    let line = |digest| {
        format!(
            "{digest} to eustorage: 1 attempt, wanted for 3 seconds, tried 3 seconds ago, again in 60 minutes, \
             needed by admin/app:v1\n  target-full: the disk is full\n"
        )
    };
    assert_eq!(output.text(), line(first) + &line(second));
    let one = FailedArguments { limit: 1, ..ALL };
    let (mut listing, output, _) = console("");
    failed(&one, &world.opened, &mut listing).await.unwrap();
    assert!(output.text().ends_with("\nand more\n"), "{}", output.text());
    let us = FailedArguments {
        location: Some("usstorage".to_owned()),
        ..ALL
    };
    let (mut listing, output, _) = console("");
    let code = failed(&us, &world.opened, &mut listing).await.unwrap();
    assert_eq!(
        (code, output.text().as_str()),
        (ExitCode::SUCCESS, "no failed copies\n")
    );
    let json = FailedArguments { json: true, ..ALL };
    let (mut listing, output, _) = console("");
    failed(&json, &world.opened, &mut listing).await.unwrap();
    let document: serde_json::Value = serde_json::from_str(&output.text()).unwrap();
    assert_eq!(document["copies"][0]["reason"], "the disk is full");
    assert_eq!(document["copies"][0]["location"], "eustorage");
    assert_eq!(document["next_page"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_retry_has_copies_made_that_were_put_off() {
    let (world, [first, _]) = world_with_failures().await;
    let said = async |arguments: RetryArguments| {
        let (mut console, output, _) = console("");
        retry(&arguments, &world.opened, &mut console)
            .await
            .map(|_| output.text())
    };
    let one = RetryArguments {
        digest: Some(first),
        ..RetryArguments::default()
    };
    assert_eq!(
        said(one.clone()).await.unwrap(),
        "1 failed copy is tried again now\n"
    );
    assert_eq!(said(one).await.unwrap(), "no failed copy was put off\n");
    let nowhere = RetryArguments {
        location: Some("nowhere".to_owned()),
        ..RetryArguments::default()
    };
    let error = said(nowhere).await.unwrap_err().to_string();
    assert!(
        error.starts_with("there is no location `nowhere`"),
        "{error}"
    );
    assert_eq!(
        said(RetryArguments::default()).await.unwrap(),
        "1 failed copy is tried again now\n"
    );
    world.work().await;
    let (mut listing, output, _) = console("");
    failed(&ALL, &world.opened, &mut listing).await.unwrap();
    assert_eq!(output.text(), "no failed copies\n");
}
