//! Rules for column names, the same for all formats.

use arrow::datatypes::{DataType, Field};

/// Most bytes of a column's name.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// Characters of a bad name that are shown.
const NAME_SHOWN: usize = 40;

/// What has the columns that an extractor reads, for messages.
pub(super) fn subject(extractor: &str) -> &'static str {
    match extractor {
        "query" => "the result of the statement",
        "table" => "the source table",
        _ => "the file",
    }
}

/// The reason why this is not a valid column name, with the part of it to show.
pub(super) fn name_fault(name: &str) -> Option<String> {
    let begin: String = name.chars().take(NAME_SHOWN).collect();
    match name.len() {
        0 => Some("is empty".to_owned()),
        1..=NAME_BYTES_MAX if !name.chars().any(char::is_control) => None,
        1..=NAME_BYTES_MAX => Some(format!("has a control character: {begin:?}")),
        bytes => Some(format!(
            "has {bytes} bytes, more than the {NAME_BYTES_MAX} allowed: {begin:?}"
        )),
    }
}

/// The same for a column and all its nested fields.
pub(super) fn field_fault(field: &Field) -> Option<String> {
    name_fault(field.name()).or_else(|| fault_within(field.data_type()))
}

/// Names of elements, keys and entries are fixed by the format and do not name a column.
fn fault_within(kind: &DataType) -> Option<String> {
    match kind {
        DataType::Struct(fields) => fields.iter().find_map(|field| field_fault(field)),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            fault_within(field.data_type())
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => pair
                .iter()
                .find_map(|field| fault_within(field.data_type())),
            _ => None,
        },
        _ => None,
    }
}
