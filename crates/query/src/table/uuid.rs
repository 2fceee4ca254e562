//! UUIDs as text: 32 digits in five groups, in lower case (RFC 9562, section 4). In the lake they are 16 bytes.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Fields, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use forebay_lake::{UUID_MARK, is_uuid};
use uuid::Uuid;

/// Bytes of a UUID.
const BYTES: i32 = 16;

/// The field as the engine sees it: UUIDs are text, at every depth.
pub(super) fn with_text(field: &FieldRef) -> FieldRef {
    let kind = match field.data_type() {
        DataType::FixedSizeBinary(BYTES) if is_uuid(field) => DataType::Utf8,
        kind => with_text_within(kind),
    };
    if &kind == field.data_type() {
        return Arc::clone(field);
    }
    let mut metadata = field.metadata().clone();
    metadata.remove(UUID_MARK.0);
    let shown = field.as_ref().clone().with_data_type(kind);
    Arc::new(shown.with_metadata(metadata))
}

fn with_text_within(kind: &DataType) -> DataType {
    match kind {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(with_text).collect::<Fields>())
        }
        DataType::List(element) => DataType::List(with_text(element)),
        DataType::Map(entries, is_sorted) => DataType::Map(with_text(entries), *is_sorted),
        kind => kind.clone(),
    }
}

/// Whether a column of a file with UUIDs is wanted as text.
pub(super) fn is_shown(found: &DataType, wanted: &DataType) -> bool {
    matches!(found, DataType::FixedSizeBinary(BYTES))
        && matches!(wanted, DataType::Utf8 | DataType::Utf8View)
}

/// The text of 16 bytes; `None` for any other number of them.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    Some(Uuid::from_slice(bytes).ok()?.hyphenated().to_string())
}

/// UUIDs as text of this type.
pub(super) fn shown(array: &dyn Array, kind: &DataType) -> Result<ArrayRef> {
    let bytes = array.as_fixed_size_binary();
    let texts: StringArray = bytes.iter().map(|bytes| bytes.and_then(text)).collect();
    Ok(cast(&texts, kind)?)
}

/// The value of `input` as text.
#[derive(Debug, Clone, Eq)]
pub(super) struct UuidText {
    input: Arc<dyn PhysicalExpr>,
    kind: DataType,
}

impl UuidText {
    pub(super) fn new(input: Arc<dyn PhysicalExpr>, kind: DataType) -> Self {
        Self { input, kind }
    }
}

impl PartialEq for UuidText {
    fn eq(&self, other: &Self) -> bool {
        self.input.eq(&other.input) && self.kind == other.kind
    }
}

impl Hash for UuidText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
        self.kind.hash(state);
    }
}

impl fmt::Display for UuidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uuid_text({})", self.input)
    }
}

impl PhysicalExpr for UuidText {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(true)
    }

    fn evaluate(&self, batch: &arrow::array::RecordBatch) -> Result<ColumnarValue> {
        let array = self.input.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(shown(&array, &self.kind)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let input = children.pop().unwrap_or_else(|| self.input.clone());
        Ok(Arc::new(Self::new(input, self.kind.clone())))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn the_type_changes_at_every_depth_and_only_for_uuids() {
        let marked = |name: &str| {
            let (key, value) = UUID_MARK;
            let mark = HashMap::from([(key.to_owned(), value.to_owned())]);
            Field::new(name, DataType::FixedSizeBinary(BYTES), true).with_metadata(mark)
        };
        let plain = Field::new("f", DataType::FixedSizeBinary(BYTES), true);
        let fields = Fields::from(vec![marked("u"), plain.clone()]);
        let element = Arc::new(Field::new("e", DataType::Struct(fields), true));
        let list: FieldRef = Arc::new(Field::new("l", DataType::List(element), true));
        let DataType::List(element) = with_text(&list).data_type().clone() else {
            panic!("a list");
        };
        let DataType::Struct(fields) = element.data_type() else {
            panic!("a struct");
        };
        assert_eq!(fields[0].data_type(), &DataType::Utf8);
        assert_eq!(fields[1].as_ref(), &plain);
        assert_eq!(
            text(&[
                0x12, 0x3E, 0x45, 0x67, 0xE8, 0x9B, 0x12, 0xD3, 0xA4, 0x56, 0x42, 0x66, 0x14, 0x17,
                0x40, 0
            ])
            .unwrap(),
            "123e4567-e89b-12d3-a456-426614174000"
        );
    }
}
