//! Finds the known name somebody probably meant.

use super::names;

/// The known name nearest to `unknown`, if it is near enough to be a slip of the fingers.
pub(super) fn nearest(unknown: &str) -> Option<&'static str> {
    let reach = if unknown.len() < 9 { 1 } else { 2 };
    names::every_name()
        .filter(|name| name.len().abs_diff(unknown.len()) <= reach)
        .map(|name| (distance(name.as_bytes(), unknown.as_bytes()), name))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The known name nearest to `unknown`, however far.
pub(super) fn nearest_of_prefix(unknown: &str) -> Option<&'static str> {
    let tail = |name: &str| name.split_once('_').map_or(name.to_owned(), |(_, tail)| tail.to_owned());
    names::every_name().min_by_key(|name| {
        let whole = distance(name.as_bytes(), unknown.as_bytes());
        whole.min(distance(name.as_bytes(), tail(unknown).as_bytes()) + 1)
    })
}

/// Edit distance in which swapping two neighbours counts once (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("abc", "abd", 1),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_slip_finds_the_name_and_a_stranger_does_not() {
        assert_eq!(nearest("STATIC_ENGINE"), Some("STATIC_ENGINES"));
        assert_eq!(nearest("JOIN_BEHNID_S"), Some("JOIN_BEHIND_S"));
        assert_eq!(nearest("HOME"), None);
        assert_eq!(nearest("LD_LIBRARY_PATH"), None);
    }

    #[test]
    fn a_foreign_prefix_still_finds_the_name() {
        assert_eq!(nearest_of_prefix("SLUICE_SHARDS"), Some("SHARDS"));
        assert_eq!(nearest_of_prefix("ACEXY_BUFFER_SIZES"), Some("ACEXY_BUFFER_SIZE"));
    }
}
