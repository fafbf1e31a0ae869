//! What `replication pause`, `resume` and `limit` say, and what they leave in the database.

use clap::Parser;

use super::*;
use crate::commands::world::{World, console};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    limit: LimitArguments,
}

fn read(line: &str) -> Result<LimitArguments, String> {
    Line::try_parse_from(std::iter::once("limit").chain(line.split_whitespace()))
        .map(|line| line.limit)
        .map_err(|error| error.to_string())
}

async fn said(line: &str, world: &World) -> anyhow::Result<String> {
    let (mut console, output, _) = console("");
    limit(&read(line).unwrap(), &world.opened, &mut console).await?;
    Ok(output.text())
}

#[test]
fn rates_are_digits_and_a_unit_or_none() {
    let bytes = |bytes| Ok(Rate::BytesPerSecond(NonZeroU64::new(bytes).unwrap()));
    for (text, expected) in [
        ("50MiB", bytes(50 << 20)),
        ("10MB", bytes(10_000_000)),
        ("10MB/s", bytes(10_000_000)),
        ("1B", bytes(1)),
        ("9kB", bytes(9_000)),
        ("3TiB", bytes(3 << 40)),
        ("none", Ok(Rate::Unlimited)),
    ] {
        assert_eq!(rate(text), expected, "{text}");
    }
    for text in [
        "",
        "10",
        "MiB",
        "-1MiB",
        "+1MiB",
        "1.5MiB",
        "10 MiB",
        "10Mb",
        "10M",
        "1MiB/m",
        "None",
        "١MiB",
        "99999999999999999999MiB",
        "18446744073709551615KiB",
    ] {
        let error = rate(text).unwrap_err();
        assert!(error.contains("is not a rate"), "{text}: {error}");
    }
    for text in ["0MiB", "0B/s"] {
        let error = rate(text).unwrap_err();
        assert!(error.contains("admin replication pause"), "{error}");
    }
}

#[test]
fn a_line_that_names_half_a_link_or_two_is_refused() {
    for line in [
        "10MiB --from usstorage",
        "10MiB --to usstorage",
        "10MiB --location usstorage --from usstorage --to eustorage",
        "--location usstorage",
        "--between 22:00-06:00",
        "10MiB --between 22:00",
        "10MiB --json",
    ] {
        assert!(read(line).is_err(), "{line}");
    }
    let error = read("10MiB --between 22:00-22:00").unwrap_err();
    assert!(error.contains("leave it out for the whole day"), "{error}");
}

#[tokio::test]
async fn limits_are_said_listed_and_removed() {
    let world = World::new().await;
    assert_eq!(said("", &world).await.unwrap(), "no limits\n");
    assert_eq!(
        said("50MiB", &world).await.unwrap(),
        "limited to 50.00 MiB/s: everything\n"
    );
    said(
        "10MiB --from usstorage --to eustorage --between 06:00-22:00",
        &world,
    )
    .await
    .unwrap();
    assert_eq!(
        said("20MiB --location eustorage --between 22:00-06:00", &world)
            .await
            .unwrap(),
        "limited to 20.00 MiB/s: from and to eustorage, 22:00-06:00 UTC\n"
    );
    assert_eq!(
        said("", &world).await.unwrap(),
        "\
copies                       limit        when (UTC)
everything                   50.00 MiB/s  always
from and to eustorage        20.00 MiB/s  22:00-06:00
from usstorage to eustorage  10.00 MiB/s  06:00-22:00
"
    );
    let json: serde_json::Value =
        serde_json::from_str(&said("--json", &world).await.unwrap()).unwrap();
    assert_eq!(
        json["limits"][2],
        serde_json::json!({"source": "usstorage", "target": "eustorage", "bytes_per_second": 10 << 20, "between": "06:00-22:00"})
    );
    assert_eq!(
        said("none --location eustorage", &world).await.unwrap(),
        "not limited any more: from and to eustorage\n"
    );
    assert_eq!(
        said("none --location eustorage", &world).await.unwrap(),
        "was not limited: from and to eustorage\n"
    );
    let error = said("5MiB --location apstorage", &world)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "there is no location `apstorage`; known are: eustorage, usstorage"
    );
}

#[tokio::test]
async fn what_rests_is_said_until_it_is_resumed() {
    let world = World::new().await;
    let eu = PauseArguments {
        location: Some("eustorage".to_owned()),
    };
    let (mut console, output, errors) = console("");
    pause(&eu, &world.opened, &mut console).await.unwrap();
    pause(&PauseArguments::default(), &world.opened, &mut console)
        .await
        .unwrap();
    resume(&PauseArguments::default(), &world.opened, &mut console)
        .await
        .unwrap();
    resume(&PauseArguments::default(), &world.opened, &mut console)
        .await
        .unwrap();
    resume(&eu, &world.opened, &mut console).await.unwrap();
    assert_eq!(
        output.text(),
        "\
paused: copies from and to eustorage
paused: every copy
resumed: every copy
was not paused: every copy
resumed: copies from and to eustorage
"
    );
    assert!(
        errors
            .text()
            .contains("`admin replication resume --location eustorage` ends that"),
        "{}",
        errors.text()
    );
    let control = world.opened.replication.control().await.unwrap();
    assert!(control.paused.is_none());
}
