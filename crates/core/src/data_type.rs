//! Arrow types: what is below them, how deep they are, and when fields were learned. Knows no table format and no values.

use arrow::datatypes::{DataType, Field, FieldRef};

/// Key in the metadata of a field: its place in the order in which the columns of all levels were learned.
const LEARNED_ORDER: &str = "forebay.learned_order";

/// The field with its place in the order in which columns were learned. Where names of different levels can clash the first
/// one keeps its own, so the table needs that order, which is not the one of the fields.
pub fn with_learned_order(field: Field, order: u32) -> Field {
    let mut metadata = field.metadata().clone();
    metadata.insert(LEARNED_ORDER.to_owned(), order.to_string());
    field.with_metadata(metadata)
}

/// The place of a field in the order in which columns were learned; 0 where it is unknown.
pub fn learned_order(field: &Field) -> u32 {
    let order = field.metadata().get(LEARNED_ORDER);
    order.and_then(|order| order.parse().ok()).unwrap_or(0)
}

/// The element of any kind of Arrow list.
pub fn list_element(kind: &DataType) -> Option<&FieldRef> {
    match kind {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => Some(element),
        _ => None,
    }
}

/// How deep a type is: 1 for a plain value.
pub fn type_depth(kind: &DataType) -> usize {
    let below = match kind {
        DataType::Struct(fields) => fields
            .iter()
            .map(|field| type_depth(field.data_type()))
            .max()
            .unwrap_or(0),
        DataType::Map(entries, _) => type_depth(entries.data_type()).saturating_sub(1),
        DataType::Dictionary(_, values) => return type_depth(values),
        DataType::RunEndEncoded(_, values) => return type_depth(values.data_type()),
        kind => list_element(kind).map_or(0, |element| type_depth(element.data_type())),
    };
    1 + below
}
