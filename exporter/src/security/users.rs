// SPDX-License-Identifier: Apache-2.0
//! People and the bcrypt hashes of their passwords. Checking one costs what the hash was made to cost, for a name that
//! nobody has as much as for one that somebody has, so that time does not tell who there is.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

/// Costs of hashes that are checked: bcrypt begins at 4; each step doubles the time, and 15 takes some two seconds of one
/// core.
const COSTS: RangeInclusive<u32> = 4..=15;

/// People at most: a file for simple cases, as the toolkit's own documentation says.
const MOST: usize = 1_000;

/// See the module's head.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// The dearest of the hashes, and its cost: compared with where there is nobody of that name.
    stand_in: (u32, String),
}

/// Whom a request says that it is of.
pub(super) struct Claim {
    /// The hash to compare with.
    pub(super) hash: String,
    /// Whether there is somebody of that name.
    pub(super) exists: bool,
}

impl Users {
    /// One more. The reason of a refusal does not hold the hash.
    pub(super) fn add(&mut self, name: &str, hash: &str) -> Result<(), String> {
        let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
            return Err(format!(
                "{shown:?} cannot be a user: allowed are names without colons and control characters"
            ));
        }
        let Ok(parts) = hash.parse::<bcrypt::HashParts>() else {
            let advice = "make one with htpasswd -nBC 10 \"\" | tr -d ':\\n'";
            return Err(format!("{shown}: the password is no bcrypt hash; {advice}"));
        };
        let cost = parts.get_cost();
        if !COSTS.contains(&cost) {
            let (least, most) = COSTS.into_inner();
            return Err(format!(
                "{shown}: the hash has cost {cost}; allowed: {least} to {most}, beyond that a check takes seconds"
            ));
        }
        if self.hashes.len() >= MOST {
            return Err(format!("more than {MOST} users"));
        }
        if cost >= self.stand_in.0 {
            self.stand_in = (cost, hash.to_owned());
        }
        self.hashes.insert(name.to_owned(), hash.to_owned());
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// What a password that came with `name` is compared with.
    pub(super) fn claim(&self, name: &[u8]) -> Claim {
        let known = std::str::from_utf8(name)
            .ok()
            .and_then(|name| self.hashes.get(name));
        Claim {
            hash: known.unwrap_or(&self.stand_in.1).clone(),
            exists: known.is_some(),
        }
    }
}

impl Claim {
    /// Whether the password is right. Takes the time that the hash was made to take, in any case.
    pub(super) fn holds(&self, password: &[u8]) -> bool {
        let same = bcrypt::verify(password, &self.hash).unwrap_or(false);
        same && self.exists
    }
}

/// Not even hashes are for logs.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.hashes.keys()).finish()
    }
}
