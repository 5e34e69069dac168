//! Tables as Rust structs: one declaration gives the struct, its Arrow schema and
//! the way there and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use serde::{Deserialize, Serialize};

/// An instant: microseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct At(pub i64);

/// A local calendar day: days since 1970-01-01.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Day(pub i32);

impl At {
    /// Microseconds from `earlier` to `self`; negative when `earlier` is later.
    pub fn since(self, earlier: At) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A batch does not have the shape the table declares.
#[derive(Debug, thiserror::Error)]
#[error("table {table}: column {column} is not {expected}")]
pub struct ShapeError {
    /// Table name.
    pub table: &'static str,
    /// Column name.
    pub column: &'static str,
    /// What was expected.
    pub expected: String,
}

/// A value that can stand in a column.
pub trait Cell: Sized {
    /// Whether the column admits nulls.
    const NULLABLE: bool;
    /// Arrow type of the column.
    fn data_type() -> DataType;
    /// A column of these values.
    fn write<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
    /// The values of a column, or `None` when it is of another type or has a null
    /// where none may be.
    fn read(column: &dyn Array) -> Option<Vec<Self>>;
}

macro_rules! cell {
    ($type:ty, $array:ty, $data_type:expr, |$v:ident| $to:expr, |$raw:ident| $from:expr, |$arr:ident| $finish:expr) => {
        impl Cell for Option<$type> {
            const NULLABLE: bool = true;
            fn data_type() -> DataType {
                $data_type
            }
            fn write<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
            where
                Self: 'a,
            {
                let $arr: $array = values.map(|v| v.as_ref().map(|$v| $to)).collect();
                Arc::new($finish)
            }
            fn read(column: &dyn Array) -> Option<Vec<Self>> {
                let array = column.as_any().downcast_ref::<$array>()?;
                Some(array.iter().map(|v| v.map(|$raw| $from)).collect())
            }
        }
        impl Cell for $type {
            const NULLABLE: bool = false;
            fn data_type() -> DataType {
                $data_type
            }
            fn write<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
            where
                Self: 'a,
            {
                let $arr: $array = values.map(|$v| Some($to)).collect();
                Arc::new($finish)
            }
            fn read(column: &dyn Array) -> Option<Vec<Self>> {
                let array = column.as_any().downcast_ref::<$array>()?;
                array.iter().map(|v| v.map(|$raw| $from)).collect()
            }
        }
    };
}

cell!(String, StringArray, DataType::Utf8, |v| v.as_str(), |v| v.to_owned(), |a| a);
cell!(Vec<u8>, BinaryArray, DataType::Binary, |v| v.as_slice(), |v| v.to_vec(), |a| a);
cell!(i64, Int64Array, DataType::Int64, |v| *v, |v| v, |a| a);
cell!(i32, Int32Array, DataType::Int32, |v| *v, |v| v, |a| a);
cell!(f64, Float64Array, DataType::Float64, |v| *v, |v| v, |a| a);
cell!(bool, BooleanArray, DataType::Boolean, |v| *v, |v| v, |a| a);
cell!(Day, Date32Array, DataType::Date32, |v| v.0, |v| Day(v), |a| a);
cell!(
    At,
    TimestampMicrosecondArray,
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    |v| v.0,
    |v| At(v),
    |a| a.with_timezone("UTC")
);

/// Declares a table: a struct whose fields are its columns.
#[macro_export]
macro_rules! table {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: $table:literal {
            $( $(#[$field_meta:meta])* pub $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $name {
            /// Name of the table in the catalogue.
            pub const TABLE: &'static str = $table;

            /// Arrow schema of the table.
            pub fn schema() -> ::arrow::datatypes::SchemaRef {
                use $crate::table::Cell;
                ::std::sync::Arc::new(::arrow::datatypes::Schema::new(vec![
                    $( ::arrow::datatypes::Field::new(
                        stringify!($field),
                        <$type as Cell>::data_type(),
                        <$type as Cell>::NULLABLE,
                    ), )*
                ]))
            }

            /// The rows as one batch.
            pub fn to_batch(rows: &[Self]) -> ::std::result::Result<::arrow::record_batch::RecordBatch, ::arrow::error::ArrowError> {
                use $crate::table::Cell;
                ::arrow::record_batch::RecordBatch::try_new(
                    Self::schema(),
                    vec![ $( <$type as Cell>::write(rows.iter().map(|row| &row.$field)), )* ],
                )
            }

            /// The rows of a batch whose columns are found by name.
            pub fn from_batch(batch: &::arrow::record_batch::RecordBatch) -> ::std::result::Result<Vec<Self>, $crate::table::ShapeError> {
                use $crate::table::{Cell, ShapeError};
                $(
                    let mut $field = {
                        let shape = || ShapeError {
                            table: $table,
                            column: stringify!($field),
                            expected: format!("{:?}", <$type as Cell>::data_type()),
                        };
                        let column = batch.column_by_name(stringify!($field)).ok_or_else(shape)?;
                        // Readers of Parquet may hand strings and times in a sibling type.
                        let column = ::arrow::compute::cast(column, &<$type as Cell>::data_type()).map_err(|_| shape())?;
                        <$type as Cell>::read(&column).ok_or_else(shape)?.into_iter()
                    };
                )*
                let mut rows = Vec::with_capacity(batch.num_rows());
                for _ in 0..batch.num_rows() {
                    rows.push(Self {
                        $( $field: $field.next().ok_or_else(|| ShapeError {
                            table: $table,
                            column: stringify!($field),
                            expected: "as long as its table".to_owned(),
                        })?, )*
                    });
                }
                Ok(rows)
            }
        }
    };
}
