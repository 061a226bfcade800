//! The fields of a body, read set by set, so that an error can name the field whatever shape its neighbours have, and so that
//! a field that nobody asked for is noticed.

use std::collections::HashMap;

use eoscast_proto::status::FieldViolation;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use super::known_fields::{UnknownFields, check};
use crate::bounds::ByteAccount;

/// The fields of a JSON object.
pub(super) struct Fields {
    values: HashMap<String, Box<RawValue>>,
    /// Names that a set of fields has.
    asked: Vec<&'static str>,
    /// The body's bytes, which count as long as something made of them waits; none of a body that came from nowhere.
    account: Option<ByteAccount>,
}

impl Fields {
    /// Reads a body whose bytes are on `account`, if it came from a client.
    pub(super) fn from_json(json: &[u8], account: Option<ByteAccount>) -> serde_json::Result<Self> {
        Ok(Self { values: serde_json::from_slice(json)?, asked: Vec::new(), account })
    }

    /// The account of what was read, when the fields are no longer needed.
    pub(super) fn into_account(self) -> Option<ByteAccount> {
        self.account
    }

    /// Reads the set `T`: a struct whose fields are all optional. A field that is null is absent.
    ///
    /// # Errors
    /// A violation of the first field, or of the place in it, that is of another type.
    pub(super) fn read<T: DeserializeOwned>(&mut self) -> Result<T, FieldViolation> {
        serde_path_to_error::deserialize(FieldSet(self)).map_err(|error| {
            let message = error.inner().to_string();
            // The position is that within the field.
            let description = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
            FieldViolation::new(error.path().to_string(), description)
        })
    }

    /// Counts the set `T` as read: here its fields change nothing.
    pub(super) fn skip<T: DeserializeOwned>(&mut self) {
        self.asked.extend(names_of::<T>());
    }

    /// Names that were asked for.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &[&'static str] {
        &self.asked
    }

    /// Checks what no set has asked for.
    ///
    /// # Errors
    /// A field that asks for what is not supported, or, unless they are ignored, one that is not known.
    pub(super) fn check_rest(&self, unknown: UnknownFields) -> Result<(), FieldViolation> {
        let mut rest: Vec<_> = self.values.iter().filter(|(name, _)| !self.asked.contains(&name.as_str())).collect();
        rest.sort_unstable_by_key(|(name, _)| *name);
        rest.into_iter().try_for_each(|(name, value)| check(name, value, &self.asked, unknown))
    }
}

/// The names of the fields of `T`.
pub(super) fn names_of<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut nothing = Fields { values: HashMap::new(), asked: Vec::new(), account: None };
    // Only the names matter.
    let _ = T::deserialize(FieldSet(&mut nothing));
    nothing.asked
}

/// Gives a struct the fields that it names.
struct FieldSet<'a>(&'a mut Fields);

impl<'de> Deserializer<'de> for FieldSet<'de> {
    type Error = serde_json::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let Fields { values, asked, .. } = self.0;
        let values: &'de HashMap<String, Box<RawValue>> = values;
        asked.extend(names);
        let given = names.iter().filter_map(move |name| Some((*name, &**values.get(*name)?)));
        visitor.visit_map(MapDeserializer::new(given))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let values: &'de HashMap<String, Box<RawValue>> = &self.0.values;
        visitor.visit_map(MapDeserializer::new(values.iter().map(|(name, value)| (name.as_str(), &**value))))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
