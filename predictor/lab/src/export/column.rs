//! [`Column`]: one typed column of a table, and where its values come from.

use std::sync::Arc;

use arrow_array::types::{Float32Type, Int32Type, UInt32Type};
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float32Array, ListArray, TimestampMicrosecondArray, UInt32Array,
    UInt64Array,
};
use arrow_schema::{DataType, Field, TimeUnit};
use parquet::basic::Encoding;
use parquet::file::properties::WriterPropertiesBuilder;
use parquet::schema::types::ColumnPath;

const ZONE: &str = "UTC";

/// Values of one type; `None` becomes null.
pub(super) enum Values<R> {
    /// Text that repeats: kept once, in a dictionary.
    Text(fn(&R) -> Option<&str>),
    /// Seconds since 1970, to the microsecond.
    Time(fn(&R) -> Option<f64>),
    Float(fn(&R) -> Option<f32>),
    Count(fn(&R) -> Option<u32>),
    Number(fn(&R) -> Option<u64>),
    Flag(fn(&R) -> Option<bool>),
    Floats(fn(&R) -> Option<&[f32]>),
    /// A list with gaps.
    SomeFloats(fn(&R) -> Option<&[Option<f32>]>),
    Counts(fn(&R) -> Option<&[u32]>),
}

/// One column of a table of rows `R`.
pub(super) struct Column<R> {
    pub(super) name: &'static str,
    pub(super) values: Values<R>,
}

impl<R> Column<R> {
    /// Its name and type.
    pub(super) fn field(&self) -> Field {
        let list = |of| DataType::List(Arc::new(Field::new_list_field(of, true)));
        let data_type = match self.values {
            Values::Text(_) => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Values::Time(_) => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
            Values::Float(_) => DataType::Float32,
            Values::Count(_) => DataType::UInt32,
            Values::Number(_) => DataType::UInt64,
            Values::Flag(_) => DataType::Boolean,
            Values::Floats(_) | Values::SomeFloats(_) => list(DataType::Float32),
            Values::Counts(_) => list(DataType::UInt32),
        };
        Field::new(self.name, data_type, true)
    }

    /// Its values of these rows.
    pub(super) fn array(&self, rows: &[R]) -> ArrayRef {
        match self.values {
            Values::Text(get) => Arc::new(rows.iter().map(get).collect::<DictionaryArray<Int32Type>>()),
            Values::Time(get) => {
                let micros = |row| get(row).map(|seconds| (seconds * 1e6).round() as i64);
                Arc::new(rows.iter().map(micros).collect::<TimestampMicrosecondArray>().with_timezone(ZONE))
            }
            Values::Float(get) => Arc::new(rows.iter().map(get).collect::<Float32Array>()),
            Values::Count(get) => Arc::new(rows.iter().map(get).collect::<UInt32Array>()),
            Values::Number(get) => Arc::new(rows.iter().map(get).collect::<UInt64Array>()),
            Values::Flag(get) => Arc::new(rows.iter().map(get).collect::<BooleanArray>()),
            Values::Floats(get) => Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
                rows.iter().map(|row| get(row).map(|values| values.iter().copied().map(Some))),
            )),
            Values::SomeFloats(get) => Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(
                rows.iter().map(|row| get(row).map(|values| values.iter().copied())),
            )),
            Values::Counts(get) => Arc::new(ListArray::from_iter_primitive::<UInt32Type, _, _>(
                rows.iter().map(|row| get(row).map(|values| values.iter().copied().map(Some))),
            )),
        }
    }

    /// How it is encoded: floats hardly repeat, but their high bytes do.
    pub(super) fn encoding(&self, properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let path: &[&str] = match self.values {
            Values::Float(_) => &[self.name],
            Values::Floats(_) | Values::SomeFloats(_) => &[self.name, "list", Field::LIST_FIELD_DEFAULT_NAME],
            _ => return properties,
        };
        let path = ColumnPath::new(path.iter().map(|part| (*part).to_owned()).collect());
        properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
    }
}

/// Columns that all three tables write alike: the parts of a forecast, each under a name that begins with `prefix`.
macro_rules! forecast_columns {
    ($row:ty, $prefix:literal, $field:ident) => {
        [
            Column::<$row> {
                name: concat!($prefix, "_source"),
                values: Values::Text(|row| Some(&row.$field.as_ref()?.source)),
            },
            Column::<$row> {
                name: concat!($prefix, "_model_version"),
                values: Values::Text(|row| Some(&row.$field.as_ref()?.model_version)),
            },
            Column::<$row> {
                name: concat!($prefix, "_mean"),
                values: Values::Float(|row| Some(row.$field.as_ref()?.remaining.mean)),
            },
            Column::<$row> {
                name: concat!($prefix, "_quantiles"),
                values: Values::Floats(|row| Some(&row.$field.as_ref()?.remaining.quantiles)),
            },
            Column::<$row> {
                name: concat!($prefix, "_end_within"),
                values: Values::Floats(|row| Some(&row.$field.as_ref()?.remaining.end_within)),
            },
        ]
    };
}
pub(super) use forecast_columns;
