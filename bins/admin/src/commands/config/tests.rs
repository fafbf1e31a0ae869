//! What is said of configurations, and with which exit status.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::commands::world::console;

fn directory(yaml: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), yaml).unwrap();
    directory
}

/// A configuration whose store and database lie in `DATA`.
const GOOD: &str = "\
SERVER_HOSTNAME: registry.example.org
DB_URI: sqlite:///DATA/registry.db
SECRET_KEY: hunter2
DISTRIBUTED_STORAGE_CONFIG:
  us: [LocalStorage, {storage_path: DATA/us}]
FEATURE_REPO_MIRROR: true
";

fn good() -> TempDir {
    let made = directory("");
    fs::create_dir(made.path().join("us")).unwrap();
    let yaml = GOOD.replace("DATA", made.path().to_str().unwrap());
    fs::write(made.path().join("config.yaml"), yaml).unwrap();
    made
}

async fn checked(
    directory: &TempDir,
    online: bool,
    format: Format,
    variables: &[(&str, &str)],
) -> (ExitCode, String, String) {
    let (mut console, output, errors) = console("");
    let arguments = CheckArguments {
        directory: Some(directory.path().to_owned()),
        online,
        format,
    };
    let nowhere = Source::Directory("/nonexistent".into());
    let variables = variables.iter().copied().collect();
    let code = run_check(&arguments, nowhere, &variables, &mut console)
        .await
        .unwrap();
    let prefix = format!("{}/", directory.path().display());
    (code, output.text().replace(&prefix, ""), errors.text())
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once_and_the_status_says_whether_it_stops_a_start() {
    let (code, output, errors) = checked(&good(), false, Format::Text, &[]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert_eq!(
        output,
        "warning: config.yaml: known to Quay, without effect here: FEATURE_REPO_MIRROR\n\
         note: config.yaml: BUILDLOGS_REDIS: it is missing; Quay's own check of a configuration asks for it; give it if instances \
         of Quay start with this configuration\n\
         note: config.yaml: USER_EVENTS_REDIS: it is missing; Quay's own check of a configuration asks for it; give it if instances \
         of Quay start with this configuration\n"
    );
    assert_eq!(errors, "A registry would start: 1 warning.\n");

    let bad = directory("SERVER_HOSTNAM: r\nDISABLE_PUSHES: perhaps\nSECRET_KEY: [hunter2]\n");
    let (code, output, errors) = checked(&bad, true, Format::Text, &[]).await;
    assert_eq!(code, ExitCode::FAILURE);
    for expected in [
        "error: config.yaml:1: SERVER_HOSTNAM: unknown, without effect; did you mean SERVER_HOSTNAME?",
        "error: config.yaml:2: DISABLE_PUSHES: text does not fit here (found \"perhaps\"); allowed: true or false",
        "error: config.yaml: DB_URI: it is missing",
        "error: config.yaml:3: SECRET_KEY",
    ] {
        assert!(output.contains(expected), "{output}\nlacks {expected}");
    }
    assert!(!output.contains("hunter2"), "{output}");
    assert!(errors.contains("Nothing was asked online"), "{errors}");
}

#[tokio::test]
async fn the_environment_counts_and_a_program_gets_json() {
    let variables = [(env::QUAY_DISTRIBUTED_STORAGE_PREFERENCE, "uk")];
    let (code, output, _) = checked(&good(), false, Format::Json, &variables).await;
    assert_eq!(code, ExitCode::FAILURE);
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(report["works"], false);
    let error = &report["errors"][0];
    assert_eq!(error["key"], "DISTRIBUTED_STORAGE_PREFERENCE");
    assert_eq!(error["allowed"], "us");
    let variable = &error["origin"]["variable"];
    assert_eq!(variable, "QUAY_DISTRIBUTED_STORAGE_PREFERENCE");
}

#[tokio::test]
async fn what_is_asked_online_is_named_and_a_file_in_place_of_its_directory_will_do() {
    let good = good();
    let (code, output, _) = checked(&good, true, Format::Text, &[]).await;
    assert_eq!(code, ExitCode::SUCCESS, "{output}");
    assert!(
        output.contains(
            "works: location us from region us: an object was written, read back and deleted"
        ),
        "{output}"
    );
    assert!(output.contains("warning: database: "), "{output}");
    assert!(!good.path().join("registry.db").exists());
    let file = good.path().join("config.yaml");
    assert_eq!(
        of_directory(&file),
        Source::Directory(good.path().to_owned())
    );
    let folder = good.path().join("us/sha256");
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let (code, output, _) = checked(&good, true, Format::Json, &[]).await;
    assert_eq!(code, ExitCode::FAILURE);
    let report: serde_json::Value = serde_json::from_str(&output).unwrap();
    let us = &report["online"][1];
    assert_eq!(us["subject"], "location us from region us");
    assert_eq!(us["verdict"], "error");
}

#[test]
fn regions_may_differ_in_their_preference_and_what_else_differs_is_named_without_secrets() {
    let compared = |first: &str, second: &str| {
        let (first, second) = (directory(first), directory(second));
        let (mut console, output, _) = console("");
        let arguments = DiffArguments {
            first: first.path().to_owned(),
            second: second.path().to_owned(),
            format: Format::Text,
        };
        let code = diff(&arguments, &mut console).unwrap();
        (code, output.text())
    };
    assert_eq!(
        compared(
            "DISTRIBUTED_STORAGE_PREFERENCE: [us, eu]\nAVATAR_KIND: local\n",
            "DISTRIBUTED_STORAGE_PREFERENCE: [eu, us]\nAVATAR_KIND: gravatar\nDISABLE_PUSHES: 'false'\n",
        ),
        (
            ExitCode::SUCCESS,
            "AVATAR_KIND: \"local\" / \"gravatar\" (without effect here)\n\
             DISTRIBUTED_STORAGE_PREFERENCE: [\"us\", \"eu\"] / [\"eu\", \"us\"] (regions may differ in it)\n"
                .to_owned()
        )
    );
    // What only the environment of a region says is not missed here.
    assert_eq!(
        compared(
            "FEATURE_OTEL_TRACING: true\n",
            "FEATURE_OTEL_TRACING: true\n"
        ),
        (ExitCode::SUCCESS, String::new())
    );
    assert_eq!(
        compared("SECRET_KEY: hunter2\n", "SECRET_KEY: hunter3\n"),
        (ExitCode::FAILURE, "SECRET_KEY: *** / ***\n".to_owned())
    );
}

#[test]
fn a_key_is_explained_with_its_value_and_where_it_is_from() {
    let good = good();
    let explained = |key: &str| {
        let (mut console, output, _) = console("");
        let arguments = ExplainArguments {
            key: key.to_owned(),
        };
        let source = Source::Directory(good.path().to_owned());
        let variables = [(env::QUAY_OVERRIDE_CONFIG, r#"{"DISABLE_PUSHES": true}"#)];
        explain(
            &arguments,
            &source,
            &variables.into_iter().collect(),
            &mut console,
        )
        .map(|_| output.text().replace(good.path().to_str().unwrap(), "DIR"))
        .map_err(|error| error.to_string())
    };
    assert_eq!(
        explained("SECRET_KEY").unwrap(),
        "SECRET_KEY\n  What is signed and encrypted outside the database; the same in every region.\n  allowed    text\n  \
         default    none\n  effect     used; a change needs a restart\n  here       ***, from DIR/config.yaml:3\n"
    );
    let pushes = explained("DISABLE_PUSHES").unwrap();
    assert!(
        pushes.contains("  here       true, from QUAY_OVERRIDE_CONFIG\n"),
        "{pushes}"
    );
    let size = explained("MAXIMUM_LAYER_SIZE").unwrap();
    assert!(size.contains("  here       not given: 20G\n"), "{size}");
    assert!(
        explained("JSONLOG")
            .unwrap()
            .contains("an environment variable")
    );
    assert_eq!(
        explained("DISABLE_PUSHS").unwrap_err(),
        "there is no key or variable DISABLE_PUSHS: did you mean DISABLE_PUSHES?"
    );
}

#[test]
fn what_counts_of_a_file_that_cannot_be_read_is_unknown() {
    let unclosed = directory("SECRET_KEY: [hunter2\n");
    for (directory, file) in [
        (unclosed.path().to_owned(), "config.yaml"),
        ("/nonexistent".into(), "/nonexistent"),
    ] {
        let (mut console, output, _) = console("");
        let arguments = ExplainArguments {
            key: "SECRET_KEY".to_owned(),
        };
        let source = Source::Directory(directory);
        explain(&arguments, &source, &Variables::empty(), &mut console).unwrap();
        let said = output.text();
        let here = said.lines().find(|line| line.starts_with("  here"));
        let here = here.unwrap();
        assert!(here.starts_with("  here       unknown: "), "{said}");
        assert!(here.contains(file) && !said.contains("hunter2"), "{said}");
    }
}
