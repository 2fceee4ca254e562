//! Columns of whole numbers of which some records have a double: `price` with `price__v_double` beside it.
//!
//! An extractor puts later doubles into a column of their own, since the first column has its type by then. This marks both
//! as one column of the data: the load stage merges them into a column of doubles where the table supports it (see
//! `engine::steps::widen`), and the contract then has one column.

use arrow::datatypes::Field;

/// Key in the metadata of a field of a batch: the column of whole numbers beside it that this one has the doubles of.
const DOUBLES_OF: &str = "forebay.doubles_of";

/// The field of the doubles of `base`.
pub(crate) fn doubles_of(field: Field, base: &str) -> Field {
    field.with_metadata([(DOUBLES_OF.to_owned(), base.to_owned())].into())
}

/// The column of which a field has the doubles.
pub fn base_of(field: &Field) -> Option<&str> {
    field.metadata().get(DOUBLES_OF).map(String::as_str)
}

/// The column for whole numbers without an exact double, beside a column whose doubles were in `variant` before.
pub fn longs_beside(variant: &str) -> String {
    let kind = variant.strip_suffix("double").unwrap_or(variant);
    format!("{kind}long")
}

/// Whether a whole number is exact as a double.
pub fn is_exact(number: i64) -> bool {
    let magnitude = number.unsigned_abs();
    magnitude == 0 || 64 - magnitude.leading_zeros() - magnitude.trailing_zeros() <= 53
}
