//! Stores that are full, down or wrong, while clients are at work.

use roadstead_oci::Algorithm;
use roadstead_storage::faults::Faults;
use roadstead_storage::{Operation, StorageErrorKind};
use roadstead_testkit::{Content, ImageKind, TestImage, Universe, eventually};

use crate::call::{call, push_blob, sha256, start_upload, with_parameter};

#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_a_chunk_loses_nothing_that_was_acknowledged() {
    let universe = Universe::start().await;
    let client = universe.client();
    let content = Content::new(1, 6_000_000).bytes();
    let upload = start_upload(&client, "team/app").await;
    let upload = call("PATCH", upload)
        .body(content.slice(..2_000_000))
        .send(&client)
        .await
        .expect(202)
        .location();
    for location in ["usstorage", "eustorage"] {
        universe.faults(location).fill_after(1_000_000);
    }
    let reply = call("PATCH", &upload)
        .header("content-range", "2000000-5999999")
        .body(content.slice(2_000_000..))
        .send(&client)
        .await;
    assert!(
        [500, 503, 507].contains(&reply.status.as_u16()),
        "{reply:?}"
    );
    assert!(reply.json()["errors"][0]["code"].is_string(), "{reply:?}");
    // Reading goes on while the disk is full.
    client.ping().await.unwrap();

    for location in ["usstorage", "eustorage"] {
        universe.faults(location).heal();
    }
    let (offset, upload) = eventually("the upload can be asked for", async || {
        let reply = call("GET", &upload).send(&client).await;
        let last: usize = reply.header("range").strip_prefix("0-")?.parse().ok()?;
        Some((last + 1, reply.location()))
    })
    .await;
    assert!((2_000_000..=3_000_000).contains(&offset), "{offset}");
    let reply = call("PATCH", upload)
        .header("content-range", format!("{offset}-5999999"))
        .body(content.slice(offset..))
        .send(&client)
        .await
        .expect(202);
    let finish = with_parameter(&reply.location(), &format!("digest={}", sha256(&content)));
    call("PUT", finish).send(&client).await.expect(201);
    universe.finish().await;
}

#[tokio::test]
async fn a_push_goes_to_the_next_location_when_the_first_is_down_and_comes_home_later() {
    let universe = Universe::start().await;
    let client = universe.client();
    universe.faults("usstorage").take_down();
    let image = TestImage::new(1, ImageKind::Oci, &[100_000]);
    let (repository, reference) = ("team/app".parse().unwrap(), "v1".parse().unwrap());
    image.push(&client, &repository, &reference).await.unwrap();
    image.pull(&client, &repository, &reference).await.unwrap();
    universe.faults("usstorage").heal();
    universe.wait_until_replicated().await;
    assert!(
        image
            .blobs
            .iter()
            .all(|digest| universe.files("usstorage").objects().contains_key(digest))
    );
    universe.finish().await;
}

#[tokio::test]
async fn a_push_is_refused_for_now_when_every_location_is_down() {
    let universe = Universe::start().await;
    let client = universe.client();
    push_blob(&client, "team/app", b"before").await;
    let faults: Vec<&Faults> = ["usstorage", "eustorage"]
        .map(|location| universe.faults(location))
        .into();
    for faults in &faults {
        faults.take_down();
    }
    let digest = sha256("content");
    let reply = call(
        "POST",
        format!("/v2/team/app/blobs/uploads/?digest={digest}"),
    )
    .body("content")
    .send(&client)
    .await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(
        reply.header("retry-after").parse::<u64>().is_ok(),
        "{reply:?}"
    );
    for faults in &faults {
        faults.heal();
    }
    eventually("pushes are taken again", async || {
        let reply = call(
            "POST",
            format!("/v2/team/app/blobs/uploads/?digest={digest}"),
        )
        .body("content")
        .send(&client)
        .await;
        (reply.status == 201).then_some(())
    })
    .await;
    universe.finish().await;
}

