// SPDX-License-Identifier: Apache-2.0
//! Lists that may also be one string with commas, for keys that come from the environment.

use super::address::{ADDRESSES, Address};
use super::{Level, Schema};
use serde::de::value::StrDeserializer;
use serde::de::{Error, IntoDeserializer, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    let mut addresses: Vec<Address> = Vec::new();
    for word in words(deserializer)? {
        let Some(address) = Address::parse(&word) else {
            return Err(D::Error::invalid_value(Unexpected::Str(&word), &ADDRESSES));
        };
        if addresses.contains(&address) {
            return Err(D::Error::invalid_value(
                Unexpected::Str(&word),
                &"every address once",
            ));
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(D::Error::invalid_length(0, &ADDRESSES));
    }
    Ok(addresses)
}

pub(super) fn schemas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Schema>, D::Error> {
    let schemas = items(deserializer)?;
    if schemas.is_empty() {
        return Err(D::Error::invalid_length(0, &"at least one schema such as kepler"));
    }
    Ok(schemas)
}

/// Schemas, or none.
pub(crate) fn some_schemas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Schema>, D::Error> {
    items(deserializer)
}

pub(super) fn levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Level>, D::Error> {
    items(deserializer)
}

fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    words(deserializer)?
        .iter()
        .map(|word| {
            let word: StrDeserializer<'_, D::Error> = word.as_str().into_deserializer();
            T::deserialize(word)
        })
        .collect()
}

/// The words of a list, or of one string with commas; empty ones left out.
pub(super) fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Words;
    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of strings, or one string with commas")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(split(text))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut words = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                words.extend(split(&text));
            }
            Ok(words)
        }
    }
    deserializer.deserialize_any(Words)
}

fn split(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
