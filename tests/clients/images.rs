//! skopeo, podman and buildah push and pull images of every shape; the digests are equal at both ends.

use roadstead_client::Client;
use roadstead_oci::{Digest, Reference, RepositoryName};
use roadstead_testkit::eventually;
use roadstead_tests::{Remote, Shape, Workshop, digest_of_directory, minimal_system};

use crate::server::OurRegistry;

fn repository() -> RepositoryName {
    "team/busybox".parse().unwrap()
}

/// `HOST:PORT/team/busybox:TAG`.
fn image(remote: &Remote, shape: Shape) -> String {
    format!("{}:{}", remote.repository(&repository()), shape.tag())
}

/// The registry has this digest, in this shape, under the shape's tag, and all of its bytes are right.
async fn assert_stored(client: &Client, shape: Shape, digest: &Digest) {
    let reference: Reference = shape.tag().parse().unwrap();
    let manifest = client
        .get_manifest(&repository(), &reference)
        .await
        .unwrap();
    assert_eq!(
        (&manifest.digest, manifest.media_type),
        (digest, shape.media_type()),
        "{shape:?}"
    );
    let head = client
        .head_manifest(&repository(), &reference)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.digest.as_ref(), Some(digest));
    crate::walk::pull_everything(client, &repository(), &Reference::from(digest.clone())).await;
}

#[tokio::test]
async fn skopeo_pushes_and_pulls_every_shape() {
    let registry = OurRegistry::start().await;
    let remote = registry.remote();
    let (here, there) = (Workshop::new(&[&remote]), Workshop::new(&[&remote]));
    let [amd64, _, list] = here.build_busybox("busybox").await;
    for shape in Shape::ALL {
        // skopeo copies from directories; the store writes them.
        let directory = here.path(&format!("{}.dir", shape.tag()));
        let target = format!("dir:{}", directory.display());
        let mut export = here.buildah();
        if shape.is_list() {
            export.args([
                "manifest",
                "push",
                "--all",
                "--format",
                shape.format(),
                &list,
                &target,
            ]);
        } else {
            export.args(["push", "--format", shape.format(), &amd64, &target]);
        }
        here.go(&mut export).await;
        let local = digest_of_directory(&directory);

        let address = format!("docker://{}", image(&remote, shape));
        let mut push = here.skopeo();
        push.args([
            "copy",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
            "--digestfile",
        ]);
        push.arg(here.digest_file("push")).args([&target, &address]);
        here.go(&mut push).await;
        assert_eq!(here.read_digest("push"), local, "{shape:?}");
        assert_stored(&remote.client(), shape, &local).await;

        let pulled = there.path(&format!("{}.dir", shape.tag()));
        let mut pull = there.skopeo();
        pull.args([
            "copy",
            "--all",
            "--preserve-digests",
            "--src-tls-verify=false",
            &address,
        ]);
        pull.arg(format!("dir:{}", pulled.display()));
        there.go(&mut pull).await;
        assert_eq!(digest_of_directory(&pulled), local, "{shape:?}");
    }
    let mut list = there.skopeo();
    list.args([
        "list-tags",
        "--tls-verify=false",
        &format!("docker://{}", remote.repository(&repository())),
    ]);
    let listed: serde_json::Value = serde_json::from_str(&there.go(&mut list).await).unwrap();
    assert_eq!(
        listed["Tags"],
        serde_json::json!(["docker", "docker-list", "oci", "oci-index"])
    );
    registry.stop().await;
}

#[tokio::test]
async fn podman_pushes_and_pulls_every_shape() {
    let registry = OurRegistry::start().await;
    let remote = registry.remote();
    let here = Workshop::new(&[&remote]);
    let [amd64, _, list] = here.build_busybox("busybox").await;
    for shape in Shape::ALL {
        // A machine that knows nothing yet: images of equal content count as one there, under the digest that came first.
        let there = Workshop::new(&[&remote]);
        let name = image(&remote, shape);
        let mut push = here.podman();
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
        push.arg(here.digest_file("push"));
        push.args([
            if shape.is_list() { &list } else { &amd64 },
            &format!("docker://{name}"),
        ]);
        here.go(&mut push).await;
        let digest = here.read_digest("push");
        assert_stored(&remote.client(), shape, &digest).await;

        let architectures: &[&str] = if shape.is_list() {
            &["amd64", "arm64"]
        } else {
            &["amd64"]
        };
        for architecture in architectures {
            let mut pull = there.podman();
            pull.args([
                "pull",
                "--quiet",
                "--tls-verify=false",
                "--arch",
                architecture,
                &name,
            ]);
            there.go(&mut pull).await;
            let mut inspect = there.podman();
            inspect.args([
                "image",
                "inspect",
                "--format",
                "{{.Digest}} {{.Architecture}}",
                &name,
            ]);
            assert_eq!(
                there.go(&mut inspect).await,
                format!("{digest} {architecture}"),
                "{shape:?}"
            );
        }
    }
    registry.stop().await;
}

