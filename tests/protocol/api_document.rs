//! The API held against its own OpenAPI document by a property-based client that knows nothing else of it: whatever it makes of the document is
//! answered, never with a failure of ours, and with nothing that the document does not tell.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use roadstead_test_servers::installed_program;
use roadstead_testkit::{RegistrySettings, run};
use roadstead_tests::call;
use tokio::process::Command;

/// Where `cargo xtask test` puts the client.
const CLIENT: &str = "schemathesis-4.32.5";

/// The longest that one run may take: a hundred operations with some dozens of requests each, to a debug build on a busy machine.
const RUN_LIMIT: Duration = Duration::from_mins(15);

/// What is drawn is drawn from this.
const SEED: &str = "20261126";

/// How many requests are drawn for an operation, beside those that its document's edges give.
const EXAMPLES: &str = "6";

/// What every answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth";

/// It would change the password that the client signs in with.
const LEFT_OUT: &[&str] = &["changeUserDetails"];

/// These would remove what the names are of, or close the client's account, before the others have had their turn.
const LEFT_OUT_WITH_NAMES: &[&str] = &[
    "changeInstallUser",
    "deleteInstallUser",
    "changeOrganization",
    "deleteOrganization",
    "deleteAdminedOrganization",
    "deleteRepository",
    "deleteOrganizationTeam",
];

/// What else a document that breaks the rules may be answered with: that it is too large.
const SETTINGS: &str = r#"
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "414", "415", "422", "428", "429"]
"#;

/// A repository's name has a slash, which the client leaves out of what it draws for a path: without one the path would be another.
const NO_NAMES: &str = r#"
[parameters]
"path.repository" = "nobody/nothing"
"#;

/// Names of what is there, so that what is drawn gets beyond "there is no such thing".
const NAMES: &str = r#"
[parameters]
"path.orgname" = "acme"
"path.namespace" = "acme"
"path.repository" = "acme/app"
"path.teamname" = "owners"
"path.membername" = "admin"
"path.username" = "admin"
"path.robot_shortname" = "ci"
"path.tag" = "latest"
"path.location" = "usstorage"
"#;

/// What is there: asked for in turn, each a method, a path below `/api/v1` and a document.
const WORLD: &[(&str, &str, &str)] = &[
    (
        "POST",
        "/organization/",
        r#"{"name": "acme", "email": "acme@example.com"}"#,
    ),
    (
        "PUT",
        "/organization/acme/robots/ci",
        r#"{"description": ""}"#,
    ),
    (
        "PUT",
        "/organization/acme/team/makers",
        r#"{"role": "creator"}"#,
    ),
    (
        "POST",
        "/repository",
        r#"{"namespace": "acme", "repository": "app", "visibility": "private", "description": ""}"#,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_property_based_client_makes_of_the_document_is_answered_as_the_document_says() {
    let directory = tempfile::tempdir().unwrap();
    let settings = RegistrySettings::new(directory.path().join("data"));
    let registry = settings.start().await;
    let client = settings.anonymous();
    let basic = STANDARD.encode(format!("admin:{}", settings.password()));
    for (method, path, document) in WORLD {
        let reply = call(method, format!("/api/v1{path}"))
            .header("authorization", format!("Basic {basic}"))
            .header("content-type", "application/json")
            .body((*document).to_owned())
            .send(&client)
            .await;
        assert!(
            reply.status.is_success(),
            "{method} {path}: {}",
            reply.status
        );
    }
    println!("seed {SEED}");
    let password = settings.password();
    let account =
        format!("[auth]\nbasic = {{ username = \"admin\", password = \"{password}\" }}\n");
    // First with names of every sort, which change nothing that is there; then with those of what is there.
    let with_names = [LEFT_OUT, LEFT_OUT_WITH_NAMES].concat();
    for (file, names, left_out) in [
        ("drawn.toml", NO_NAMES, LEFT_OUT),
        ("named.toml", NAMES, &with_names),
    ] {
        let configuration = directory.path().join(file);
        std::fs::write(&configuration, format!("{account}{SETTINGS}{names}")).unwrap();
        let mut command = Command::new("python3");
        command
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(&configuration)
            .arg("run")
            .arg(format!("{}/api/v1/openapi.json", settings.url()))
            .args(["--seed", SEED, "--max-examples", EXAMPLES])
            .args(["--checks", CHECKS, "--continue-on-failure", "--no-shrink"])
            .args(["--phases", "coverage,fuzzing", "--no-color"])
            .env("PYTHONPATH", installed_program(CLIENT))
            .current_dir(directory.path());
        for operation in left_out {
            command.args(["--exclude-operation-id", operation]);
        }
        let finished = run(&mut command, RUN_LIMIT).await;
        println!("{}", finished.stdout);
        finished.expect_success();
    }
    let log = registry.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(registry.stop().await.success());
}
