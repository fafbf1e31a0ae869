//! What `replication webhook` says, and what it keeps to itself.

use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::commands::world::{World, console};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// The two streams of a command, and how it ended.
async fn said(
    world: &World,
    input: &'static str,
    line: &[&str],
) -> (String, String, anyhow::Result<ExitCode>) {
    let line = Line::try_parse_from(std::iter::once(&"webhook").chain(line)).unwrap();
    assert!(!format!("{line:?}").contains("s3cret"), "{line:?}");
    let (mut console, output, errors) = console(input);
    let ended = run(&line.command, &world.opened, &mut console).await;
    (output.text(), errors.text(), ended)
}

#[tokio::test]
async fn webhooks_are_added_listed_and_removed_without_a_word_of_their_secrets() {
    let world = World::new().await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "s3cret of some length\n").unwrap();
    let file = file.to_str().unwrap();
    let (output, _, _) = said(&world, "", &["list"]).await;
    assert_eq!(output, "no webhooks\n");
    let url = "https://user:s3cret@hooks.example:8443/s3cret?s3cret";
    let options = [
        "--location",
        "eustorage",
        "--namespace",
        "admin",
        "--secret-file",
        file,
    ];
    let (output, errors, ended) = said(&world, "", &[&["add", url][..], &options].concat()).await;
    ended.unwrap();
    assert_eq!(
        (output.as_str(), errors.as_str()),
        ("added: webhook 1\n", "")
    );
    let (output, errors, ended) = said(&world, "http://10.0.0.9/s3cret\n", &["add", "-"]).await;
    ended.unwrap();
    assert_eq!(output, "added: webhook 2\n");
    assert!(errors.contains("not signed"), "{errors}");
    let (output, _, ended) = said(&world, "", &["list"]).await;
    assert_eq!(ended.unwrap(), ExitCode::SUCCESS);
    assert_eq!(
        output,
        "\
id  address                     location   namespace  signed  pending  delivered  given up  last failure (UTC)
1   https://hooks.example:8443  eustorage  admin      yes     -        -          -         -
2   http://10.0.0.9             all        all        no      -        -          -         -
"
    );
    let (output, _, _) = said(&world, "", &["list", "--json"]).await;
    let list: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(list["webhooks"][0]["signed"], true);
    assert!(!output.contains("s3cret"), "{output}");
    let (output, _, _) = said(&world, "", &["remove", "1"]).await;
    assert_eq!(output, "removed: webhook 1\n");
    let (_, _, ended) = said(&world, "", &["remove", "1"]).await;
    let error = ended.unwrap_err().to_string();
    assert!(error.starts_with("there is no webhook 1;"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_added_is_refused_with_what_to_do() {
    let world = World::without_secret_key().await;
    let file = ["--secret-file", "/no/such/file"];
    for (input, line, expected) in [
        ("", &["add", "ftp://example/"][..], "only http and https"),
        (
            "",
            &["add", "http://169.254.169.254/"],
            "nothing is sent to 169.254.169.254",
        ),
        (
            "",
            &["add", "http://example/", "--location", "mars"],
            "there is no location `mars`",
        ),
        (
            "",
            &["add", "http://example/", "--namespace", "mars"],
            "there is no namespace `mars`",
        ),
        ("", &["add", "-"], "there is no address on standard input"),
        (
            "",
            &["add", "http://example/", "--secret-file", "-"],
            "there is no secret on standard input",
        ),
        (
            "",
            &["add", "http://example/", file[0], file[1]],
            "could not read a secret from /no/such/file",
        ),
        (
            "short\n",
            &["add", "http://example/", "--secret-file", "-"],
            "a secret has 16 to 1024 bytes",
        ),
        (
            "s3cret of some length\n",
            &["add", "http://example/", "--secret-file", "-"],
            "set DATABASE_SECRET_KEY",
        ),
    ] {
        let (_, _, ended) = said(&world, input, line).await;
        let error = format!("{:#}", ended.unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