#[tokio::test]
async fn buildah_pushes_and_pulls_every_shape_and_the_image_runs() {
    let registry = OurRegistry::start().await;
    let remote = registry.remote();
    let here = Workshop::new(&[&remote]);
    let [amd64, _, list] = here.build_busybox("busybox").await;
    for shape in Shape::ALL {
        // A machine that knows nothing yet: images of equal content count as one there, under the digest that came first.
        let there = Workshop::new(&[&remote]);
        let name = image(&remote, shape);
        let mut push = here.buildah();
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
        push.arg(here.digest_file("push"));
        push.args([
            if shape.is_list() { &list } else { &amd64 },
            &format!("docker://{name}"),
        ]);
        here.go(&mut push).await;
        let digest = here.read_digest("push");
        assert_stored(&remote.client(), shape, &digest).await;

        there
            .go(there
                .buildah()
                .args(["pull", "--quiet", "--tls-verify=false", &name]))
            .await;
        let images = there.go(there.buildah().args(["images", "--json"])).await;
        let images: serde_json::Value = serde_json::from_str(&images).unwrap();
        let pulled = images
            .as_array()
            .unwrap()
            .iter()
            .find(|image| {
                image["names"]
                    .as_array()
                    .is_some_and(|names| names.contains(&name.as_str().into()))
            })
            .unwrap_or_else(|| panic!("{name} is not among {images}"));
        assert_eq!(pulled["digest"], digest.as_str(), "{shape:?}");
    }
    // What comes out of the registry is a working image.
    let there = Workshop::new(&[&remote]);
    let container = there
        .go(there
            .buildah()
            .args(["from", "--tls-verify=false", &image(&remote, Shape::Oci)]))
        .await;
    let mut shell = there.buildah();
    shell.args([
        "run",
        "--isolation",
        "chroot",
        &container,
        "/bin/sh",
        "-c",
        "/bin/busybox cat /etc/mark",
    ]);
    assert_eq!(there.go(&mut shell).await, "busybox-amd64");
    registry.stop().await;
}

#[tokio::test]
async fn a_debian_system_goes_through_the_registry_and_still_works() {
    let registry = OurRegistry::start().await;
    let remote = registry.remote();
    let (here, there) = (Workshop::new(&[&remote]), Workshop::new(&[&remote]));
    let tree = minimal_system().await;
    here.build("debian", "amd64", &[(&tree, "/")]).await;
    let name = image(&remote, Shape::Oci);
    let mut push = here.podman();
    push.args([
        "push",
        "--quiet",
        "--tls-verify=false",
        "--format",
        "oci",
        "--digestfile",
    ]);
    push.arg(here.digest_file("push"))
        .args(["debian", &format!("docker://{name}")]);
    here.go(&mut push).await;
    let digest = here.read_digest("push");
    assert_stored(&remote.client(), Shape::Oci, &digest).await;

    let mut from = there.buildah();
    from.args([
        "from",
        "--quiet",
        "--tls-verify=false",
        &format!("docker://{name}"),
    ]);
    let container = there.go(&mut from).await;
    let mut dpkg = there.buildah();
    dpkg.args([
        "run",
        "--isolation",
        "chroot",
        &container,
        "/usr/bin/dpkg",
        "--verify",
    ]);
    // dpkg compares every file of every package with the sum that the package came with.
    assert_eq!(there.go(&mut dpkg).await, "");
    registry.stop().await;
}

#[tokio::test]
async fn who_is_not_logged_in_pushes_nothing_and_pulls_nothing_private() {
    let registry = OurRegistry::start().await;
    let remote = registry.remote();
    let stranger = Remote {
        credentials: None,
        ..remote.clone()
    };
    let liar = Remote {
        credentials: Some(("admin".to_owned(), "wrong".to_owned())),
        ..remote.clone()
    };
    let here = Workshop::new(&[&remote]);
    let [amd64, ..] = here.build_busybox("busybox").await;
    let name = image(&remote, Shape::Oci);
    here.go(here.buildah().args([
        "push",
        "--quiet",
        "--tls-verify=false",
        &amd64,
        &format!("docker://{name}"),
    ]))
    .await;
    for other in [&stranger, &liar] {
        let there = Workshop::new(&[other]);
        let pull = there
            .attempt(
                there
                    .podman()
                    .args(["pull", "--quiet", "--tls-verify=false", &name]),
            )
            .await;
        pull.expect_failure();
        let [amd64, ..] = there.build_busybox("busybox").await;
        let push = there
            .attempt(there.buildah().args([
                "push",
                "--quiet",
                "--tls-verify=false",
                &amd64,
                &format!("docker://{name}-2"),
            ]))
            .await;
        push.expect_failure();
    }
    // Wrong passwords make the next attempt wait a moment, also one with the right password.
    let client = remote.client();
    let tags = eventually("the right password is taken again", async || {
        client.tags(&repository()).await.ok()
    })
    .await;
    assert_eq!(tags, ["oci"]);
    registry.stop().await;
}
