//! Buckets, with and without a store that copies parts.

mod copies;
mod middleman;

use roadstead_runtime::Environment;
use roadstead_secrets::Secret;
use roadstead_storage::{HttpClient, Location, S3Credentials, S3Options, Staged, StoreOptions};
use roadstead_test_servers::S3Server;

use crate::{append, content, digest, id, key, put, suite};

pub(crate) const BUCKET: &str = "registry";

/// How a bucket of the server is reached, at another endpoint if there is a proxy in front of it.
pub(crate) fn options(server: &S3Server, endpoint: String) -> S3Options {
    S3Options {
        endpoint,
        region: Some("eu-west-1".to_owned()),
        bucket: BUCKET.to_owned(),
        storage_path: "/datastorage/registry".to_owned(),
        credentials: S3Credentials::Keys {
            access_key: Secret::new(server.access_key()),
            secret_key: Secret::new(server.secret_key()),
            session_token: None,
        },
        server_side_encryption: false,
        server_side_assembly: true,
        cross_origin_urls: false,
    }
}

pub(crate) fn open(s3: &S3Options, options: StoreOptions) -> Location {
    let http = HttpClient::new(&[]).unwrap();
    let name = "s3".parse().unwrap();
    Location::s3(name, s3, options, &http, Environment::system()).unwrap()
}

pub(crate) fn started() -> S3Server {
    let server = S3Server::start();
    server.create_bucket(BUCKET);
    server
}

#[tokio::test]
async fn a_bucket_keeps_the_contract_and_the_store_copies_the_parts() {
    let server = started();
    let s3 = options(&server, server.endpoint());
    suite::run(&|| open(&s3, StoreOptions::default())).await;
    let copies = server
        .requests()
        .iter()
        .filter(|request| request.method == "PUT" && request.target.contains("partNumber"))
        .count();
    assert!(copies > 0, "parts are copied and not sent again");
}

/// As Google's interoperability mode, and Ceph with `server_side_assembly: false`.
#[tokio::test]
async fn a_bucket_whose_store_cannot_copy_parts_keeps_the_contract() {
    let server = started();
    let s3 = S3Options {
        server_side_assembly: false,
        ..options(&server, server.endpoint())
    };
    suite::run(&|| open(&s3, StoreOptions::default())).await;
}

#[tokio::test]
async fn objects_lie_under_the_keys_of_quay_and_those_of_quay_are_read() {
    let server = started();
    let location = open(
        &options(&server, server.endpoint()),
        StoreOptions::default(),
    );
    let ours = content(1, 5_000);
    put(&location, id(1), &ours).await.unwrap();
    let root = server.bucket_directory(BUCKET).join("datastorage/registry");
    let path = |bytes: &[u8]| root.join(key(bytes).path());
    assert_eq!(std::fs::read(path(&ours)).unwrap(), ours);

    let quays = content(2, 6_000);
    std::fs::create_dir_all(path(&quays).parent().unwrap()).unwrap();
    std::fs::write(path(&quays), &quays).unwrap();
    let read = crate::read(&location, &key(&quays), 0..6_000).await;
    assert_eq!(read.unwrap(), quays);
}

/// A part is sent while the next is gathered, and never more of them than the memory allows.
#[tokio::test]
async fn a_large_upload_is_sent_in_parts_that_any_process_goes_on_from() {
    let server = started();
    let s3 = options(&server, server.endpoint());
    let whole = content(3, 60 << 20);
    let (first, second) = whole.split_at((25 << 20) + 123);
    let small = StoreOptions {
        upload_memory_bytes: 16 << 20,
        ..StoreOptions::default()
    };
    let staged = append(&open(&s3, small), id(3), &Staged::NOTHING, first)
        .await
        .unwrap();
    let location = open(&s3, StoreOptions::default());
    let staged = append(&location, id(3), &staged, second).await.unwrap();
    let key = key(&whole);
    location.publish(id(3), &staged, &key).await.unwrap();
    let size = whole.len() as u64;
    let intact = roadstead_storage::Verification::Intact { size };
    assert_eq!(location.verify(&digest(&whole)).await.unwrap(), intact);
}
