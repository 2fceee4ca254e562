//! Changes of columns by other engines: only those after which every file of the table can still be read (Iceberg, "Schema Evolution").
//!
//! Column defaults of format version 3 are refused: rows of older files would read as null here and as the default elsewhere.

use forebay_core::{Error, Result};
use iceberg::spec::{NestedFieldRef, PrimitiveType, SchemaRef, TableMetadata, Type};

use super::rules::refused;

/// Errors: `Data` `bad_update`, `Unsupported` `update_refused`.
pub(super) fn check_columns(base: &TableMetadata, next: &TableMetadata) -> Result<()> {
    let check = ColumnCheck {
        before: base.current_schema(),
        has_rows: base.current_snapshot().is_some(),
    };
    let fields = next.current_schema().as_struct().fields();
    fields
        .iter()
        .try_for_each(|field| check.field(field, false))
}

struct ColumnCheck<'t> {
    before: &'t SchemaRef,
    has_rows: bool,
}

impl ColumnCheck<'_> {
    /// `is_within_new`: it is a part of a column that no file has.
    fn field(&self, field: &NestedFieldRef, is_within_new: bool) -> Result<()> {
        let name = &field.name;
        let before = self.before.field_by_id(field.id);
        let has_default = field.initial_default.is_some() || field.write_default.is_some();
        let had_default = before.is_some_and(|before| {
            before.initial_default == field.initial_default
                && before.write_default == field.write_default
        });
        if has_default && !had_default {
            return Err(refused(format!(
                "column `{name}` has a default, which is not supported"
            )));
        }
        match before {
            None if self.has_rows && field.required && !is_within_new => {
                return Err(bad(format!(
                    "column `{name}` is required, and rows of the table lack it"
                )));
            }
            Some(before) if self.has_rows && field.required && !before.required => {
                return Err(bad(format!(
                    "column `{name}` is not required before, so rows may lack it"
                )));
            }
            Some(before) if self.has_rows && !reads(&before.field_type, &field.field_type) => {
                let (then, now) = (&before.field_type, &field.field_type);
                return Err(bad(format!(
                    "column `{name}` is {then} and cannot become {now}"
                )));
            }
            _ => {}
        }
        let is_new = is_within_new || before.is_none();
        children(&field.field_type)
            .into_iter()
            .try_for_each(|child| self.field(child, is_new))
    }
}

fn children(kind: &Type) -> Vec<&NestedFieldRef> {
    match kind {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(fields) => fields.fields().iter().collect(),
        Type::List(list) => vec![&list.element_field],
        Type::Map(map) => vec![&map.key_field, &map.value_field],
    }
}

/// Whether files with the one type can be read as the other.
fn reads(before: &Type, now: &Type) -> bool {
    match (before, now) {
        (Type::Struct(_), Type::Struct(_))
        | (Type::List(_), Type::List(_))
        | (Type::Map(_), Type::Map(_)) => true,
        (Type::Primitive(before), Type::Primitive(now)) => before == now || widens(before, now),
        _ => false,
    }
}

fn widens(before: &PrimitiveType, now: &PrimitiveType) -> bool {
    match (before, now) {
        (PrimitiveType::Int, PrimitiveType::Long)
        | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision, scale },
            PrimitiveType::Decimal {
                precision: wider,
                scale: same,
            },
        ) => wider >= precision && scale == same,
        _ => false,
    }
}

fn bad(what: String) -> Error {
    Error::data("bad_update", what)
}
