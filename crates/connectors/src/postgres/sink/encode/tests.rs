use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Decimal256Array, Int64Array, StringArray};
use arrow::datatypes::i256;
use proptest::prelude::*;

use super::*;
use crate::postgres::types::PgType;

/// The bytes of the value in the only row of a column, without its length.
fn put(array: ArrayRef, kind: PgType) -> Result<Vec<u8>, Misfit> {
    let column = Column::new(&array, &kind).unwrap();
    let mut out = BytesMut::new();
    column.put(0, &mut out).map(|()| out.to_vec())
}

/// `numeric` as the server reads it, to text.
fn numeric_text(bytes: &[u8]) -> String {
    let word = |at: usize| i16::from_be_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
    let count = word(0);
    let weight = word(1);
    let sign = word(2);
    let scale = word(3);
    let digit = |place: i16| {
        let at = weight - place;
        if (0..count).contains(&at) {
            word(4 + at as usize)
        } else {
            0
        }
    };
    let mut whole: String = (0..=weight.max(0))
        .rev()
        .map(|place| format!("{:04}", digit(place)))
        .collect();
    whole = whole.trim_start_matches('0').to_owned();
    let fraction: String = (1..=(scale + 3) / 4)
        .map(|n| format!("{:04}", digit(-n)))
        .collect();
    let whole = if whole.is_empty() { "0" } else { &whole };
    let sign = if sign == 0 { "" } else { "-" };
    let fraction = &fraction[..scale as usize];
    if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction}")
    }
}

proptest! {
    #[test]
    fn decimals_keep_every_digit(value in any::<i128>().prop_map(|v| v % 10_i128.pow(38)), shift in 0u32..38, scale in 0i8..=38) {
        let value = value / 10_i128.pow(shift);
        let array = Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
        let expected = array.value_as_string(0);
        let bytes = put(Arc::new(array), PgType::Numeric(None)).unwrap();
        prop_assert_eq!(&numeric_text(&bytes), &expected);
        let large = Decimal256Array::from(vec![i256::from_i128(value)]).with_precision_and_scale(76, scale).unwrap();
        let bytes = put(Arc::new(large), PgType::Numeric(None)).unwrap();
        prop_assert_eq!(&numeric_text(&bytes), &expected);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_rounded() {
    let number = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    let decimal = |n: i128| {
        let array = Decimal128Array::from(vec![n]).with_precision_and_scale(10, 4);
        Arc::new(array.unwrap()) as ArrayRef
    };
    for (array, kind, code) in [
        (number(40_000), PgType::Int2, "number_out_of_range"),
        (number(1 << 40), PgType::Int4, "number_out_of_range"),
        (number((1 << 53) + 1), PgType::Float8, "number_not_exact"),
        (text("a\0b"), PgType::text(), "nul_in_text"),
        (text("no uuid"), PgType::Uuid, "bad_value"),
        (
            decimal(12_345),
            PgType::Numeric(Some((10, 2))),
            "too_many_decimals",
        ),
    ] {
        assert_eq!(put(array, kind.clone()).unwrap_err().code, code, "{kind}");
    }
    assert!(put(number(1 << 53), PgType::Float8).is_ok());
    assert!(put(decimal(12_300), PgType::Numeric(Some((10, 2)))).is_ok());
}

#[test]
fn a_refused_row_leaves_nothing_behind() {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let note: ArrayRef = Arc::new(StringArray::from(vec!["a\0", "b"]));
    let records = RecordBatch::try_from_iter([("id", id), ("note", note)]).unwrap();
    let place = |name: &str, kind| Place {
        name: name.to_owned(),
        kind,
        key: false,
    };
    let places = [place("id", PgType::Int8), place("note", PgType::text())];
    let rows = Rows::new(&records, &places, &[], None).unwrap();
    let mut out = BytesMut::new();
    let unfit = rows.write(0, &mut out).unwrap_err();
    assert_eq!((unfit.row, unfit.code), (0, "nul_in_text"));
    assert!(unfit.reason.contains("`note`"), "{}", unfit.reason);
    assert!(out.is_empty());
    rows.write(1, &mut out).unwrap();
    assert_eq!(out.len(), 2 + 4 + 8 + 4 + 1);
}

#[test]
fn a_key_of_another_type_is_named_with_its_column() {
    let id: ArrayRef = Arc::new(Int64Array::from(vec![None, None]));
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let records = RecordBatch::try_from_iter([("id", id), ("id__v_string", text)]).unwrap();
    let place = Place {
        name: "id".to_owned(),
        kind: PgType::Int8,
        key: true,
    };
    let rows = Rows::new(&records, &[place], &[], None).unwrap();
    let reasons = [0, 1].map(|row| rows.write(row, &mut BytesMut::new()).unwrap_err().reason);
    assert!(reasons[0].contains("`id__v_string`"), "{}", reasons[0]);
    assert!(reasons[1].contains("has no value"), "{}", reasons[1]);
}
