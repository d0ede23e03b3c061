// SPDX-License-Identifier: Apache-2.0
//! What has to be changed in a map of names so that it says what is wanted, and nothing of others is touched. Pure.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// Entries to write (`Some`) and to take away (`None`): those that we gave before and give no more.
pub(super) fn change<K, V>(
    now: &HashMap<K, Arc<V>>,
    wanted: &HashMap<K, Arc<V>>,
    given: &HashSet<K>,
) -> Vec<(K, Option<Arc<V>>)>
where
    K: Clone + Eq + Hash,
    V: PartialEq,
{
    let to_write = wanted
        .iter()
        .filter(|(key, value)| {
            now.get(*key)
                .is_none_or(|is| !Arc::ptr_eq(is, value) && is != *value)
        })
        .map(|(key, value)| (key.clone(), Some(Arc::clone(value))));
    let to_take = given
        .iter()
        .filter(|key| !wanted.contains_key(*key) && now.contains_key(*key))
        .map(|key| (key.clone(), None));
    to_write.chain(to_take).collect()
}

pub(super) fn apply<K: Eq + Hash, V>(map: &mut HashMap<K, Arc<V>>, changes: Vec<(K, Option<Arc<V>>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
    }
}
