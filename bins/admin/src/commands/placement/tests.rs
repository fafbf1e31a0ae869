//! What `placement` prints, changes and refuses.

use super::*;
use crate::commands::world::{World, console};

/// Runs a command and gives what it printed, and what it noted.
async fn done(world: &World, command: Command) -> (String, String) {
    let (mut console, output, errors) = console("");
    let code = run(&command, &world.opened, &mut console).await.unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    (output.text(), errors.text())
}

async fn refused(world: &World, command: Command) -> String {
    let (mut console, output, _) = console("");
    let error = run(&command, &world.opened, &mut console)
        .await
        .unwrap_err();
    assert_eq!(output.text(), "");
    error.to_string()
}

fn set(place: &str) -> SetArguments {
    SetArguments {
        place: place.to_owned(),
        deadline: 60,
        ..SetArguments::default()
    }
}

fn only(place: &str, location: &str) -> Command {
    Command::Set(SetArguments {
        locations: vec![location.to_owned()],
        only: true,
        ..set(place)
    })
}

fn wait(place: &str, locations: u32) -> Command {
    Command::Set(SetArguments {
        min_locations: Some(locations),
        ..set(place)
    })
}

fn show(place: Option<&str>) -> Command {
    Command::Show(ShowArguments {
        place: place.map(str::to_owned),
        json: false,
    })
}

fn regions(namespace: &str, locations: &[&str]) -> Command {
    Command::Regions(RegionsArguments {
        namespace: namespace.to_owned(),
        locations: locations.iter().map(|name| (*name).to_owned()).collect(),
    })
}

#[tokio::test]
async fn a_rule_is_set_shown_kept_and_cleared() {
    let world = World::new().await;
    let (printed, noted) = done(&world, only("admin/app", "usstorage")).await;
    assert_eq!(printed, "admin/app: set\n");
    assert!(
        noted.ends_with("nothing has to be copied for it\n"),
        "{noted}"
    );
    // A blob that the repository holds is not copied by a reconciliation.
    world.push_image("usstorage", "v1", b"layer").await;
    let (shown, _) = done(&world, show(Some("admin/app"))).await;
    assert_eq!(
        shown,
        "for         tags  demand             belongs to\n\
         everything        default locations  eustorage, usstorage\n\
         admin/app         only in usstorage  usstorage\n\
         admin/app         in sum             usstorage\n"
    );
    let clear = ClearArguments {
        place: "admin/app".to_owned(),
        ..ClearArguments::default()
    };
    let (printed, noted) = done(&world, Command::Clear(clear.clone())).await;
    assert_eq!(printed, "admin/app: cleared\n");
    assert!(
        noted.starts_with("queued 2 blobs (") && noted.contains("to be copied to eustorage"),
        "{noted}"
    );
    assert_eq!(
        refused(&world, Command::Clear(clear)).await,
        "there is no such rule for `admin/app`; `admin placement show admin` shows those that there are"
    );
    let json = Command::Show(ShowArguments {
        place: None,
        json: true,
    });
    let (shown, _) = done(&world, json).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown["defaults"],
        serde_json::json!(["eustorage", "usstorage"])
    );
    assert_eq!(shown["rules"], serde_json::json!([]));
}

#[tokio::test]
async fn regions_are_set_shown_and_taken_away() {
    let world = World::new().await;
    let (printed, _) = done(&world, regions("admin", &["usstorage", "eustorage"])).await;
    assert_eq!(printed, "admin: eustorage, usstorage\n");
    let (shown, _) = done(&world, show(None)).await;
    assert!(
        shown.contains("regions eustorage, usstorage  eustorage, usstorage"),
        "{shown}"
    );
    let (printed, _) = done(&world, regions("admin", &[])).await;
    assert_eq!(printed, "admin: eustorage, usstorage\n");
    let (printed, _) = done(&world, regions("admin", &["none"])).await;
    assert_eq!(printed, "admin: none\n");
}

#[tokio::test]
async fn what_there_is_not_is_refused_with_what_there_is() {
    let world = World::new().await;
    for (command, expected) in [
        (
            only("adnin", "usstorage"),
            "there is no namespace `adnin`; there is `admin`",
        ),
        (
            only("admin/ap", "usstorage"),
            "there is no repository `ap` in namespace `admin`; there is `app`",
        ),
        (
            only("admin/app", "moon"),
            "`moon` is no location that takes part; there are `usstorage`, `eustorage`",
        ),
        (
            regions("admin", &["moon", "mars"]),
            "`moon`, `mars` are no location that takes part; there are `usstorage`, `eustorage`",
        ),
        (
            Command::Set(SetArguments {
                tags: Some("v[1]".to_owned()),
                copies: Some(2),
                ..set("admin")
            }),
            "a tag pattern has letters, digits, `_`, `.`, `-`, `*` and `?`; `[` is none of them",
        ),
        (
            Command::Set(SetArguments {
                tags: Some("v*".to_owned()),
                locations: vec!["usstorage".to_owned()],
                only: true,
                ..set("admin")
            }),
            "some tags cannot be confined, because blobs are written before their tags are known; confine the whole repository",
        ),
        (
            show(Some("nobody")),
            "there is no namespace `nobody`; there is `admin`",
        ),
    ] {
        assert_eq!(refused(&world, command).await, expected);
    }
    let (shown, _) = done(&world, show(None)).await;
    assert_eq!(shown.lines().count(), 2, "nothing was changed: {shown}");
}

#[tokio::test]
async fn pushes_never_wait_for_more_locations_than_they_belong_to() {
    let world = World::new().await;
    assert_eq!(
        refused(&world, wait("admin", 3)).await,
        "pushes into `admin` cannot wait for 3 locations, because what is there belongs to `eustorage`, `usstorage` only: demand more copies \
         first, or wait for fewer locations"
    );
    let (printed, _) = done(&world, wait("admin", 2)).await;
    assert_eq!(printed, "admin: set\n");
    let (shown, _) = done(&world, show(Some("admin"))).await;
    assert!(
        shown.contains("pushes wait for 2 locations, 60 s"),
        "{shown}"
    );
    let confined = refused(&world, only("admin/app", "usstorage")).await;
    assert!(
        confined.starts_with("pushes into `admin/app` cannot wait for 2 locations"),
        "{confined}"
    );
    let (printed, _) = done(
        &world,
        Command::Clear(ClearArguments {
            place: "admin".to_owned(),
            min_locations: true,
            ..ClearArguments::default()
        }),
    )
    .await;
    assert_eq!(printed, "admin: cleared\n");
    done(&world, only("admin/app", "usstorage")).await;
    let waits = refused(&world, wait("admin", 2)).await;
    assert!(waits.contains("`admin/app`"), "{waits}");
    assert_eq!(
        refused(&world, wait("admin", 0)).await,
        "a push waits for at least 1 location, for at least 1 second"
    );
    assert!(
        refused(&world, wait("admin/app", 1))
            .await
            .contains("name the namespace without a repository")
    );
    let off = World::without_replication().await;
    assert!(
        refused(&off, wait("admin", 1))
            .await
            .contains("FEATURE_STORAGE_REPLICATION")
    );
}
