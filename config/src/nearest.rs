// SPDX-License-Identifier: Apache-2.0
//! What somebody probably meant: the known name nearest to an unknown one. Says nothing rather than guess wildly.

/// Longer names get no suggestion: the distance costs the product of both lengths, and no key of ours is that long.
const LONGEST: usize = 128;

/// The nearest of `known`, if it is near: one mistake in three characters, at least one, at most four. Swapped
/// neighbours count as one mistake (optimal string alignment). The first of several equally near ones wins.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = wanted.chars().count();
    if length > LONGEST {
        return None;
    }
    let tolerance = (length / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(wanted, name), name))
        .filter(|(distance, name)| *distance <= tolerance && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_find_their_key_and_strangers_find_none() {
        let known = ["cpu", "gpu", "tick", "listen", "processes", "dir"];
        let table = [
            ("cpuu", Some("cpu")),
            ("tikc", Some("tick")),
            ("listn", Some("listen")),
            ("proceses", Some("processes")),
            ("bananas", None),
            ("x", None),
            ("", None),
        ];
        for (wanted, expected) in table {
            assert_eq!(nearest(wanted, known), expected, "{wanted}");
        }
        // One mistake in a name of one letter leaves nothing in common.
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn an_absurdly_long_name_is_not_compared() {
        let long = "k".repeat(LONGEST + 1);
        let almost = "k".repeat(LONGEST);
        assert_eq!(nearest(&long, [almost.as_str()]), None);
        assert_eq!(nearest(&almost, [long.as_str()]), Some(long.as_str()));
    }
}
