//! Integers as JSON has them: `8`, `8.0` and `8e0` are one number.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// An integer of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole<T>(pub(super) T);

/// An integer type, with its range in words.
pub(super) trait Integer: TryFrom<i128> {
    const RANGE: &'static str;
}

impl Integer for u32 {
    const RANGE: &'static str = "an integer from 0 to 4294967295";
}

impl Integer for i32 {
    const RANGE: &'static str = "an integer from -2147483648 to 2147483647";
}

impl Integer for i64 {
    const RANGE: &'static str = "an integer of 64 bits";
}

/// Wide enough for all integers of 64 bits, signed or not.
impl Integer for i128 {
    const RANGE: &'static str = "an integer";
}

impl<'de, T: Integer> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: Integer> Visitor<'_> for WholeVisitor<T> {
    type Value = Whole<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::RANGE)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        whole(i128::from(value), &value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        whole(i128::from(value), &value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        // The conversion saturates, so that what is too large stays too large for 64 bits.
        if value.fract() == 0.0 { whole(value as i128, &format_args!("{value:e}")) } else { refuse::<T, _, _>(&value) }
    }
}

fn whole<T: Integer, E: Error>(value: i128, got: &impl fmt::Display) -> Result<Whole<T>, E> {
    T::try_from(value).map_or_else(|_| refuse::<T, _, _>(got), |value| Ok(Whole(value)))
}

fn refuse<T: Integer, V, E: Error>(got: &impl fmt::Display) -> Result<V, E> {
    Err(E::custom(format_args!("must be {}, got {got}", T::RANGE)))
}

impl<T: JsonSchema> JsonSchema for Whole<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Integer>(json: &str) -> Result<T, String> {
        serde_json::from_str::<Whole<T>>(json).map(|Whole(value)| value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_float_without_a_fraction_is_an_integer() {
        for json in ["8", "8.0", "8e0", "0.8e1"] {
            assert_eq!(read::<u32>(json), Ok(8), "{json}");
        }
        assert_eq!(read::<i64>("-1.0"), Ok(-1));
        assert_eq!(read::<i128>("18446744073709551615"), Ok(u64::MAX.into()));
    }

    #[test]
    fn what_is_no_integer_or_out_of_range_is_refused_in_short_words() {
        for (json, expected) in [
            ("8.5", "must be an integer from 0 to 4294967295, got 8.5"),
            ("-1", "must be an integer from 0 to 4294967295, got -1"),
            ("1e300", "must be an integer from 0 to 4294967295, got 1e300"),
            ("\"8\"", "invalid type: string \"8\", expected an integer from 0 to 4294967295"),
        ] {
            let error = read::<u32>(json).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
