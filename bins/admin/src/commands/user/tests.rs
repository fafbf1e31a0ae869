//! What `user`, `org`, `robot` and `token` do and say.

use std::fs;

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::commands::world::{World, console};
use crate::commands::{org, robot, token};

#[derive(Debug, Parser)]
enum Line {
    #[command(subcommand)]
    User(Command),
    #[command(subcommand)]
    Org(org::Command),
    #[command(subcommand)]
    Robot(robot::Command),
    #[command(subcommand)]
    Token(token::Command),
}

/// The two streams of a command, and how it ended.
async fn said(
    world: &World,
    input: &'static str,
    line: &str,
) -> (String, String, anyhow::Result<ExitCode>) {
    let words = std::iter::once("admin").chain(line.split(' '));
    let (mut console, output, errors) = console(input);
    let (opened, console_of) = (&world.opened, &mut console);
    let ended = match Line::try_parse_from(words).unwrap() {
        Line::User(command) => run(&command, opened, console_of).await,
        Line::Org(command) => org::run(&command, opened, console_of).await,
        Line::Robot(command) => robot::run(&command, opened, console_of).await,
        Line::Token(command) => token::run(&command, opened, console_of).await,
    };
    (output.text(), errors.text(), ended)
}

/// What a command printed that has to succeed.
async fn done(world: &World, line: &str) -> String {
    let (output, errors, ended) = said(world, "", line).await;
    let ended = ended.unwrap_or_else(|error| panic!("{line}: {error:#} {errors}"));
    assert_eq!(ended, ExitCode::SUCCESS, "{line}: {output}");
    output
}

async fn refused(world: &World, input: &'static str, line: &str) -> String {
    let (_, _, ended) = said(world, input, line).await;
    format!("{:#}", ended.expect_err(line))
}

#[tokio::test]
async fn an_account_is_made_with_a_password_that_is_never_on_the_command_line() {
    let world = World::new().await;
    let output = done(&world, "user create alice --email alice@example.test").await;
    let password = output
        .lines()
        .find_map(|line| line.strip_prefix("password: "))
        .unwrap();
    assert_eq!(
        (output.lines().next(), password.len()),
        (Some("created: user alice"), 32)
    );
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("password");
    fs::write(&file, "bobs-password\n").unwrap();
    let line = format!("user create bob --password-file {}", file.display());
    assert_eq!(done(&world, &line).await, "created: user bob\n");
    let (output, _, ended) = said(
        &world,
        "carols-password\n",
        "user create carol --password-file -",
    )
    .await;
    ended.unwrap();
    assert_eq!(output, "created: user carol\n");
    assert!(
        refused(&world, "short\n", "user create dave --password-file -")
            .await
            .contains("8 to 255")
    );
    assert!(
        refused(&world, "", "user create dave --password-file -")
            .await
            .contains("no password")
    );
    assert!(
        refused(&world, "", "user create alice")
            .await
            .contains("already")
    );
    assert!(
        refused(&world, "", "user create Alice")
            .await
            .contains("lower-case")
    );
    assert!(
        refused(&world, "", "user encrypt-password")
            .await
            .contains("no password")
    );
    assert!(
        refused(&world, "some-password\n", "user encrypt-password")
            .await
            .contains("SECRET_KEY")
    );
    // The operator may change superusers too: who else would, when the password is lost.
    let output = done(&world, "user password admin --json").await;
    let document: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(document["password"].as_str().unwrap().len(), 32);
    assert_eq!(
        done(&world, "user disable bob").await,
        "disabled: user bob\n"
    );
    let output = done(&world, "user list --json").await;
    let document: Value = serde_json::from_str(&output).unwrap();
    let users = document["users"].as_array().unwrap();
    let bob = users.iter().find(|user| user["username"] == "bob").unwrap();
    assert_eq!(bob["enabled"], false);
    done(&world, "user enable bob").await;
    assert!(done(&world, "user show bob").await.contains("bob"));
    let (output, errors, ended) = said(&world, "n\n", "user delete bob").await;
    assert_eq!(ended.unwrap(), ExitCode::FAILURE);
    assert!(output.contains("[y/n]") && errors.contains("nothing was changed"));
    assert_eq!(
        done(&world, "user delete bob --yes").await,
        "deleted: user bob\n"
    );
    assert!(
        refused(&world, "", "user show bob")
            .await
            .contains("no user `bob`")
    );
}

#[tokio::test]
async fn organizations_robots_and_tokens_are_made_and_taken_away() {
    let world = World::new().await;
    done(&world, "user create alice").await;
    assert!(
        refused(&world, "", "org create tools --owner nobody")
            .await
            .contains("no user")
    );
    assert_eq!(
        done(&world, "org create tools --owner alice").await,
        "created: organization tools\n"
    );
    done(&world, "org add-member tools admin").await;
    let shown = done(&world, "org show tools").await;
    assert!(shown.contains("owners  admin  2"), "{shown}");
    assert!(done(&world, "org list").await.contains("tools"));
    let made = done(&world, "robot create tools+ci --description builds").await;
    let first = made.lines().nth(1).unwrap().to_owned();
    assert_eq!(first.len(), "token: ".len() + 64);
    assert!(done(&world, "robot show tools+ci").await.contains(&first));
    let second = done(&world, "robot regenerate tools+ci").await;
    assert!(!second.contains(&first));
    let list = done(&world, "robot list tools").await;
    assert!(list.contains("tools+ci") && list.contains("builds") && !list.contains("token"));
    assert!(
        refused(&world, "", "robot show tools")
            .await
            .contains("owner+name")
    );
    assert_eq!(
        done(&world, "robot delete tools+ci --yes").await,
        "deleted: robot tools+ci\n"
    );

    let app = done(&world, "token create --user alice --title laptop --json").await;
    let app: Value = serde_json::from_str(&app).unwrap();
    assert_eq!(app["token_code"].as_str().unwrap().len(), 120);
    let line = "token create --user alice --org tools --application ci --scope repo:read,repo:write --days 30";
    let oauth = done(&world, line).await;
    let token = oauth.lines().nth(1).unwrap();
    assert_eq!(token.len(), "token: ".len() + 40);
    let list = done(&world, "token list").await;
    assert!(
        list.contains("laptop") && list.contains("ci of tools: repo:read repo:write"),
        "{list}"
    );
    let bad = "token create --user alice --org tools --application ci --scope repo:everything";
    assert!(refused(&world, "", bad).await.contains("repo:everything"));
    let uuids: Vec<String> = list
        .lines()
        .skip(1)
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(uuids.len(), 2);
    for uuid in uuids {
        done(&world, &format!("token revoke {uuid}")).await;
        assert!(
            refused(&world, "", &format!("token revoke {uuid}"))
                .await
                .contains("no token")
        );
    }
    assert_eq!(
        done(&world, "org delete tools --yes").await,
        "deleted: organization tools\n"
    );
}
