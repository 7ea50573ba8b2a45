//! JSON held to its form: objects that are objects, keys that occur once, values that are there.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A value that is written as an object. A derived reader would take a list of the values, too.
#[derive(Debug)]
pub(super) struct Strict<T>(pub(super) T);

/// An object with any keys, each of which occurs once. JSON leaves open which of two would count.
#[derive(Debug)]
pub(super) struct Unique<T>(pub(super) BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

struct AsObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for AsObject<Strict<T>> {
    type Value = Strict<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Strict<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Strict)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AsObject<Unique<T>> {
    type Value = Unique<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique<T>, A::Error> {
        let mut found = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            if found.contains_key(&key) {
                return Err(A::Error::custom(format!("`{}` stands twice", shown(&key))));
            }
            found.insert(key, map.next_value()?);
        }
        Ok(Unique(found))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(AsObject::<Strict<T>>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(AsObject::<Unique<T>>(PhantomData))
    }
}

/// Reads a key that may be absent, and has a value where it is not: `null` is none.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Refuses keys that a type has no use for.
pub(super) fn none_given(kind: &str, rest: &[(&str, bool)]) -> Result<(), String> {
    match rest.iter().find(|(_, is_given)| *is_given) {
        Some((key, _)) => Err(format!("`{}` has no use for `{key}`", shown(kind))),
        None => Ok(()),
    }
}

/// The whole of a text as a value; the error says in which line.
pub(super) fn read<T: for<'de> Deserialize<'de>>(text: &[u8]) -> Result<T, String> {
    serde_json::from_slice(text).map_err(|error| {
        let message = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        format!("line {}: {}", error.line(), shown(message.strip_suffix(&place).unwrap_or(&message)))
    })
}

/// Text of a file, short and without control characters.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}
