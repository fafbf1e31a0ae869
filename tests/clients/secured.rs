//! HTTPS, as clients have it: with an authority that they know, and not without.

use roadstead_tests::{Remote, Secured, Workshop};

#[tokio::test]
async fn buildah_pushes_and_podman_and_skopeo_pull_by_https_from_an_authority_that_they_know() {
    let secured = Secured::new("");
    let registry = secured.settings.start().await;
    let remote = Remote {
        address: secured.tls,
        ..Remote::ours(&secured.settings)
    };
    let (here, there) = (Workshop::new(&[&remote]), Workshop::new(&[&remote]));
    let repository = "team/busybox".parse().unwrap();
    let image = format!("{}:v1", remote.repository(&repository));
    let address = format!("docker://{image}");
    let [amd64, ..] = here.build_busybox("busybox").await;

    let mut push = here.buildah();
    push.args(["push", "--quiet", &amd64, &address]);
    here.attempt(&mut push).await.expect_failure();
    // The directory holds our key, too, which tools take for the client's where its certificate lies beside it.
    let authorities = here.path("authorities");
    std::fs::create_dir(&authorities).unwrap();
    std::fs::copy(secured.path("ca.crt"), authorities.join("ca.crt")).unwrap();
    let authorities = authorities.to_str().unwrap();

    let mut push = here.buildah();
    push.args(["push", "--quiet", "--cert-dir", authorities, "--digestfile"]);
    push.arg(here.digest_file("push")).args([&amd64, &address]);
    here.go(&mut push).await;
    let mut inspect = here.skopeo();
    inspect.args([
        "inspect",
        "--cert-dir",
        authorities,
        "--format",
        "{{.Digest}}",
        &address,
    ]);
    assert_eq!(
        here.go(&mut inspect).await,
        here.read_digest("push").as_str()
    );
    let mut pull = there.podman();
    pull.args(["pull", "--quiet", "--cert-dir", authorities, &image]);
    there.go(&mut pull).await;
    assert!(registry.stop().await.success());
}
