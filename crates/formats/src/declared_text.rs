//! Texts from outside a record, such as names of folders, as values of a declared type.
//!
//! They follow the rules of CSV fields in the usual formats: every usual spelling, as long as the value is exact.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, StringArray};
use arrow::datatypes::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use serde::de::IgnoredAny;

use crate::contract::ColumnType;
use crate::csv::types;
use crate::iso_time;

/// Texts that were read as values of a type.
#[derive(Debug)]
pub struct ReadTexts {
    /// NULL for a text that does not fit.
    pub array: ArrayRef,
    /// Rows with a text that does not fit, in order.
    pub misfits: Vec<usize>,
}

/// Reads each text as a value of the declared type.
pub fn read_texts(texts: &StringArray, kind: ColumnType) -> ReadTexts {
    let array = array(texts, kind);
    let is_misfit = |row: &usize| {
        let is_text = !texts.is_null(*row);
        is_text && array.is_null(*row)
    };
    let misfits = (0..texts.len()).filter(is_misfit).collect();
    ReadTexts { array, misfits }
}

fn array(texts: &StringArray, kind: ColumnType) -> ArrayRef {
    match kind {
        ColumnType::Boolean => booleans(texts),
        ColumnType::Int => numbers::<Int32Type>(texts, kind, int),
        ColumnType::Long => numbers::<Int64Type>(texts, kind, |text| types::long(text, false)),
        ColumnType::Float => numbers::<Float32Type>(texts, kind, types::float),
        ColumnType::Double => {
            numbers::<Float64Type>(texts, kind, |text| types::double(text, false))
        }
        ColumnType::Decimal(precision, scale) => {
            numbers::<Decimal128Type>(texts, kind, |text| types::decimal(text, precision, scale))
        }
        ColumnType::Date => numbers::<Date32Type>(texts, kind, iso_time::date),
        ColumnType::Timestamp => numbers::<TimestampMicrosecondType>(texts, kind, |text| {
            iso_time::timestamp(text, false)
        }),
        ColumnType::Timestamptz => numbers::<TimestampMicrosecondType>(texts, kind, |text| {
            iso_time::timestamptz(text, false)
        }),
        ColumnType::String => Arc::new(texts.clone()),
        ColumnType::Json => documents(texts),
        ColumnType::Binary => Arc::new(BinaryArray::from(texts.clone())),
    }
}

fn int(text: &str) -> Option<i32> {
    i32::try_from(types::long(text, false)?).ok()
}

fn booleans(texts: &StringArray) -> ArrayRef {
    let values = texts.iter().map(|text| types::boolean(text?, false));
    Arc::new(values.collect::<BooleanArray>())
}

fn documents(texts: &StringArray) -> ArrayRef {
    let is_json = |text: &&str| serde_json::from_str::<IgnoredAny>(text).is_ok();
    let values = texts.iter().map(|text| text.filter(is_json));
    Arc::new(values.collect::<StringArray>())
}

fn numbers<T: ArrowPrimitiveType>(
    texts: &StringArray,
    kind: ColumnType,
    parse: impl Fn(&str) -> Option<T::Native>,
) -> ArrayRef {
    let values = texts.iter().map(|text| parse(text?));
    let values: PrimitiveArray<T> = values.collect();
    Arc::new(values.with_data_type(kind.arrow()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_takes_its_texts_and_names_those_that_do_not_fit() {
        for (kind, good) in [
            ("boolean", "yes"),
            ("int", "007"),
            ("long", "-5"),
            ("float", "0.1"),
            ("double", "1e3"),
            ("decimal(5, 2)", "12.50"),
            ("date", "2025-01-31"),
            ("timestamp", "2025-01-31"),
            ("timestamptz", "2025-01-31T00:00:00Z"),
            ("json", "[1]"),
        ] {
            let kind = ColumnType::try_from(kind.to_owned()).unwrap();
            let texts = StringArray::from(vec![Some(good), None, Some("no value")]);
            let read = read_texts(&texts, kind);
            assert_eq!(read.misfits, [2], "{kind:?}");
            assert_eq!(read.array.data_type(), &kind.arrow());
            assert!(read.array.is_valid(0) && read.array.is_null(1), "{kind:?}");
        }
    }
}
