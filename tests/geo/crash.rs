//! The process is killed at any moment while clients push: what was acknowledged is there, what was recorded is true, and what was
//! unfinished goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use roadstead_client::{Client, ClientError, ClientOptions, RequestBody};
use roadstead_oci::{Algorithm, Digest, Reference, RepositoryName};
use roadstead_runtime::{Clock as _, SystemClock};
use roadstead_testkit::{
    Content, ImageKind, LOCATIONS, RegistrySettings, Seed, TestImage, setting,
};
use tokio::task::JoinSet;

/// How often the process is killed, unless `ROADSTEAD_TEST_KILLS` says otherwise. 200 take some minutes.
const KILLS: u64 = 25;

/// Clients that push at the same time.
const CLIENTS: u64 = 4;

/// The longest that the process lives after it is ready: some pushes of each client.
const LIFE_MS_MAX: u64 = 400;

/// What the registry has acknowledged.
#[derive(Debug, Default)]
struct Acknowledged {
    blobs: BTreeMap<Digest, RepositoryName>,
    images: Vec<(RepositoryName, Reference, TestImage)>,
}

/// An upload that is continued over crashes: what has been acknowledged of it.
#[derive(Debug)]
struct LongUpload {
    location: String,
    content: Bytes,
    acknowledged: usize,
}

fn repository(client: u64) -> RepositoryName {
    format!("crash/client{client}").parse().unwrap()
}

/// Pushes images until the registry is gone.
async fn push_on(client: Client, number: u64, seed: u64, acknowledged: Arc<Mutex<Acknowledged>>) {
    let repository = repository(number);
    for round in 0.. {
        let image = TestImage::new(
            seed.wrapping_mul(1_000_003) + number * 1_000 + round,
            ImageKind::Oci,
            &[3_000 + round, 150_000],
        );
        let bodies = std::iter::once(RequestBody::bytes(image.config.clone()))
            .chain(image.layers.iter().map(Content::body));
        for (digest, body) in image.blobs.iter().zip(bodies) {
            if client.push_blob(&repository, digest, body).await.is_err() {
                return;
            }
            acknowledged
                .lock()
                .unwrap()
                .blobs
                .insert(digest.clone(), repository.clone());
        }
        let tag: Reference = format!("{seed}-{round}").parse().unwrap();
        if image.push_manifest(&client, &repository, &tag).await.is_err() {
            return;
        }
        acknowledged
            .lock()
            .unwrap()
            .images
            .push((repository.clone(), tag, image));
    }
}

/// Adds chunks to an upload until the registry is gone or the content is at its end.
async fn upload_on(client: Client, upload: &mut LongUpload) {
    while upload.acknowledged < upload.content.len() {
        let end = (upload.acknowledged + 60_000).min(upload.content.len());
        let request = http::Request::patch(&upload.location)
            .header(
                "Content-Range",
                format!("{}-{}", upload.acknowledged, end - 1),
            )
            .body(RequestBody::bytes(
                upload.content.slice(upload.acknowledged..end),
            ))
            .unwrap();
        let scope = format!("repository:{}:pull,push", repository(99));
        match client.exchange(request, &scope).await {
            Ok(answer) if answer.status == http::StatusCode::ACCEPTED => upload.acknowledged = end,
            Ok(answer) => panic!("the upload was refused with {}", answer.status),
            Err(_) => return,
        }
    }
}

/// Asks how far an upload is: at least as far as was acknowledged, and not beyond what was sent.
async fn continue_upload(client: &Client, upload: &mut LongUpload) {
    let request = http::Request::get(&upload.location)
        .body(RequestBody::empty())
        .unwrap();
    let scope = format!("repository:{}:pull,push", repository(99));
    let answer = client.exchange(request, &scope).await.unwrap();
    assert_eq!(
        answer.status,
        http::StatusCode::NO_CONTENT,
        "the upload is still there"
    );
    let range = answer.header("range").expect("a range").to_owned();
    let last: usize = range
        .strip_prefix("0-")
        .and_then(|last| last.parse().ok())
        .unwrap_or_else(|| panic!("{range}"));
    // `0-0` is also what an upload without a byte says.
    let offset = if last == 0 && upload.acknowledged == 0 { 0 } else { last + 1 };
    assert!(
        offset >= upload.acknowledged,
        "{} bytes were acknowledged, {offset} are there",
        upload.acknowledged
    );
    upload.acknowledged = offset;
}

