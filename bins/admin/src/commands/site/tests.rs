//! What `site` says and does.

use super::*;
use crate::commands::world::{World, console};

async fn say(world: &World, command: Command) -> (ExitCode, String) {
    let (mut to, output, _) = console("");
    let code = run(&command, &world.opened, &mut to).await.unwrap();
    (code, output.text())
}

fn drain(region: Option<&str>, force: bool) -> Command {
    Command::Drain {
        region: region.map(str::to_owned),
        force,
    }
}

#[tokio::test]
async fn a_region_is_taken_out_told_of_and_taken_back() {
    let world = World::new().await;
    // Nothing runs here, so that whichever is the last.
    let refused = run(&drain(None, false), &world.opened, &mut console("").0).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("--force") && refused.contains("none was heard of"),
        "{refused}"
    );
    assert_eq!(
        say(&world, Command::Status).await,
        (
            ExitCode::SUCCESS,
            "region  running  taken out since\n".to_owned()
        )
    );
    let (code, said) = say(&world, drain(None, true)).await;
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(
        said.starts_with("usstorage is taken out: within seconds /health/endtoend"),
        "{said}"
    );
    assert_eq!(
        say(&world, Command::Status).await,
        (
            ExitCode::FAILURE,
            "region     running  taken out since\nusstorage  no       2026-01-01 00:00:00 UTC\n"
                .to_owned()
        )
    );
    for said in [
        "usstorage takes part again.\n",
        "usstorage takes part: nothing was to be taken back.\n",
    ] {
        let undrain = Command::Undrain {
            region: Some("usstorage".to_owned()),
        };
        assert_eq!(
            say(&world, undrain).await,
            (ExitCode::SUCCESS, said.to_owned())
        );
    }
}

#[tokio::test]
async fn a_region_that_is_none_is_refused_with_those_that_are() {
    let world = World::new().await;
    let refused = run(
        &drain(Some("mars"), true),
        &world.opened,
        &mut console("").0,
    )
    .await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("eustorage, usstorage"), "{refused}");
}
