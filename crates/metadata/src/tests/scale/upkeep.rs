//! What reading everything back asks of the database, page by page, what is told of images, and the removal of a location, batch by batch.

use super::*;

/// Many objects that nothing accounts for, as after a disaster. And many images that are awaited at a location that is down, and events of which a
/// webhook that is down has still to be told.
pub(super) async fn prepare(world: &World) {
    for statement in [
        "INSERT INTO roadstead_scrub_orphan (digest, location, size, first_seen, last_seen)
         SELECT 'sha256:' || encode(sha256(CAST('orphan ' || n AS bytea)), 'hex'), 'eustorage', 7, now(), now()
         FROM generate_series(1, 20000) n",
        "ANALYZE roadstead_scrub_orphan",
        "INSERT INTO roadstead_awaited_image (manifest_id, location_id, since, lacks_id, look_at)
         SELECT m.id, l.id, to_timestamp(1795000000), b.blob_id, to_timestamp(1795000000 + m.id % 1000)
         FROM manifest m JOIN imagestoragelocation l ON l.name = 'apstorage'
         JOIN (SELECT manifest_id, max(blob_id) AS blob_id FROM manifestblob GROUP BY manifest_id) b ON b.manifest_id = m.id",
        "INSERT INTO roadstead_image_event
             (kind, manifest_id, location_id, namespace_id, repository, digest, tags, location, since, complete_at)
         SELECT 'image.complete', m.id, l.id, 1, 'acme/app', m.digest, '[]', 'usstorage', to_timestamp(1795000000 - m.id), to_timestamp(1795000000 - m.id)
         FROM manifest m JOIN imagestoragelocation l ON l.name = 'usstorage'",
        "INSERT INTO roadstead_webhook (url, shown, location, namespace_id, created_at) VALUES ('', '', '', 0, to_timestamp(1795000000))",
        "INSERT INTO roadstead_webhook_delivery (webhook_id, event_id, due_at)
         SELECT w.id, e.id, e.complete_at FROM roadstead_image_event e, roadstead_webhook w",
        "ANALYZE roadstead_awaited_image, roadstead_image_event, roadstead_webhook_delivery",
    ] {
        world.sql(statement).await;
    }
}

/// What one page of a round does, what looking through one page of a listing does, and what becomes of what was found.
pub(super) async fn read_back(world: &World, round: u32) {
    let database = &world.database;
    let now = later(world.now, u64::from(round));
    database.scrub_states().await.unwrap();
    let lease = database
        .claim_scrub(&us(), world.ids.uuid(), later(now, 300), now)
        .await
        .unwrap()
        .expect("nobody else is at it");
    assert!(
        database
            .extend_scrub(&lease, Some(later(now, 600)))
            .await
            .unwrap()
    );
    let page = database
        .placements_between(&us(), &lease.state.after, "sha512:g", 100)
        .await
        .unwrap();
    assert_eq!(page.len(), 100);
    let digests: Vec<Digest> = page.iter().map(|blob| blob.digest.clone()).collect();
    let placed = database.placed_of_digest(&us(), &digests[0]).await.unwrap();
    assert_eq!(placed.len(), 1);
    for digest in &digests[..3] {
        let finding = ScrubFinding {
            digest: digest.clone(),
            location: us(),
            defect: "missing".to_owned(),
            size: 1000,
            found_size: None,
            found_digest: None,
            kept: true,
            found_at: now,
            repaired_at: None,
        };
        database.note_finding(&finding).await.unwrap();
    }
    let repaired = database.settle_intact(&us(), &digests, now).await.unwrap();
    assert_eq!(repaired.len(), 3);
    database.settle_findings(now, now, now).await.unwrap();
    database.scrub_findings(100).await.unwrap();
    let step = ScrubStep {
        after: digests[99].to_string(),
        ..ScrubStep::default()
    };
    assert!(database.advance_scrub(lease, &step).await.unwrap());

    let strangers: Vec<Digest> = (0..100)
        .map(|n| digest_of(&format!("stranger {n} of round {round}")))
        .collect();
    let listed: Vec<Digest> = digests.iter().chain(&strangers).cloned().collect();
    let unaccounted = database.unaccounted_objects(&eu(), &listed).await.unwrap();
    assert_eq!(unaccounted.len(), 100);
    let orphans: Vec<_> = unaccounted.into_iter().map(|digest| (digest, 7)).collect();
    database.note_orphans(&eu(), &orphans, now).await.unwrap();
    for first_byte in 0..8 {
        let shard = format!("sha256:{first_byte:02x}");
        database.forget_orphans(&eu(), &shard, now).await.unwrap();
        database
            .doom_orphans(&eu(), &shard, now, now)
            .await
            .unwrap();
    }
}

/// Some pages of a reconciliation, and of the emptying of a location.
pub(super) async fn reconcile(world: &World, round: u32) {
    let database = &world.database;
    let everywhere = both();
    let page = DemandPage {
        demand: Demand {
            defaults: &everywhere,
            configured: &everywhere,
        },
        after: StorageId(i32::try_from(round).unwrap() * 300),
        span: 300,
        queue: QUEUE,
        ids: &world.ids,
        now: world.now,
    };
    database.want_demanded_copies(&page).await.unwrap();
    database.want_leaving_copies(&page, &us()).await.unwrap();
    let trusted = BTreeSet::from([eu()]);
    database
        .hasten_sole_copies(&us(), &trusted, page.after, 300)
        .await
        .unwrap();
}

/// What is looked at, noted and delivered every second, and a batch of what is over.
pub(super) async fn tell(world: &World, round: u32) {
    let database = &world.database;
    let now = later(world.now, 1_000 + u64::from(round));
    let settled = database.settle_awaited_images(50, now).await.unwrap();
    assert_eq!(settled.looked_at, 50);
    let blobs = database
        .placements_between(&us(), "", "sha512:g", 100)
        .await
        .unwrap();
    let third = LocationName::new("apstorage").unwrap();
    let arrivals: Vec<_> = blobs
        .iter()
        .map(|blob| (blob.storage, third.clone()))
        .collect();
    database.note_arrivals(&arrivals, now).await.unwrap();
    let lease = database
        .claim_webhook(16, world.ids.uuid(), later(now, 60), now)
        .await
        .unwrap()
        .expect("it has been told nothing yet");
    assert_eq!(lease.deliveries.len(), 16);
    let ids: Vec<i64> = lease.deliveries.iter().map(|due| due.id).collect();
    let ended = DeliveriesEnded {
        delivered: ids[..8].to_vec(),
        put_off: ids[8..].iter().map(|id| (*id, later(now, 60))).collect(),
        ..DeliveriesEnded::default()
    };
    assert!(database.end_deliveries(&lease, &ended, now).await.unwrap());
    database.image_events(0, 100).await.unwrap();
    let forgotten = database.forget_image_events(world.now, 100).await.unwrap();
    assert_eq!(forgotten, 100);
}

/// Some batches of a removal.
pub(super) async fn remove(world: &World) {
    let database = &world.database;
    let trusted = BTreeSet::from([eu()]);
    let mut after = 0;
    for _ in 0..REPEATS {
        let deleted = database
            .forget_placements(&us(), &trusted, after, 500)
            .await
            .unwrap();
        assert_eq!(deleted.len(), 500);
        after = *deleted.last().unwrap();
        let third = LocationName::new("apstorage").unwrap();
        let dropped = database.forget_wanted_copies(&third, 500).await.unwrap();
        assert_eq!(dropped, 500);
    }
}
