//! The two grammars of quantities that configuration keys use: sizes and durations.

use std::time::Duration;

/// What [`bytes`] takes, for messages.
pub(crate) const BYTES_GRAMMAR: &str =
    "digits and a binary unit K, M, G, T or P, such as 20G for 20 x 1024^3 bytes";

/// What [`duration`] takes, for messages.
pub(crate) const DURATION_GRAMMAR: &str =
    "digits and a unit s, m (minutes), h, d, w or y (365 days), such as 2w";

/// Reads a size such as `20G`. Units are powers of 1024; without a unit it is bytes. `None`: not in the grammar, or 2^64 and more.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = split_unit(text)?;
    let shift = match unit {
        None => 0,
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        Some('P') => 50,
        Some(_) => return None,
    };
    digits.checked_mul(1 << shift)
}

/// Reads a duration such as `2w`; the unit is required. `None`: not in the grammar, or 2^64 seconds and more.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    const DAY: u64 = 24 * 60 * 60;
    let (digits, unit) = split_unit(text)?;
    let seconds = match unit? {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => DAY,
        'w' => 7 * DAY,
        'y' => 365 * DAY,
        _ => return None,
    };
    digits.checked_mul(seconds).map(Duration::from_secs)
}

fn split_unit(text: &str) -> Option<(u64, Option<char>)> {
    let (digits, unit) = match text.char_indices().last()? {
        (_, last) if last.is_ascii_digit() => (text, None),
        (start, last) => (text.get(..start)?, Some(last)),
    };
    // `u64::from_str` would take a sign as well.
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Some((digits.parse().ok()?, unit))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_bounded() {
        assert_eq!(bytes("20G"), Some(20 << 30));
        assert_eq!(bytes("300T"), Some(300 << 40));
        assert_eq!(bytes("4096"), Some(4096));
        for wrong in [
            "",
            "G",
            "-1G",
            "+1G",
            "1.5G",
            "20g",
            "20GB",
            "20 G",
            "99999999P",
            "1é",
        ] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_m_is_minutes() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("2w"), Some(1_209_600));
        assert_eq!(seconds("0s"), Some(0));
        assert_eq!(seconds("3m"), Some(180));
        assert_eq!(seconds("1y"), Some(31_536_000));
        for wrong in [
            "",
            "w",
            "2",
            "2W",
            "-2w",
            "2 w",
            "1w2d",
            "99999999999999999y",
        ] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
