//! Lists, structs and maps as text, with `NULL` for what is null: the engine writes nothing there, so that `[NULL]` looks like `[]`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use crate::function::{ScalarDefinition, execution};

/// Gives the text of a nested value.
pub(crate) fn nested_text() -> Arc<ScalarUDF> {
    shown_as_text().shared()
}

/// The function behind it.
pub(crate) fn shown_as_text() -> ScalarDefinition {
    let text = |_: &[DataType]| Ok(DataType::Utf8);
    let same = |types: &[DataType]| Ok(types.to_vec());
    ScalarDefinition::new("nested_text", text, same, |args| shown(&args[0]))
}

fn shown(values: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::new()
        .with_display_error(false)
        .with_null("NULL");
    let formatter = ArrayFormatter::try_new(values.as_ref(), &options)?;
    let mut made = StringBuilder::new();
    let mut text = String::new();
    for row in 0..values.len() {
        if values.is_null(row) {
            made.append_null();
            continue;
        }
        text.clear();
        formatter
            .value(row)
            .write(&mut text)
            .map_err(|error| execution(error.to_string()))?;
        made.append_value(&text);
    }
    Ok(Arc::new(made.finish()))
}
