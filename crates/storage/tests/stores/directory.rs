//! A directory of this machine.

use roadstead_storage::{LocalOptions, Location};

use crate::suite;

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let another = || {
        let name = "local".parse().unwrap();
        Location::local(name, directory.path(), LocalOptions::default()).unwrap()
    };
    suite::run(&another).await;
}