#[tokio::test]
async fn a_pull_goes_on_from_the_other_location_when_one_fails_before_or_in_the_middle() {
    let universe = Universe::start().await;
    let client = universe.client();
    let repository = "team/app".parse().unwrap();
    let content = Content::new(3, 5_000_000);
    let digest = content.digest(Algorithm::Sha256);
    let image = TestImage::of_layers(3, ImageKind::Oci, vec![content]);
    image
        .push(&client, &repository, &"v1".parse().unwrap())
        .await
        .unwrap();
    universe.wait_until_replicated().await;
    let faults = universe.faults("usstorage");
    let orders: [fn(&Faults); 4] = [
        |faults| faults.fail_always(Operation::Read, StorageErrorKind::Unavailable),
        |faults| faults.fail_reads_at(2_500_000, StorageErrorKind::Unavailable),
        |faults| faults.end_reads_at(1_000_000),
        Faults::take_down,
    ];
    for (number, order) in orders.into_iter().enumerate() {
        order(faults);
        let pulled = client
            .pull_verified(&repository, &digest)
            .await
            .unwrap()
            .drain()
            .await;
        assert_eq!(
            pulled.unwrap_or_else(|error| panic!("order {number}: {error:?}")),
            5_000_000
        );
        faults.heal();
    }
    universe.finish().await;
}

#[tokio::test]
async fn bytes_that_went_bad_in_the_store_are_never_delivered_as_if_they_were_good() {
    let mut universe = Universe::start().await;
    let client = universe.client();
    let repository = "team/app".parse().unwrap();
    // Larger than what is checked before the first byte is passed on.
    let content = Content::new(4, 10_000_000);
    let digest = content.digest(Algorithm::Sha256);
    client
        .push_blob(&repository, &digest, content.body())
        .await
        .unwrap();
    let small = Content::new(5, 2_000_000);
    let small_digest = small.digest(Algorithm::Sha256);
    client
        .push_blob(&repository, &small_digest, small.body())
        .await
        .unwrap();
    universe.faults("usstorage").flip_read_byte(1_234_567);
    // Of a small one not a byte is passed on.
    if let Ok(mut stream) = client.pull_blob(&repository, &small_digest, None).await {
        let mut pulled = Vec::new();
        while let Some(piece) = stream.chunk().await.unwrap() {
            pulled.extend_from_slice(&piece);
        }
        assert_eq!(pulled, small.bytes(), "replicated meanwhile, and right");
    }
    universe.faults("usstorage").flip_read_byte(1_234_567);
    let mut stream = client.pull_blob(&repository, &digest, None).await.unwrap();
    let mut pulled = Vec::new();
    let end = loop {
        match stream.chunk().await {
            Ok(Some(piece)) => pulled.extend_from_slice(&piece),
            end => break end.map(|_| ()),
        }
    };
    // A client that does not check must not take it for the blob: the answer does not come to its end.
    assert!(
        end.is_err() || pulled == content.bytes(),
        "a damaged blob was delivered whole"
    );
    universe.faults("usstorage").heal();
    universe.expect_leftovers();
    universe.finish().await;
}

#[tokio::test]
async fn bytes_that_were_written_wrong_do_not_become_a_blob_elsewhere() {
    let universe = Universe::start().await;
    let client = universe.client();
    let repository = "team/app".parse().unwrap();
    universe.faults("eustorage").flip_written_byte(50_000);
    let image = TestImage::new(5, ImageKind::Oci, &[100_000]);
    let reference = "v1".parse().unwrap();
    image.push(&client, &repository, &reference).await.unwrap();
    eventually("the copy has failed", async || {
        let status = universe.status(false).await;
        status
            .locations
            .iter()
            .any(|location| location.last_failure.is_some())
            .then_some(())
    })
    .await;
    assert!(
        !universe
            .files("eustorage")
            .objects()
            .contains_key(&image.blobs[1]),
        "a wrong copy has been published"
    );
    universe.faults("eustorage").heal();
    universe.finish().await;
}
