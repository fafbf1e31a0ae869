//! Copies between this registry and docker-registry.

use roadstead_oci::{Reference, RepositoryName};
use roadstead_tests::{Peer, Shape, Workshop};

use crate::server::OurRegistry;
use crate::walk::pull_everything;

#[tokio::test]
async fn skopeo_copies_from_docker_registry_and_back_without_changing_a_digest() {
    let (registry, peer) = (OurRegistry::start().await, Peer::start().await);
    let (ours, theirs) = (registry.remote(), peer.remote());
    let workshop = Workshop::new(&[&ours, &theirs]);
    let [amd64, _, list] = workshop.build_busybox("busybox").await;
    let (origin, between, back): (RepositoryName, RepositoryName, RepositoryName) = (
        "origin/busybox".parse().unwrap(),
        "between/busybox".parse().unwrap(),
        "back/busybox".parse().unwrap(),
    );
    for shape in Shape::ALL {
        let tag = shape.tag();
        let first = format!("docker://{}:{tag}", theirs.repository(&origin));
        let mut push = workshop.buildah();
        if shape.is_list() {
            push.args(["manifest", "push", "--all", "--quiet"]);
        } else {
            push.args(["push", "--quiet"]);
        }
        push.args([
            "--tls-verify=false",
            "--format",
            shape.format(),
            "--digestfile",
        ]);
        push.arg(workshop.digest_file("push"))
            .args([if shape.is_list() { &list } else { &amd64 }, &first]);
        workshop.go(&mut push).await;
        let digest = workshop.read_digest("push");

        let second = format!("docker://{}:{tag}", ours.repository(&between));
        let third = format!("docker://{}:{tag}", theirs.repository(&back));
        for (source, target) in [(&first, &second), (&second, &third)] {
            let mut copy = workshop.skopeo();
            copy.args([
                "copy",
                "--all",
                "--preserve-digests",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            ]);
            copy.arg("--digestfile")
                .arg(workshop.digest_file("copy"))
                .args([source, target]);
            workshop.go(&mut copy).await;
            assert_eq!(workshop.read_digest("copy"), digest, "{source} to {target}");
        }
        let reference: Reference = tag.parse().unwrap();
        let sizes = [
            pull_everything(&theirs.client(), &origin, &reference).await,
            pull_everything(&ours.client(), &between, &reference).await,
            pull_everything(&theirs.client(), &back, &reference).await,
        ];
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
    }
    registry.stop().await;
}
