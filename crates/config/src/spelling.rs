//! How close a misspelt name comes to the names that there are.

/// The one of `names` that `given` most probably misspells: at most a third of its letters, and at most four, are
/// different, missing, added or swapped with their neighbour.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given: Vec<char> = given.to_lowercase().chars().collect();
    let limit = (given.len() / 3).min(4);
    names
        .into_iter()
        .filter(|name| name.len().abs_diff(given.len()) <= limit)
        .map(|name| {
            (
                distance(&given, &name.to_lowercase().chars().collect::<Vec<_>>()),
                name,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// How many letters have to change to make one word of the other (optimal string alignment).
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, left) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, right) in other.iter().enumerate() {
            let substituted = above[column] + usize::from(left != right);
            let mut least = substituted
                .min(above[column + 1] + 1)
                .min(current[column] + 1);
            if row > 0 && column > 0 && *left == other[column - 1] && one[row - 1] == *right {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_names_find_their_neighbour_and_strange_ones_find_none() {
        let drivers = [
            "LocalStorage",
            "S3Storage",
            "SwiftStorage",
            "RadosGWStorage",
        ];
        assert_eq!(nearest("LocalStorge", drivers), Some("LocalStorage"));
        assert_eq!(nearest("localstorage", drivers), Some("LocalStorage"));
        assert_eq!(nearest("S3Stroage", drivers), Some("S3Storage"));
        assert_eq!(nearest("FakeStorage", drivers), None);
        assert_eq!(nearest("", drivers), None);
        assert_eq!(
            nearest("SUPER_USER", crate::schema::names()),
            Some("SUPER_USERS")
        );
    }

    #[test]
    fn distances_count_swapped_neighbours_once() {
        let distance = |one: &str, other: &str| {
            distance(
                &one.chars().collect::<Vec<_>>(),
                &other.chars().collect::<Vec<_>>(),
            )
        };
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
