//! Tables and quantities for people.

use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
use roadstead_replication::Amount;

/// Lines up rows under their headings, two spaces between columns.
pub(crate) fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> Vec<String> {
    let headings = headings.map(str::to_owned);
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|column| {
            let cells = rows
                .iter()
                .chain([&headings])
                .filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    [&headings]
        .into_iter()
        .chain(rows)
        .map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}

/// `3 blobs (1.50 MiB)`, or `-` for none.
pub(crate) fn amount(amount: Amount) -> String {
    if amount.is_none() {
        return "-".to_owned();
    }
    let noun = if amount.blobs == 1 { "blob" } else { "blobs" };
    format!("{} {noun} ({})", amount.blobs, HumanBytes(amount.bytes))
}

/// An age, roughly; `-` for none.
pub(crate) fn age(seconds: Option<u64>) -> String {
    seconds.map_or_else(
        || "-".to_owned(),
        |seconds| HumanDuration(Duration::from_secs(seconds)).to_string(),
    )
}

/// A number, or `-` for none.
pub(crate) fn number(number: u64) -> String {
    if number == 0 {
        "-".to_owned()
    } else {
        number.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            [
                "eu".to_owned(),
                amount(Amount {
                    blobs: 3,
                    bytes: 1_572_864,
                }),
            ],
            ["frankfürt".to_owned(), amount(Amount::default())],
        ];
        assert_eq!(
            table(["location", "missing"], &rows),
            [
                "location   missing",
                "eu         3 blobs (1.50 MiB)",
                "frankfürt  -",
            ]
        );
    }
}
