//! Numbers in metadata that later changes count on from: none may be so large, or so small, that they cannot.

use forebay_core::{Error, Result, Timestamp};
use iceberg::spec::{TableMetadata, Transform};

/// Ids of columns, partition fields, schemas, specs and sort orders; those near the end of the range are reserved by the format.
const ID_MAX: i64 = 1_000_000_000;
/// Sequence numbers and row ids.
const COUNTER_MAX: i64 = i64::MAX / 2;
/// How far the clock of another engine may be ahead.
const AHEAD_MAX_MS: i64 = 3_600 * 1_000;

/// Errors: `Data` `bad_update`.
pub(super) fn check_numbers(metadata: &TableMetadata, now: Timestamp) -> Result<()> {
    check_ids(metadata)?;
    check_transforms(metadata)?;
    let rows = i64::try_from(metadata.next_row_id()).unwrap_or(i64::MAX);
    if metadata.last_sequence_number().max(rows) > COUNTER_MAX {
        return Err(bad("a sequence number or row id is too large"));
    }
    check_times(metadata, now)
}

fn check_ids(metadata: &TableMetadata) -> Result<()> {
    let schemas = metadata.schemas_iter();
    let schemas =
        schemas.map(|schema| i64::from(schema.schema_id().max(schema.highest_field_id())));
    let specs = metadata.partition_specs_iter();
    let specs = specs.map(|spec| i64::from(spec.spec_id()));
    let orders = metadata.sort_orders_iter().map(|order| order.order_id);
    let last = [
        i64::from(metadata.last_column_id()),
        i64::from(metadata.last_partition_id()),
    ];
    let ids = schemas.chain(specs).chain(orders).chain(last);
    match ids.max() {
        Some(id) if id > ID_MAX => Err(bad(&format!("the id {id} is larger than {ID_MAX}"))),
        _ => Ok(()),
    }
}

/// Rows are divided by these widths.
fn check_transforms(metadata: &TableMetadata) -> Result<()> {
    let specs = metadata.partition_specs_iter();
    let specs = specs.flat_map(|spec| spec.fields().iter().map(|field| &field.transform));
    let orders = metadata.sort_orders_iter();
    let orders = orders.flat_map(|order| order.fields.iter().map(|field| &field.transform));
    for transform in specs.chain(orders) {
        if let Transform::Bucket(width) | Transform::Truncate(width) = transform
            && !(1..=i32::MAX.cast_unsigned()).contains(width)
        {
            return Err(bad(&format!(
                "the transform {transform} has no valid width"
            )));
        }
    }
    Ok(())
}

fn check_times(metadata: &TableMetadata, now: Timestamp) -> Result<()> {
    let latest = now.millis().saturating_add(AHEAD_MAX_MS);
    let snapshots = metadata.snapshots().map(|snapshot| snapshot.timestamp_ms());
    let logged = metadata.history().iter().map(|entry| entry.timestamp_ms());
    let times = snapshots.chain(logged).chain([metadata.last_updated_ms()]);
    match times.max() {
        Some(time) if time > latest => Err(bad("it is dated more than an hour ahead")),
        _ => Ok(()),
    }
}

fn bad(what: &str) -> Error {
    Error::data("bad_update", format!("the metadata cannot be used: {what}"))
}
