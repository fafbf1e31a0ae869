//! What a large registry costs: every hot statement and every batch of a collection goes through an index and reads few rows, however many there are.
//!
//! PostgreSQL explains each statement as it really ran, first with a plan for its parameters and later with its general one.

mod garbage;
mod owners;
mod upkeep;

use std::collections::BTreeMap;
use std::path::Path;

use roadstead_oci::Reference;
use roadstead_test_servers::PostgresSettings;

use super::*;
use crate::sqlite::steps;

/// How many blobs the database holds; there are a fifth as many manifests and a tenth as many tags, as in a registry of 1,000,000.
const BLOBS: &str = "ROADSTEAD_TEST_SCALE";
const BLOBS_DEFAULT: u32 = 60_000;

/// sqlx prepares a statement once for a connection, and PostgreSQL makes a general plan at the sixth execution.
const REPEATS: u32 = 8;

/// What one step of a plan may read or drop. The largest page that a statement here asks for has 1,000 rows, the largest image 60 blobs.
const ROWS_MAX: f64 = 2_000.0;

/// The tables that grow with the registry. Findings are few unless a store is lost.
const LARGE: [&str; 28] = [
    "blobupload",
    "imagestorage",
    "imagestorageplacement",
    "label",
    "logentry3",
    "manifest",
    "manifestblob",
    "manifestchild",
    "manifestlabel",
    "manifestpullstatistics",
    "manifestsecuritystatus",
    "queueitem",
    "repositoryactioncount",
    "roadstead_awaited_image",
    "roadstead_copy",
    "roadstead_doomed_object",
    "roadstead_freed_blob",
    "roadstead_hidden_blob",
    "roadstead_hidden_manifest",
    "roadstead_image_event",
    "roadstead_owed_labels",
    "roadstead_publication",
    "roadstead_scrub_orphan",
    "roadstead_upload",
    "roadstead_webhook_delivery",
    "tag",
    "tagpullstatistics",
    "uploadedblob",
];

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is for whoever runs it to say, and no part of the configuration"
)]
fn blobs() -> u32 {
    std::env::var(BLOBS).map_or(BLOBS_DEFAULT, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("{BLOBS} is not a number: {error}"))
    })
}

