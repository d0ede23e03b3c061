// SPDX-License-Identifier: Apache-2.0
//! Names with stars, as people write them in the configuration. `*` stands for anything, also for nothing; every other
//! sign stands for itself.

use serde::{Deserialize, Serialize};

/// A name with stars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Default for Pattern {
    /// Everything.
    fn default() -> Self {
        Self("*".to_owned())
    }
}

impl From<&str> for Pattern {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Pattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

/// Whether `pattern` stands for `name`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = tail.split('*').collect();
    // The last part ends the name; those in between are found from the left, the first place each.
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_stand_for_anything_and_the_rest_for_itself() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("ina226", "ina226", true),
            ("ina226", "ina2266", false),
            ("*CPU*", "VDD_CPU_CV", true),
            ("*CPU*", "VDD_GPU", false),
            ("VDD_CPU*", "VDD_CPU", true),
            ("*1-0040*", "1-0040", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*ba", "aba", true),
            ("**", "x", true),
            ("i915*", "i915_gt0", true),
            ("?", "x", false),
        ] {
            assert_eq!(Pattern::from(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    /// One sign after the other: slow, and plain to see.
    fn slow(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, rest) => rest.is_none(),
            (Some(('*', after)), rest) => {
                slow(after, name) || rest.is_some_and(|(_, rest)| slow(pattern, rest))
            }
            (Some((sign, after)), Some((first, rest))) => sign == first && slow(after, rest),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn is_the_same_as_trying_sign_by_sign(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            let signs = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &name), slow(&signs(&pattern), &signs(&name)));
        }
    }
}