/// Every acknowledged blob and manifest is there and hashes to its digest; every object in the stores does, too, and every placement
/// has its object.
async fn check(settings: &RegistrySettings, client: &Client, acknowledged: &Acknowledged, from: usize) {
    for (digest, repository) in &acknowledged.blobs {
        let size = client
            .stat_blob(repository, digest)
            .await
            .unwrap_or_else(|error| panic!("{digest}: {error:?}"));
        assert!(size.is_some(), "{digest} was acknowledged and is gone");
    }
    for (repository, tag, image) in acknowledged.images.iter().skip(from) {
        image
            .pull(client, repository, tag)
            .await
            .unwrap_or_else(|error: ClientError| panic!("{repository}:{tag}: {error:?}"));
    }
    let status = settings.admin().replication_status().await;
    for location in status["locations"].as_array().unwrap() {
        assert_eq!(
            location["lost"]["blobs"], 0,
            "a placement without its bytes: {location}"
        );
        assert_eq!(location["store"]["checked"], "yes", "{location}");
    }
    for location in LOCATIONS {
        assert_eq!(settings.files(location).damaged(), [], "{location}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_moment_keeps_what_it_acknowledged_and_goes_on() {
    let kills = setting("ROADSTEAD_TEST_KILLS", KILLS);
    let seed = Seed::for_test("crash", 20_261_122);
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let mut registry = settings.start().await;
    let options = ClientOptions::default();
    let client = settings.client_with(options.clone());
    let acknowledged = Arc::new(Mutex::new(Acknowledged::default()));

    let content = Content::new(seed.number(), 40_000_000).bytes();
    let started = client.start_upload(&repository(99)).await.unwrap();
    let mut upload = LongUpload {
        location: started.location().path().to_owned(),
        content,
        acknowledged: 0,
    };
    let mut resumed_over_crashes = 0_u64;
    for kill in 0..kills {
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            clients.spawn(push_on(
                settings.client_with(options.clone()),
                number,
                kill,
                Arc::clone(&acknowledged),
            ));
        }
        let life = Duration::from_millis(1 + seed.below(LIFE_MS_MAX));
        tokio::select! {
            () = async {
                upload_on(settings.client_with(options.clone()), &mut upload).await;
                std::future::pending().await
            } => {}
            () = SystemClock.sleep(life) => {}
        }
        registry.kill().await;
        clients.join_all().await;

        registry = settings.start().await;
        let before = upload.acknowledged;
        continue_upload(&client, &mut upload).await;
        resumed_over_crashes += u64::from(before > 0);
        // Everything is looked at in the end; until then the latest images are.
        let known = acknowledged.lock().unwrap().images.len();
        let snapshot = {
            let mut all = acknowledged.lock().unwrap();
            Acknowledged {
                blobs: all.blobs.clone(),
                images: std::mem::take(&mut all.images),
            }
        };
        check(&settings, &client, &snapshot, known.saturating_sub(5)).await;
        acknowledged.lock().unwrap().images = snapshot.images;
    }

    upload_on(client.clone(), &mut upload).await;
    let digest = Digest::of(Algorithm::Sha256, &upload.content);
    let request = http::Request::put(format!("{}?digest={digest}", upload.location))
        .body(RequestBody::empty())
        .unwrap();
    let scope = format!("repository:{}:pull,push", repository(99));
    let finished = client.exchange(request, &scope).await.unwrap();
    assert_eq!(finished.status, http::StatusCode::CREATED);
    let pulled = client.pull_verified(&repository(99), &digest).await.unwrap();
    assert_eq!(pulled.drain().await.unwrap(), upload.content.len() as u64);

    settings
        .admin()
        .run(&["replication", "status", "--wait", "--timeout", "110s"])
        .await
        .expect_success();
    let all = std::mem::take(&mut *acknowledged.lock().unwrap());
    check(&settings, &client, &all, 0).await;
    println!(
        "{kills} kills, {} blobs and {} images acknowledged, the long upload went on after {resumed_over_crashes} of them",
        all.blobs.len(),
        all.images.len()
    );
    assert!(registry.stop().await.success());
}
