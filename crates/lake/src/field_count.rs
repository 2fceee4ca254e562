//! The size of a schema: its cost in memory, and its number of fields.

use iceberg::spec::Schema;

/// Memory of a field of a parsed schema, with its entries in the indexes by id and by name.
pub(crate) const FIELD_BYTES: usize = 700;

/// Upper bound of the number of fields of a schema at all depths.
pub(crate) fn fields_of(schema: &Schema) -> usize {
    usize::try_from(schema.highest_field_id()).unwrap_or(0)
}
