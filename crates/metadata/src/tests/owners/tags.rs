//! Tags that owners move, end and bring back.

use super::*;

#[tokio::test]
async fn a_tag_is_moved_made_and_brought_back_with_the_copies_that_its_image_lacks() {
    for world in worlds().await {
        for content in ["{}", "one", "two"] {
            world.blob(content, &us()).await;
        }
        let (one, two) = (image(&["one"]), image(&["two"]));
        let [first, second] = [&one, &two].map(|image| image.digest(Algorithm::Sha256));
        let at = |seconds| later(world.now, seconds);
        world.put(&one, &["v1"], world.now).await;
        world.put(&two, &["v2"], world.now).await;
        world.sql("DELETE FROM roadstead_copy").await;
        world.sql("DELETE FROM queueitem").await;

        let present = PointedFrom::Present;
        assert_eq!(
            world.point("v1", &second, present, at(1)).await,
            TagMove::Pointed { copies: 2 },
            "what the image lacks is wanted again"
        );
        assert!(matches!(
            world.point("new", &second, present, at(2)).await,
            TagMove::Pointed { copies: 0 }
        ));
        assert_eq!(world.points_to("v1", at(2)).await.as_ref(), Some(&second));
        assert_eq!(world.points_to("new", at(2)).await.as_ref(), Some(&second));
        assert_eq!(
            world.point("v1", &first, present, at(3)).await,
            TagMove::ManifestUnknown,
            "no tag holds it any more"
        );
        assert_eq!(
            world
                .point("v1", &digest_of("other"), PointedFrom::Past, at(3))
                .await,
            TagMove::ManifestUnknown
        );
        assert!(matches!(
            world.point("v1", &first, PointedFrom::Past, at(4)).await,
            TagMove::Pointed { copies: 1 }
        ));
        assert_eq!(world.points_to("v1", at(4)).await.as_ref(), Some(&first));
        let told = world.told().await;
        let tag = |kind: &str, tag: &str, digest: &Digest, more: &str| {
            format!(
                r#"{kind} by admin {{"username": "admin", "repo": "app", "tag": "{tag}", "namespace": "acme", "manifest_digest": "{digest}"{more}}}"#
            )
        };
        assert_eq!(
            told[2..],
            [
                tag(
                    "move_tag",
                    "v1",
                    &second,
                    &format!(r#", "original_manifest_digest": "{first}""#)
                ),
                tag(
                    "create_tag",
                    "new",
                    &second,
                    r#", "original_manifest_digest": null"#
                ),
                tag("revert_tag", "v1", &first, ""),
            ]
        );
        let page = TagPage {
            repository: world.repository.id,
            filter: TagFilter::Named("v1"),
            live_only: false,
            skip: 0,
            limit: 10,
            now: at(4),
        };
        let history = world.database.tag_history(&page).await.unwrap();
        let shown: Vec<_> = history
            .iter()
            .map(|row| (row.digest.as_str(), row.start, row.end, row.reversion))
            .collect();
        assert_eq!(
            shown,
            [
                (first.as_str(), at(4), None, true),
                (second.as_str(), at(1), Some(at(4)), false),
                (first.as_str(), world.now, Some(at(1)), false),
            ]
        );
        let count = async |filter, live_only, skip| {
            let page = TagPage {
                filter,
                live_only,
                skip,
                ..page
            };
            world.database.tag_history(&page).await.unwrap().len()
        };
        assert_eq!(count(TagFilter::All, false, 0).await, 5);
        assert_eq!(count(TagFilter::All, true, 0).await, 3);
        assert_eq!(count(TagFilter::All, false, 4).await, 1);
        assert_eq!(count(TagFilter::Containing("V"), true, 0).await, 2);
        assert_eq!(count(TagFilter::Containing("%"), false, 0).await, 0);
    }
}

#[tokio::test]
async fn only_what_the_window_still_holds_can_be_brought_back_and_all_that_was_hidden_comes_with_it()
 {
    for world in worlds().await {
        for content in ["{}", "one"] {
            world.blob(content, &us()).await;
        }
        let one = image(&["one"]);
        let multi = index(&[&one]);
        let [child, digest] = [&one, &multi].map(|image| image.digest(Algorithm::Sha256));
        world.put(&one, &[], world.now).await;
        world.put(&multi, &["v1"], world.now).await;
        let gone = later(world.now, 10);
        assert_eq!(world.delete(child.as_str(), gone).await, Deletion::Deleted);
        assert_eq!(world.delete(digest.as_str(), gone).await, Deletion::Deleted);
        let layer = digest_of("one");
        let deleted = world
            .database
            .delete_blob(world.repository.id, &layer, gone)
            .await
            .unwrap();
        assert_eq!(deleted, BlobDeletion::Deleted);

        let over = later(gone, WINDOW_SECONDS);
        assert_eq!(
            world.point("v1", &digest, PointedFrom::Past, over).await,
            TagMove::ManifestUnknown
        );
        let in_time = later(gone, WINDOW_SECONDS - 1);
        assert_eq!(
            world
                .point("v1", &digest, PointedFrom::Present, in_time)
                .await,
            TagMove::ManifestUnknown
        );
        assert!(matches!(
            world.point("v1", &digest, PointedFrom::Past, in_time).await,
            TagMove::Pointed { .. }
        ));
        assert_eq!(world.points_to("v1", in_time).await, Some(digest));
        assert_eq!(world.points_to(child.as_str(), in_time).await, Some(child));
        assert!(
            world
                .database
                .find_blob(world.repository.id, &layer, in_time)
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test]
async fn an_immutable_tag_is_not_moved_ended_or_brought_back_and_one_that_ends_is_not_made_immutable()
 {
    for mut world in worlds().await {
        for content in ["{}", "one", "two"] {
            world.blob(content, &us()).await;
        }
        let (one, two) = (image(&["one"]), image(&["two"]));
        let [first, second] = [&one, &two].map(|image| image.digest(Algorithm::Sha256));
        world.put(&one, &["v1"], world.now).await;
        world.put(&two, &["v2"], world.now).await;
        let now = later(world.now, 5);
        assert_eq!(world.protect("v1", true, now).await, TagChange::Changed);
        world.features.immutable_tags = ImmutableTags::Kept;
        assert_eq!(
            world.change_end("v1", Some(later(now, 60)), now).await,
            TagChange::Changed,
            "without the feature nothing was made immutable"
        );
        assert_eq!(world.protect("v1", true, now).await, TagChange::Ends);
        assert_eq!(world.change_end("v1", None, now).await, TagChange::Changed);
        assert_eq!(world.protect("v1", true, now).await, TagChange::Changed);
        for from in [PointedFrom::Present, PointedFrom::Past] {
            assert_eq!(
                world.point("v1", &second, from, now).await,
                TagMove::Immutable
            );
        }
        for until in [None, Some(later(now, 60))] {
            assert_eq!(
                world.change_end("v1", until, now).await,
                TagChange::Immutable
            );
        }
        assert_eq!(world.points_to("v1", later(now, 61)).await, Some(first));
        assert_eq!(world.protect("v1", false, now).await, TagChange::Changed);
        assert_eq!(
            world.change_end("v1", Some(later(now, 60)), now).await,
            TagChange::Changed
        );
        assert_eq!(world.points_to("v1", later(now, 60)).await, None);
        world.features.immutable_tags = ImmutableTags::KeptUntilTheyExpire;
        assert_eq!(world.protect("v1", true, now).await, TagChange::Changed);
        for unknown in ["never", "v1"] {
            let after = later(now, 61);
            assert_eq!(
                world.change_end(unknown, None, after).await,
                TagChange::Unknown
            );
            assert_eq!(
                world.protect(unknown, true, after).await,
                TagChange::Unknown
            );
        }
        let told = world.told().await;
        let change = |kind: &str, more: &str| {
            format!(
                r#"{kind} by admin {{"username": "admin", "repo": "app", "tag": "v1", "namespace": "acme", {more}}}"#
            )
        };
        let end = later(now, 60).timestamp();
        assert_eq!(
            told[2..5],
            [
                change(
                    "change_tag_expiration",
                    &format!(r#""expiration_date": {end}, "old_expiration_date": null"#)
                ),
                change(
                    "change_tag_expiration",
                    &format!(r#""expiration_date": null, "old_expiration_date": {end}"#)
                ),
                change(
                    "change_tag_immutability",
                    r#""immutable": true, "previous_immutable": false"#
                ),
            ]
        );
    }
}

#[tokio::test]
async fn two_tags_of_one_name_may_end_in_the_same_millisecond() {
    for world in worlds().await {
        world.blob("{}", &us()).await;
        let one = image(&[]);
        world.put(&one, &["v1"], world.now).await;
        let end = later(world.now, 100);
        assert_eq!(
            world.change_end("v1", Some(end), world.now).await,
            TagChange::Changed
        );
        // The row that ends then is not live any more, and another takes its name.
        let now = later(world.now, 1);
        world.sql("UPDATE tag SET hidden = true").await;
        world.put(&one, &["v1"], now).await;
        assert_eq!(
            world.change_end("v1", Some(end), now).await,
            TagChange::Changed
        );
        assert!(
            world.points_to("v1", end).await.is_some(),
            "a millisecond later"
        );
        assert_eq!(world.points_to("v1", later(end, 1)).await, None);
    }
}
