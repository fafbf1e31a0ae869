//! The question, the lines and the exit codes of `removelocation`.

use std::fs;

use super::*;
use crate::commands::world::{World, configuration, console};
use roadstead_runtime::Environment;

const QUESTION: &str = "WARNING: This is a destructive operation. Are you sure you want to remove eustorage from your storage locations? [y/n] ";

fn of(location: &str) -> Arguments {
    Arguments {
        location: location.to_owned(),
        force: false,
    }
}

async fn state(world: &World, name: &str) -> LocationState {
    let rows = world.database().locations().await.unwrap();
    rows.into_iter()
        .find(|row| row.name.as_str() == name)
        .unwrap()
        .state
}

#[tokio::test]
async fn without_replication_it_fails_in_quays_words() {
    let world = World::without_replication().await;
    let (mut console, output, _) = console("y\n");
    let code = run(&of("eustorage"), &world.opened, &mut console)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    assert_eq!(
        output.text(),
        "Storage replication is not enabled. Exiting.\n"
    );
}

#[tokio::test]
async fn it_asks_in_quays_words_until_it_is_answered_and_no_changes_nothing() {
    let world = World::new().await;
    let (mut console, output, _) = console("maybe\n\nN\n");
    let code = run(&of("eustorage"), &world.opened, &mut console)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let again = "Please respond with 'yes' or 'no' (or 'y' or 'n').\n";
    let expected = format!("{QUESTION}{again}{QUESTION}{again}{QUESTION}Canceling operation...\n");
    assert_eq!(output.text(), expected);
    assert_eq!(state(&world, "eustorage").await, LocationState::Active);
}

#[tokio::test]
async fn without_an_answer_it_fails_and_changes_nothing() {
    let world = World::new().await;
    let (mut console, _, _) = console("");
    let error = run(&of("eustorage"), &world.opened, &mut console)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(state(&world, "eustorage").await, LocationState::Active);
}

#[tokio::test]
async fn yes_removes_the_location_with_quays_lines_and_says_that_the_configuration_still_names_it()
{
    let world = World::new().await;
    world.push_image("usstorage", "v1", b"layer").await;
    world.work().await;
    let (mut removal, output, errors) = console("YE\n");
    let code = run(&of("eustorage"), &world.opened, &mut removal)
        .await
        .unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    let expected = format!(
        "{QUESTION}Removed 0 temporary blobs from blobupload table.\nDeleted placement 3\nDeleted placement 4\nDeleted location eustorage\n"
    );
    assert_eq!(output.text(), expected);
    assert!(
        errors
            .text()
            .contains("take it out of DISTRIBUTED_STORAGE_CONFIG"),
        "{}",
        errors.text()
    );
    assert_eq!(state(&world, "eustorage").await, LocationState::Removed);

    let (mut again, output, _) = console("y\n");
    let error = run(&of("eustorage"), &world.opened, &mut again)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "location `eustorage` was removed already"
    );
    assert_eq!(output.text(), "");
}

#[tokio::test]
async fn an_unknown_location_fails_before_the_question_and_names_the_known_ones() {
    let world = World::new().await;
    let (mut console, output, _) = console("y\n");
    let error = run(&of("nowhere"), &world.opened, &mut console)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no location `nowhere`; known are: eustorage, usstorage"
    );
    assert_eq!(output.text(), "");
}

#[tokio::test]
async fn it_refuses_while_an_image_needs_the_only_copy_and_names_it_and_what_to_do() {
    let world = World::new().await;
    let [config, layer] = world.push_image("eustorage", "v1", b"layer").await;
    let (mut removal, output, _) = console("y\n");
    let error = run(&of("eustorage"), &world.opened, &mut removal)
        .await
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("2 blobs (17 bytes) are known to be at location `eustorage` only"),
        "{text}"
    );
    let first = config.digest.min(layer.digest.clone());
    assert!(
        text.contains(&format!("admin/app:v1 needs {first} and 1 more")),
        "{text}"
    );
    assert!(text.contains("admin replication status --wait"), "{text}");
    assert_eq!(output.text(), QUESTION);
    assert_eq!(state(&world, "eustorage").await, LocationState::Active);
    world.work().await;
    let (mut removal, _, _) = console("y\n");
    assert_eq!(
        run(&of("eustorage"), &world.opened, &mut removal)
            .await
            .unwrap(),
        ExitCode::SUCCESS
    );
    assert!(fs::exists(world.object("usstorage", &layer)).unwrap());
}

#[tokio::test]
async fn a_removal_that_was_begun_is_taken_back_by_no() {
    let world = World::new().await;
    let location = LocationName::new("eustorage").unwrap();
    let now = world.opened.deployment.environment.now();
    let database = world.database();
    database
        .set_location_state(&location, LocationState::Removing, now)
        .await
        .unwrap();
    let (mut console, output, errors) = console("n\n");
    run(&of("eustorage"), &world.opened, &mut console)
        .await
        .unwrap();
    assert_eq!(output.text(), format!("{QUESTION}Canceling operation...\n"));
    assert!(
        errors.text().contains("takes part again"),
        "{}",
        errors.text()
    );
    assert_eq!(state(&world, "eustorage").await, LocationState::Active);
}

#[tokio::test]
async fn where_there_is_no_registry_none_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let loaded = configuration(directory.path().to_owned());
    let error = Opened::open(&loaded.config, Environment::system())
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("there is no registry here"),
        "{error}"
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn by_force_it_lists_what_will_be_lost_and_wants_the_name_before_it_goes() {
    let world = World::new().await;
    let [config, layer] = world.push_image("eustorage", "v1", b"layer").await;
    let force = Arguments {
        force: true,
        ..of("eustorage")
    };
    let listed = |digest: &_, size| format!("  {digest} ({size} bytes), needed by admin/app:v1\n");
    let expected = format!(
        "{QUESTION}With eustorage would be lost:\n{}{}eustorage can be read: `admin location drain eustorage --wait` copies what it still has \
         to another location, and nothing of that is lost.\n2 blobs (17 bytes) WILL BE LOST. This cannot be undone. Type the name of the location \
         to remove it nevertheless: ",
        listed(&config.digest, config.size),
        listed(&layer.digest, layer.size),
    );
    for answer in ["y\ny\n", "y\nusstorage\n", "y\n"] {
        let (mut refused, output, _) = console(answer);
        let code = run(&force, &world.opened, &mut refused).await.unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(output.text(), format!("{expected}Canceling operation...\n"));
        assert_eq!(state(&world, "eustorage").await, LocationState::Active);
    }
    let (mut removal, output, _) = console("y\neustorage\n");
    run(&force, &world.opened, &mut removal).await.unwrap();
    let printed = output.text();
    assert!(printed.starts_with(&expected), "{printed}");
    assert!(
        printed.ends_with("Deleted location eustorage\n"),
        "{printed}"
    );
    assert_eq!(state(&world, "eustorage").await, LocationState::Removed);
}
