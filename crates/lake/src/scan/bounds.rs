//! The statistics of manifests and files, as [`Bounds`].
//!
//! A bound is used only when it is certain: floats need a count of NaNs that is zero (NaN is beyond every bound in the
//! order that queries compare in), types without a [`Value`] give nothing.

use std::collections::HashMap;

use iceberg::spec::{
    DataFile, Datum, FieldSummary, Literal, ManifestFile, PartitionField, PartitionSpec,
    PrimitiveLiteral, PrimitiveType, Schema, Transform, Type,
};

use super::Bounds;
use crate::partition::invert::{Range, range};
use crate::value::Value;

/// Of a whole manifest, from the summary of its partitions.
pub(super) fn of_manifest(
    manifest: &ManifestFile,
    spec: Option<&PartitionSpec>,
    schema: &Schema,
) -> Bounds {
    let rows = manifest
        .added_rows_count
        .unwrap_or(0)
        .saturating_add(manifest.existing_rows_count.unwrap_or(0));
    let mut bounds = Bounds {
        rows,
        ..Bounds::default()
    };
    let (Some(spec), Some(summaries)) = (spec, &manifest.partitions) else {
        return bounds;
    };
    for (field, summary) in spec.fields().iter().zip(summaries) {
        let Some(source) = primitive(schema, field.source_id) else {
            continue;
        };
        if let Some(range) = summary_range(field, summary, source) {
            narrow(&mut bounds, field.source_id, range);
        }
        if field.transform == Transform::Identity && !summary.contains_null && rows > 0 {
            bounds.nulls.insert(field.source_id, 0);
        }
    }
    bounds
}

fn summary_range(
    field: &PartitionField,
    summary: &FieldSummary,
    source: &PrimitiveType,
) -> Option<Range> {
    if is_float(source) && summary.contains_nan != Some(false) {
        return None;
    }
    let Ok(Type::Primitive(kind)) = field
        .transform
        .result_type(&Type::Primitive(source.clone()))
    else {
        return None;
    };
    let read = |bytes: &[u8]| Datum::try_from_bytes(bytes, kind.clone()).ok();
    let low = read(summary.lower_bound.as_ref()?)?;
    let high = read(summary.upper_bound.as_ref()?)?;
    Some(range(
        field.transform,
        low.literal(),
        high.literal(),
        source,
    ))
}

/// Of one data file, from its column statistics and its partition.
pub(super) fn of_file(file: &DataFile, spec: Option<&PartitionSpec>, schema: &Schema) -> Bounds {
    // Of a column of columns, writers mean different things by it.
    let nulls = file.null_value_counts().iter();
    let nulls = nulls.filter(|(id, _)| primitive(schema, **id).is_some());
    let mut bounds = Bounds {
        rows: file.record_count(),
        nulls: nulls.map(|(id, count)| (*id, *count)).collect(),
        ..Bounds::default()
    };
    let known = |id: &i32| {
        let kind = primitive(schema, *id).filter(|kind| has_order(kind))?;
        let no_nan = !is_float(kind) || file.nan_value_counts().get(id) == Some(&0);
        no_nan.then_some(kind)
    };
    for (id, datum) in file.lower_bounds() {
        let value = known(id)
            .and_then(|kind| Value::of(datum.literal(), kind))
            .and_then(Value::into_lower);
        value.map(|value| bounds.lower.insert(*id, value));
    }
    for (id, datum) in file.upper_bounds() {
        let value = known(id)
            .and_then(|kind| Value::of(datum.literal(), kind))
            .and_then(Value::into_upper);
        value.map(|value| bounds.upper.insert(*id, value));
    }
    let lower = bounds.lower.keys().copied();
    bounds.measured = lower.filter(|id| bounds.upper.contains_key(id)).collect();
    let fields = spec.map(PartitionSpec::fields).unwrap_or_default();
    for (field, literal) in fields.iter().zip(file.partition().fields()) {
        add_partition(&mut bounds, field, literal.as_ref(), schema);
    }
    bounds
}

fn add_partition(
    bounds: &mut Bounds,
    field: &PartitionField,
    literal: Option<&Literal>,
    schema: &Schema,
) {
    let Some(source) = primitive(schema, field.source_id) else {
        return;
    };
    match literal {
        None if field.transform == Transform::Identity => {
            bounds.nulls.insert(field.source_id, bounds.rows);
        }
        Some(Literal::Primitive(value)) => {
            if field.transform == Transform::Identity && !value.is_nan() {
                bounds.nulls.insert(field.source_id, 0);
            }
            narrow(
                bounds,
                field.source_id,
                partition_range(field, value, source),
            );
        }
        _ => {}
    }
}

fn partition_range(
    field: &PartitionField,
    value: &PrimitiveLiteral,
    source: &PrimitiveType,
) -> Range {
    if has_order(source) {
        range(field.transform, value, value, source)
    } else {
        Range::default()
    }
}

/// Partition values that replace the column itself; a file may lack such a column (tables migrated from Hive).
pub(super) fn identity_values(
    file: &DataFile,
    spec: Option<&PartitionSpec>,
    schema: &Schema,
) -> HashMap<i32, Value> {
    let fields = spec.map(PartitionSpec::fields).unwrap_or_default();
    let identity = fields
        .iter()
        .zip(file.partition().fields())
        .filter(|(field, _)| field.transform == Transform::Identity);
    let value = |(field, literal): (&PartitionField, &Option<Literal>)| match literal {
        Some(Literal::Primitive(value)) => Some((
            field.source_id,
            Value::of(value, primitive(schema, field.source_id)?)?,
        )),
        _ => None,
    };
    identity.filter_map(value).collect()
}

fn narrow(bounds: &mut Bounds, id: i32, range: Range) {
    if let Some(lower) = range.lower
        && bounds.lower.get(&id).is_none_or(|old| old.is_below(&lower))
    {
        bounds.lower.insert(id, lower);
    }
    if let Some(upper) = range.upper
        && bounds.upper.get(&id).is_none_or(|old| upper.is_below(old))
    {
        bounds.upper.insert(id, upper);
    }
}

fn primitive(schema: &Schema, id: i32) -> Option<&PrimitiveType> {
    schema.field_by_id(id)?.field_type.as_primitive_type()
}

fn is_float(kind: &PrimitiveType) -> bool {
    matches!(kind, PrimitiveType::Float | PrimitiveType::Double)
}

/// Whether every writer agrees on the order of the type's bounds.
fn has_order(kind: &PrimitiveType) -> bool {
    !matches!(
        kind,
        PrimitiveType::Uuid | PrimitiveType::Fixed(_) | PrimitiveType::Time
    )
}
