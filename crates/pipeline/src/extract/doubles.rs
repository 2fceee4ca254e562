//! Columns of whole numbers of which some records have a double: `price` with `price__v_double` beside it.
//!
//! An extractor gives doubles that come later a column of their own, since the column before them has its type by then. Here is
//! how it says that both are one column of the data: the stage that loads makes a column of doubles of them where the table can
//! have one (see `run::widen`), and the contract then says so.

use arrow::datatypes::Field;

/// Key in the metadata of a field of a batch: the column beside it, of whole numbers, of which this one has the doubles.
const DOUBLES_OF: &str = "forebay.doubles_of";

/// The field of the doubles of `base`.
pub(crate) fn doubles_of(field: Field, base: &str) -> Field {
    field.with_metadata([(DOUBLES_OF.to_owned(), base.to_owned())].into())
}

/// The column of which a field has the doubles.
pub(crate) fn base_of(field: &Field) -> Option<&str> {
    field.metadata().get(DOUBLES_OF).map(String::as_str)
}

/// The column for whole numbers that are no doubles, beside a column whose doubles were in `variant` before.
pub(crate) fn longs_beside(variant: &str) -> String {
    let kind = variant.strip_suffix("double").unwrap_or(variant);
    format!("{kind}long")
}

/// Whether a double says the same as a whole number.
pub(crate) fn is_exact(number: i64) -> bool {
    let magnitude = number.unsigned_abs();
    magnitude == 0 || 64 - magnitude.leading_zeros() - magnitude.trailing_zeros() <= 53
}
