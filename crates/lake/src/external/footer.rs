//! What the footer of a data file says about its rows and columns, in the terms of a manifest.

use std::collections::HashMap;

use forebay_core::{Error, Result};
use iceberg::spec::{PrimitiveType, Schema};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::rules::bad_update;
use crate::value::Value;
use crate::write::footer_datum;

/// The facts of one file.
pub(super) struct FooterFacts {
    pub(super) rows: u64,
    /// Of the top-level columns that hold values, by field id.
    pub(super) columns: HashMap<i32, ColumnFacts>,
}

/// The facts of one column.
#[derive(Default)]
pub(super) struct ColumnFacts {
    /// `None` when the footer does not say.
    pub(super) nulls: Option<u64>,
    pub(super) lowest: Extreme,
    pub(super) highest: Extreme,
}

/// The lowest or the highest value of a column.
#[derive(Default)]
pub(super) enum Extreme {
    /// All values are null.
    #[default]
    Absent,
    Known(Value),
    /// The footer does not say, or cuts it.
    Unknown,
}

impl FooterFacts {
    /// Errors: `Data` `bad_update` when the footer contradicts itself.
    pub(super) fn read(schema: &Schema, footer: &ParquetMetaData) -> Result<Self> {
        let rows = u64::try_from(footer.file_metadata().num_rows()).map_err(|_| contradiction())?;
        let root = footer.file_metadata().schema_descr().root_schema();
        let has_ids = root
            .get_fields()
            .iter()
            .any(|field| field.get_basic_info().has_id());
        let mut facts = Self {
            rows,
            columns: HashMap::new(),
        };
        let mut counted = 0_u64;
        for group in footer.row_groups() {
            let rows = u64::try_from(group.num_rows()).map_err(|_| contradiction())?;
            counted = counted.checked_add(rows).ok_or_else(contradiction)?;
            facts.add_group(schema, group, has_ids)?;
        }
        match counted == rows {
            true => Ok(facts),
            false => Err(contradiction()),
        }
    }

    fn add_group(
        &mut self,
        schema: &Schema,
        group: &RowGroupMetaData,
        has_ids: bool,
    ) -> Result<()> {
        for chunk in group.columns() {
            let column = chunk.column_descr();
            if column.max_rep_level() > 0 {
                continue;
            }
            if chunk.num_values() != group.num_rows() {
                return Err(contradiction());
            }
            let Some((id, kind)) = column_of(schema, chunk, has_ids) else {
                continue;
            };
            let first = ColumnFacts {
                nulls: Some(0),
                ..ColumnFacts::default()
            };
            let known = self.columns.entry(id).or_insert(first);
            known.add(kind, chunk);
        }
        Ok(())
    }
}

/// The top-level column of a chunk.
fn column_of<'s>(
    schema: &'s Schema,
    chunk: &ColumnChunkMetaData,
    has_ids: bool,
) -> Option<(i32, &'s PrimitiveType)> {
    let column = chunk.column_descr();
    let [name] = column.path().parts() else {
        return None;
    };
    let info = column.self_type().get_basic_info();
    let field = match has_ids {
        true if info.has_id() => schema.field_by_id(info.id()),
        true => None,
        false => schema.field_by_name(name),
    }?;
    Some((field.id, field.field_type.as_primitive_type()?))
}

impl ColumnFacts {
    fn add(&mut self, kind: &PrimitiveType, chunk: &ColumnChunkMetaData) {
        let statistics = chunk.statistics();
        let nulls = match chunk.column_descr().max_def_level() {
            0 => Some(0),
            _ => statistics.and_then(Statistics::null_count_opt),
        };
        self.nulls = self.nulls.zip(nulls).and_then(|(a, b)| a.checked_add(b));
        let is_null = nulls.is_some_and(|count| i64::try_from(count) == Ok(chunk.num_values()));
        if is_null {
            return;
        }
        let lowest = statistics.and_then(|found| lowest(kind, chunk, found));
        let highest = statistics.and_then(|found| highest(kind, chunk, found));
        self.lowest.add(lowest, |new, old| new.is_below(old));
        self.highest.add(highest, |new, old| old.is_below(new));
    }
}

impl Extreme {
    fn add(&mut self, found: Option<Value>, is_further: impl Fn(&Value, &Value) -> bool) {
        let before = std::mem::replace(self, Self::Unknown);
        *self = match (before, found) {
            (Self::Absent, Some(value)) => Self::Known(value),
            (Self::Known(old), Some(value)) if is_further(&value, &old) => Self::Known(value),
            (Self::Known(old), Some(_)) => Self::Known(old),
            _ => Self::Unknown,
        };
    }
}

fn lowest(kind: &PrimitiveType, chunk: &ColumnChunkMetaData, found: &Statistics) -> Option<Value> {
    let is_whole = found.min_is_exact() || !is_cut(kind);
    value(
        kind,
        chunk,
        found,
        found.min_bytes_opt().filter(|_| is_whole)?,
    )
}

fn highest(kind: &PrimitiveType, chunk: &ColumnChunkMetaData, found: &Statistics) -> Option<Value> {
    let is_whole = found.max_is_exact() || !is_cut(kind);
    value(
        kind,
        chunk,
        found,
        found.max_bytes_opt().filter(|_| is_whole)?,
    )
}

/// Types whose extremes a writer may cut.
fn is_cut(kind: &PrimitiveType) -> bool {
    matches!(kind, PrimitiveType::String | PrimitiveType::Binary)
}

fn value(
    kind: &PrimitiveType,
    chunk: &ColumnChunkMetaData,
    found: &Statistics,
    bytes: &[u8],
) -> Option<Value> {
    let is_binary = matches!(
        found,
        Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_)
    );
    // Old writers compared bytes as signed numbers.
    if is_binary && found.is_min_max_deprecated() {
        return None;
    }
    match kind {
        PrimitiveType::String => std::str::from_utf8(bytes)
            .ok()
            .map(|text| Value::String(text.to_owned())),
        PrimitiveType::Binary => Some(Value::Binary(bytes.to_vec())),
        PrimitiveType::Uuid | PrimitiveType::Fixed(_) => None,
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz | PrimitiveType::Time
            if !is_in_micros(chunk) =>
        {
            None
        }
        _ => Value::of(footer_datum(kind, found, bytes)?.literal(), kind),
    }
}

fn is_in_micros(chunk: &ColumnChunkMetaData) -> bool {
    match chunk.column_descr().logical_type_ref() {
        Some(LogicalType::Timestamp { unit, .. } | LogicalType::Time { unit, .. }) => {
            matches!(unit, TimeUnit::MICROS)
        }
        _ => false,
    }
}

fn contradiction() -> Error {
    bad_update("the footer of the file contradicts itself")
}
