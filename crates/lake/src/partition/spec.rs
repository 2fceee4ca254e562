//! Partition fields as the table's metadata has them.

use forebay_core::{Error, Result};
use iceberg::spec::{PartitionSpec, Schema, Transform as IcebergTransform, UnboundPartitionSpec};

use super::source::SourcePath;
use super::{PartitionField, Transform};
use crate::error::from_iceberg;

/// The spec of a new table; field ids are given out by the metadata builder.
///
/// Errors: `Config` when a column is not there or its type does not fit the transform.
pub(crate) fn unbound_spec(
    fields: &[PartitionField],
    schema: &Schema,
) -> Result<UnboundPartitionSpec> {
    let mut builder = UnboundPartitionSpec::builder();
    for (i, field) in fields.iter().enumerate() {
        if let Some(other) = fields[..i].iter().find(|other| is_redundant(other, field)) {
            let message =
                format!("partition fields {other} and {field} divide the same column by the same");
            return Err(Error::config("bad_partition", message)
                .with_hint("Keep one of them; of two parts of a time, the finer."));
        }
        let source = source_id(field, schema)?;
        let name = free_name(field, schema);
        builder = builder
            .add_partition_field(source, name, transform(field.transform))
            .map_err(|e| from_iceberg("lay out the table's partitions", e))?;
    }
    Ok(builder.build())
}

/// Iceberg lets a column be divided by time once, and by any other transform once.
fn is_redundant(a: &PartitionField, b: &PartitionField) -> bool {
    let is_time = |field: &PartitionField| {
        use Transform::{Day, Hour, Month, Year};
        matches!(field.transform, Year | Month | Day | Hour)
    };
    a.column == b.column && (a.transform == b.transform || (is_time(a) && is_time(b)))
}

/// A spec's fields in our words; those that have none (void, or of a dropped column) are left out.
pub(crate) fn fields_of(spec: &PartitionSpec, schema: &Schema) -> Vec<PartitionField> {
    let field = |field: &iceberg::spec::PartitionField| {
        let transform = match field.transform {
            IcebergTransform::Identity => Transform::Identity,
            IcebergTransform::Year => Transform::Year,
            IcebergTransform::Month => Transform::Month,
            IcebergTransform::Day => Transform::Day,
            IcebergTransform::Hour => Transform::Hour,
            IcebergTransform::Bucket(n) => Transform::Bucket(n),
            IcebergTransform::Truncate(n) => Transform::Truncate(n),
            IcebergTransform::Void | IcebergTransform::Unknown => return None,
        };
        Some(PartitionField {
            transform,
            column: schema.name_by_field_id(field.source_id)?.to_owned(),
        })
    };
    spec.fields().iter().filter_map(field).collect()
}

fn source_id(field: &PartitionField, schema: &Schema) -> Result<i32> {
    let column = schema.field_by_name(&field.column).ok_or_else(|| {
        let known: Vec<&str> = schema
            .as_struct()
            .fields()
            .iter()
            .map(|f| f.name.as_str())
            .collect();
        Error::config(
            "bad_partition",
            format!("partition field {field} names a column that the table does not have"),
        )
        .with_hint(format!("The table has {}.", known.join(", ")))
    })?;
    let fits = transform(field.transform)
        .result_type(&column.field_type)
        .is_ok();
    if !fits || SourcePath::find(schema, column.id).is_none() {
        let message = format!(
            "partition field {field} does not fit the column, which is {}",
            column.field_type
        );
        return Err(Error::config("bad_partition", message).with_hint(
            "year, month and day need a date or timestamp, hour a timestamp, truncate a whole number, decimal or string, bucket no float; no column inside a list or map fits",
        ));
    }
    Ok(column.id)
}

/// The usual name of a partition field, made free of the table's columns and fit for Avro, whose names manifests are
/// written with: the `iceberg` crate does not see to that.
fn free_name(field: &PartitionField, schema: &Schema) -> String {
    let suffix = match field.transform {
        Transform::Identity => "",
        Transform::Year => "_year",
        Transform::Month => "_month",
        Transform::Day => "_day",
        Transform::Hour => "_hour",
        Transform::Bucket(_) => "_bucket",
        Transform::Truncate(_) => "_trunc",
    };
    let mut name = avro_name(&format!("{}{suffix}", field.column));
    // An identity field of a column is the one that may bear the column's name.
    while schema.field_by_name(&name).is_some() && (!suffix.is_empty() || name != field.column) {
        name.push_str("_part");
    }
    name
}

fn avro_name(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let start = if name.starts_with(|c: char| c.is_ascii_digit()) {
        "_"
    } else {
        ""
    };
    start.chars().chain(name.chars().map(fit)).collect()
}

fn transform(transform: Transform) -> IcebergTransform {
    match transform {
        Transform::Identity => IcebergTransform::Identity,
        Transform::Year => IcebergTransform::Year,
        Transform::Month => IcebergTransform::Month,
        Transform::Day => IcebergTransform::Day,
        Transform::Hour => IcebergTransform::Hour,
        Transform::Bucket(n) => IcebergTransform::Bucket(n),
        Transform::Truncate(n) => IcebergTransform::Truncate(n),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::{ListType, NestedField, PrimitiveType, Type};

    use super::*;

    fn schema() -> Schema {
        let element = NestedField::list_element(6, Type::Primitive(PrimitiveType::String), false);
        let tags = Type::List(ListType::new(Arc::new(element)));
        let fields = [
            NestedField::optional(1, "id", Type::Primitive(PrimitiveType::Long)),
            NestedField::optional(2, "at", Type::Primitive(PrimitiveType::Timestamptz)),
            NestedField::optional(3, "at_day", Type::Primitive(PrimitiveType::String)),
            NestedField::optional(4, "price", Type::Primitive(PrimitiveType::Double)),
            NestedField::optional(5, "tags", tags),
        ];
        Schema::builder()
            .with_fields(fields.map(Arc::new))
            .build()
            .unwrap()
    }

    fn fields(texts: &[&str]) -> Vec<PartitionField> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_spec_comes_back_as_it_was_asked_for() {
        let asked = fields(&["day(at)", "bucket(4, id)", "at_day", "truncate(3, at_day)"]);
        let schema = Arc::new(schema());
        let spec = unbound_spec(&asked, &schema)
            .unwrap()
            .bind(Arc::clone(&schema))
            .unwrap();
        let names: Vec<&str> = spec
            .fields()
            .iter()
            .map(|field| field.name.as_str())
            .collect();
        assert_eq!(
            names,
            ["at_day_part", "id_bucket", "at_day", "at_day_trunc"]
        );
        assert_eq!(fields_of(&spec, &schema), asked);
    }

    #[test]
    fn names_are_fit_for_avro() {
        for (name, fit) in [
            ("region", "region"),
            ("o.x", "o_x"),
            ("2nd place", "_2nd_place"),
            ("größe", "gr__e"),
        ] {
            assert_eq!(avro_name(name), fit);
        }
    }

    #[test]
    fn a_field_that_does_not_fit_is_a_configuration_error() {
        for bad in [
            &["day(id)"][..],
            &["hour(missing)"],
            &["bucket(4, price)"],
            &["tags"],
            &["tags.element"],
            &["id", "id"],
            &["day(at)", "hour(at)"],
        ] {
            let error = unbound_spec(&fields(bad), &schema()).unwrap_err();
            assert_eq!(error.code(), "bad_partition", "{bad:?}: {error}");
        }
    }
}