/// Everything that pushes, pulls, listings and workers ask of the database.
async fn work(world: &World, round: u32) {
    let database = &world.database;
    let repository = &world.repository;
    let now = world.now;
    let at = |name: &str| format!("{name} of round {round}");

    database.find_namespace("acme").await.unwrap();
    database.find_account("admin").await.unwrap();
    database.find_service_key("no such key").await.unwrap();
    database.find_login("admin").await.unwrap();
    database.find_robot("acme+ci").await.unwrap();
    database.find_app_token("no such token").await.unwrap();
    database.find_oauth_token("no such token").await.unwrap();
    database.find_bearer("acme+ci", None).await.unwrap();
    database
        .find_bearer("admin", Some("no such token"))
        .await
        .unwrap();
    let paths = [
        repository.path.clone(),
        RepositoryPath {
            namespace: "org5".to_owned(),
            name: "repo4".to_owned(),
        },
    ];
    for asker in [None, Some(world.creator)] {
        database.standings(asker, &paths).await.unwrap();
    }
    database.find_repository(&repository.path).await.unwrap();
    database.closed_locations().await.unwrap();
    database.write_limits(repository).await.unwrap();
    database
        .min_locations(repository.namespace_id)
        .await
        .unwrap();

    let layers: Vec<String> = (0..60).map(|n| at(&format!("layer {n}"))).collect();
    for layer in &layers {
        world.blob(layer, &us()).await;
    }
    world.blob("{}", &us()).await;
    let state = Digester::new(Algorithm::Sha256).save();
    let upload = database
        .create_upload(&NewUpload {
            uuid: world.ids.uuid(),
            repository: repository.id,
            location: &us(),
            hash_state: &state,
            now,
        })
        .await
        .unwrap();
    database
        .find_upload(repository.id, upload.uuid)
        .await
        .unwrap();
    database.upload_exists(upload.uuid).await.unwrap();
    let upload = database
        .advance_upload(&advance(&upload, 5, &state, now))
        .await
        .unwrap()
        .unwrap();
    // Like every other blob here it is in both places in the end.
    world.blob(&at("closed"), &eu()).await;
    let closed = database
        .close_upload(
            &advance(&upload, 9, &state, now),
            &digest_of(&at("closed")),
            later(now, 3600),
        )
        .await
        .unwrap();
    let (upload, publishing) = closed.unwrap();
    database
        .commit_blob(&CommitBlob {
            repository: repository.id,
            publication: &publishing.begun().unwrap(),
            size: 9,
            protect_until: later(now, 3600),
            upload: Some(&upload),
            uuid: world.ids.uuid(),
            now,
        })
        .await
        .unwrap();
    assert!(!database.forget_upload(&upload).await.unwrap());
    database.abandoned_uploads(now, 100).await.unwrap();

    let layers: Vec<&str> = layers.iter().map(String::as_str).collect();
    let pushed = image(&layers);
    let labels = Labels::storable(
        (0..60)
            .map(|n| (format!("label{n}"), "value".to_owned()))
            .collect(),
    );
    world
        .put_labelled(
            &pushed,
            PushedLabels::Read(&labels),
            &["latest", &format!("r{round}")],
            now,
        )
        .await;
    world.put(&pushed, &["latest"], now).await;
    world.put(&index(&[&pushed]), &["many"], now).await;
    let digest = pushed.digest(Algorithm::Sha256);
    for reference in [
        Reference::Tag("latest".parse().unwrap()),
        Reference::Tag("never".parse().unwrap()),
        Reference::Digest(digest.clone()),
    ] {
        database
            .find_manifest(repository.id, &reference, now)
            .await
            .unwrap();
    }
    database
        .spread(repository.id, &digest, 2, &both())
        .await
        .unwrap();
    database.unspread(repository.id, &digest).await.unwrap();
    let layer = digest_of(layers[0]);
    let blob = database
        .find_blob(repository.id, &layer, now)
        .await
        .unwrap()
        .unwrap();
    database.find_blob_anywhere(&layer).await.unwrap();
    let everywhere = both();
    let demand = Demand {
        defaults: &everywhere,
        configured: &everywhere,
    };
    database
        .copy_orders(std::slice::from_ref(&blob.uuid), demand)
        .await
        .unwrap();
    for source in [
        MountSource::Any,
        MountSource::AnyPublic,
        MountSource::Repository(repository.id),
    ] {
        database.mountable_blob(&layer, source, now).await.unwrap();
    }
    database
        .link_blob(repository.id, blob.storage, later(now, 60), now)
        .await
        .unwrap();
    database
        .list_tags(repository.id, Some("release-5"), 100, now)
        .await
        .unwrap();
    database
        .referrers(&ReferrersOf {
            repository: repository.id,
            subject: &digest,
            artifact_type: None,
            after: ManifestId(0),
            limit: 100,
            now,
        })
        .await
        .unwrap();
    for viewer in [
        CatalogViewer::All,
        CatalogViewer::PublicOnly,
        CatalogViewer::Account(world.creator),
        CatalogViewer::AccountAndPublic(world.creator),
    ] {
        database
            .catalog(&viewer, Some("org5/repo1"), 100)
            .await
            .unwrap();
    }

    let jobs = world.claim(now).await;
    let job = jobs.first().expect("there is a backlog");
    database
        .extend_jobs(std::slice::from_ref(job), later(now, 120))
        .await
        .unwrap();
    database
        .postpone_job(
            job,
            later(now, 60),
            "no particular reason",
            FailureClass::TargetDown,
            now,
        )
        .await
        .unwrap();
    database.complete_job(&jobs[1]).await.unwrap();
    database.return_job(&jobs[2], now).await.unwrap();
    database.hasten_jobs(QUEUE, 100, now).await.unwrap();
    world.copied(&blob, &eu()).await;
    database
        .report_lost(&LostObjects {
            location: &eu(),
            storages: &[blob.storage],
            reason: "no particular reason",
            queue: QUEUE,
            ids: &world.ids,
            now,
        })
        .await
        .unwrap();

    for owed in database.owed_labels(now, 100).await.unwrap() {
        database.put_off_labels(&owed, now).await.unwrap();
    }
    database
        .delete_blob(repository.id, &layer, now)
        .await
        .unwrap();
    world.delete("many", now).await;
    world.delete(digest.as_str(), now).await;
}

/// What is wrong with an explained statement; none if nothing is.
fn complaint(explained: &str) -> Option<String> {
    for line in explained.lines() {
        if let Some((_, table)) = line.split_once("Seq Scan on ") {
            let table = table.split_whitespace().next().unwrap_or_default();
            let table = table.trim_matches('"');
            if LARGE.contains(&table) {
                return Some(format!("reads all of `{table}`"));
            }
        }
        let rows = line
            .split_once("actual time=")
            .and_then(|(_, rest)| number_after(rest, "rows="))
            .or_else(|| number_after(line, "Rows Removed by Filter: "))
            .unwrap_or_default();
        if rows > ROWS_MAX {
            return Some(format!("a step handles {rows} rows: {}", line.trim()));
        }
    }
    None
}

