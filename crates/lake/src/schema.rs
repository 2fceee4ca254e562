//! Schemas between Arrow and Iceberg, and how a table's schema grows.
//!
//! A field keeps its id for life and ids are never used again; names are how incoming columns find their field. Values
//! never lose anything by a type chosen here: integers widen, unsigned 64-bit become `decimal(20, 0)`.

mod arrow;
mod change;
mod chosen;
mod evolve;
mod names;
mod reserved;
mod widen;

pub use arrow::{UUID_MARK, is_uuid};
pub(crate) use arrow::{to_arrow, to_iceberg, with_field_id};
pub(crate) use change::{ColumnChange, changed};
pub use change::{NO_SUCH_COLUMN, check_new_column};
pub use evolve::INCOMPATIBLE_TYPE;
pub(crate) use evolve::evolve;
pub(crate) use names::assign;
pub use names::{TYPE_DEPTH_MAX, data_schema, source_name};
pub(crate) use reserved::check_new_columns;
pub(crate) use widen::{WidenedFields, WidenedSchema, widen};

#[cfg(test)]
mod tests;
