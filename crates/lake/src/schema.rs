//! Schemas between Arrow and Iceberg, and how a table's schema grows.
//!
//! A field keeps its id for life and ids are never used again; names are how incoming columns find their field. Values
//! never lose anything by a type chosen here: integers widen, unsigned 64-bit become `decimal(20, 0)`.

mod arrow;
mod chosen;
mod evolve;
mod names;
mod widen;

pub use arrow::{UUID_MARK, is_uuid};
pub(crate) use arrow::{to_arrow, to_iceberg, with_field_id};
pub use evolve::INCOMPATIBLE_TYPE;
pub(crate) use evolve::evolve;
pub use names::TYPE_DEPTH_MAX;
pub(crate) use names::{assign, source_name};
pub(crate) use widen::{WidenedFields, WidenedSchema, widen};

#[cfg(test)]
mod tests;