fn number_after(line: &str, label: &str) -> Option<f64> {
    let (_, rest) = line.split_once(label)?;
    let end = rest
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

#[tokio::test]
async fn every_hot_statement_uses_an_index_however_large_the_registry_is() {
    let settings = [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "on"),
        ("log_line_prefix", "%n statement: "),
        ("work_mem", "16MB"),
        ("max_wal_size", "4GB"),
    ];
    let server = Postgres::start(&PostgresSettings {
        durable: false,
        more: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    });
    let database = server.database();
    migrate(&options_of(&database)).await;
    let mut world = World::of(&options_of(&database), Place::Server(database.clone())).await;
    world.features = Features {
        quota_checks: QuotaChecks::None,
        quota: QuotaSizes::Kept,
        immutable_tags: ImmutableTags::Kept,
    };
    let blobs = blobs();
    println!("{blobs} blobs ({BLOBS} says how many)");
    let (blobs, now) = (blobs.to_string(), world.now.timestamp().to_string());
    for rows in ["large-registry.sql", "large-registry-garbage.sql"] {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures");
        database.run_file(
            &Path::new(fixtures).join(rows),
            &[("blobs", &blobs), ("now", &now)],
        );
    }
    upkeep::prepare(&world).await;
    owners::prepare(&world).await;
    // Not before: the rows are too many to be told of one by one. What is nested is what foreign keys have the server look for.
    for setting in ["log_min_duration = 0", "log_nested_statements = on"] {
        database.psql(&format!("ALTER SYSTEM SET auto_explain.{setting}"));
    }
    database.psql("SELECT pg_reload_conf()");
    let before = server.log().len();
    for round in 0..REPEATS {
        work(&world, round).await;
    }
    for round in 0..REPEATS {
        owners::work(&world, round).await;
    }
    let mut removed = Removed::default();
    for round in 0..REPEATS {
        removed += garbage::collect(&world, round).await;
    }
    println!("{removed:?}");
    for round in 0..REPEATS {
        upkeep::read_back(&world, round).await;
        upkeep::reconcile(&world, round).await;
        upkeep::tell(&world, round).await;
    }
    upkeep::remove(&world).await;
    assert!(
        removed.tags > 0 && removed.manifests > 0 && removed.blobs > 0 && removed.namespaces > 0,
        "there is garbage of every kind: {removed:?}"
    );
    let log = server.log();
    let explained: Vec<&str> = log
        .get(before..)
        .unwrap_or_default()
        .split(" statement: LOG: ")
        .filter(|entry| entry.contains("Query Text:"))
        .collect();
    assert!(explained.len() > 1_000, "PostgreSQL explains what it does");
    // One for each text.
    let complaints: BTreeMap<&str, String> = explained
        .iter()
        .filter_map(|entry| {
            let (_, text) = entry.split_once("Query Text:")?;
            let text = text.get(..text.find("cost=")?)?;
            Some((text, format!("{}\n{entry}", complaint(entry)?)))
        })
        .collect();
    let complaints: Vec<String> = complaints.into_values().collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));
}

/// The planner of SQLite knows nothing of how many rows there are: it has to find the way through the indexes by the statement alone. Steps are what
/// its virtual machine counts.
#[tokio::test]
async fn nothing_that_pushes_and_pulls_ask_takes_more_steps_in_a_file_because_there_is_more_in_it()
{
    let world = World::on_sqlite().await;
    let Place::File(directory) = &world.place else {
        panic!("it is in a file");
    };
    let path = directory.path().join("roadstead.db");
    let path = path.to_str().unwrap();
    let steps_of = async |round: u32| {
        steps::begin(path);
        work(&world, round).await;
        steps::end(path)
    };
    world.blob("{}", &us()).await;
    let grow = async |images: std::ops::Range<u32>| {
        for n in images {
            let own = format!("layer of image {n}");
            world.blob(&own, &us()).await;
            world
                .put(&image(&[&own]), &[&format!("tag{n}")], world.now)
                .await;
        }
    };
    work(&world, 0).await;
    grow(0..100).await;
    let before = steps_of(1).await;
    grow(100..1000).await;
    let after = steps_of(2).await;
    assert!(before.len() > 50, "{} statements", before.len());
    let grown: Vec<String> = after
        .iter()
        .filter_map(|(statement, steps)| {
            let before = *before.get(statement)?;
            (*steps > before + before / 4 + 200)
                .then(|| format!("{before} to {steps} steps: {statement}"))
        })
        .collect();
    assert!(grown.is_empty(), "{}", grown.join("\n\n"));
}
