//! Two regions: two processes over one database, each with a store of its own in front.

use roadstead_testkit::{RegistryProcess, RegistrySettings};

use crate::deployment::{Deployment, NamedImage, stop};

const PREFERENCE: &str = "QUAY_DISTRIBUTED_STORAGE_PREFERENCE";

/// The regions of a deployment: the first writes to `usstorage`, the second to `eustorage`.
async fn start(deployment: &Deployment) -> [(RegistrySettings, RegistryProcess); 2] {
    let mut regions = Vec::new();
    for (address, preference) in [
        (deployment.settings.address, "usstorage eustorage"),
        (
            RegistrySettings::new("unused").address,
            "eustorage usstorage",
        ),
    ] {
        let mut settings = RegistrySettings {
            address,
            ..deployment.settings.clone()
        };
        settings
            .environment
            .push((PREFERENCE.to_owned(), preference.to_owned()));
        let process = settings.start().await;
        regions.push((settings, process));
    }
    regions
        .try_into()
        .unwrap_or_else(|_| unreachable!("two regions were started"))
}

#[tokio::test]
async fn what_is_pushed_in_one_region_is_pulled_in_the_other_at_once_and_lies_near_it_later() {
    let deployment = Deployment::new();
    let [(us, us_process), (eu, eu_process)] = start(&deployment).await;
    let (us_client, eu_client) = (us.client(), eu.client());
    let (one, two) = (NamedImage::new(1), NamedImage::new(2));
    one.image
        .push(&us_client, &one.repository, &one.reference)
        .await
        .unwrap();
    one.image
        .pull(&eu_client, &one.repository, &one.reference)
        .await
        .unwrap();
    two.image
        .push(&eu_client, &two.repository, &two.reference)
        .await
        .unwrap();
    two.image
        .pull(&us_client, &two.repository, &two.reference)
        .await
        .unwrap();
    deployment.wait_until_replicated().await;
    for location in ["usstorage", "eustorage"] {
        let objects = deployment.settings.files(location).objects();
        assert!(
            one.image
                .blobs
                .iter()
                .chain(&two.image.blobs)
                .all(|blob| objects.contains_key(blob)),
            "{location}"
        );
    }
    // Either region stops without the other noticing.
    stop(us_process).await;
    one.image
        .pull(&eu_client, &one.repository, &one.reference)
        .await
        .unwrap();
    stop(eu_process).await;
}

#[tokio::test]
async fn both_regions_take_pushes_at_the_same_time() {
    let deployment = Deployment::new();
    let [(us, us_process), (eu, eu_process)] = start(&deployment).await;
    let images: Vec<NamedImage> = (0..20).map(NamedImage::new).collect();
    let push = async |settings: &RegistrySettings, images: &[NamedImage]| {
        let client = settings.client();
        for named in images {
            named
                .image
                .push(&client, &named.repository, &named.reference)
                .await
                .unwrap();
        }
    };
    // Half of the images go to both.
    let ((), ()) = tokio::join!(push(&us, &images[..15]), push(&eu, &images[5..]));
    deployment.wait_until_replicated().await;
    for settings in [&us, &eu] {
        let client = settings.client();
        for named in &images {
            named
                .image
                .pull(&client, &named.repository, &named.reference)
                .await
                .unwrap();
        }
    }
    let (at_us, at_eu) = (
        deployment.settings.files("usstorage"),
        deployment.settings.files("eustorage"),
    );
    assert_eq!(at_us.objects(), at_eu.objects());
    assert!(at_us.damaged().is_empty() && at_eu.damaged().is_empty());
    assert!(at_us.staged().is_empty() && at_eu.staged().is_empty());
    stop(us_process).await;
    stop(eu_process).await;
}
