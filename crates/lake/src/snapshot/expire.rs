//! Snapshots that the newest metadata of a table stops naming.
//!
//! Every commit writes the whole metadata file again, so its size must not grow. Nothing is deleted here: older
//! states stay readable through the catalog's log, whose metadata files still name them, until `clean` takes them. Only
//! other engines, which travel by snapshot id in the newest metadata, see fewer.

use std::collections::HashSet;

use forebay_core::Timestamp;
use iceberg::spec::TableMetadata;

use crate::field_count::fields_of;

/// The newest snapshots, which stay at any age, and the table property that overrides the number.
const KEPT_MIN: usize = 20;
const KEPT_MIN_PROPERTY: &str = "history.expire.min-snapshots-to-keep";
/// Older snapshots expire, and the table property that overrides the age.
const AGE_MAX_MS: i64 = 5 * 24 * 3_600 * 1_000;
const AGE_MAX_PROPERTY: &str = "history.expire.max-snapshot-age-ms";
/// Snapshots of any age, and the table property that overrides the number. About 700 bytes each in a file that every
/// commit writes.
const KEPT_MAX: usize = 50;
const KEPT_MAX_PROPERTY: &str = "forebay.history.max-snapshots";
/// Snapshots that wait to be dropped many at once.
const SLACK: usize = 10;
/// Fields of all schemas that the metadata names, about 100 bytes each in the file and more when it is parsed. Snapshots before those
/// whose schemas have as many go, whatever their number.
const SCHEMA_FIELDS_MAX: usize = 10_000;

/// The snapshots that expire when one more is added: those beyond the newest that are too old or too many. Snapshots of
/// the table's own branches and tags stay.
pub(crate) fn outgrown(head: &TableMetadata, now: Timestamp) -> Vec<i64> {
    let limits = Limits::of(head);
    let mut snapshots: Vec<(i64, i64, i64)> = head
        .snapshots()
        .map(|s| (s.sequence_number(), s.snapshot_id(), s.timestamp_ms()))
        .collect();
    snapshots.sort_unstable_by(|a, b| b.cmp(a));
    let oldest_ms = now.millis().saturating_sub(limits.age_max_ms);
    let affordable = affordable_snapshots(head, &snapshots);
    let is_over = |(nth, (_, _, at)): &(usize, (i64, i64, i64))| {
        *nth >= limits.kept_max.min(affordable) || (*nth >= limits.kept_min && *at < oldest_ms)
    };
    let over: Vec<i64> = snapshots
        .into_iter()
        .enumerate()
        .filter(is_over)
        .map(|(_, (_, id, _))| id)
        .collect();
    if over.len() < SLACK && affordable >= head.snapshots().len() {
        return Vec::new();
    }
    let named = named_by_refs(head);
    over.into_iter().filter(|id| !named.contains(id)).collect()
}

/// How many of the newest snapshots may stay so that their schemas have not too many fields; one at least.
fn affordable_snapshots(head: &TableMetadata, newest_first: &[(i64, i64, i64)]) -> usize {
    let current = head.current_schema();
    let mut schemas = HashSet::from([current.schema_id()]);
    let mut fields = fields_of(current);
    for (nth, (_, id, _)) in newest_first.iter().enumerate() {
        let snapshot = head.snapshot_by_id(*id);
        let schema = snapshot.and_then(|snapshot| head.schema_by_id(snapshot.schema_id()?));
        if let Some(schema) = schema.filter(|schema| schemas.insert(schema.schema_id())) {
            fields += fields_of(schema);
        }
        if fields > SCHEMA_FIELDS_MAX {
            return nth.max(1);
        }
    }
    newest_first.len()
}

/// Schemas that are unreferenced once these snapshots have expired.
pub(crate) fn unused_schemas(head: &TableMetadata, gone: &[i64]) -> Vec<i32> {
    let kept = head.snapshots();
    let kept = kept.filter(|snapshot| !gone.contains(&snapshot.snapshot_id()));
    let mut used: HashSet<i32> = kept.filter_map(|snapshot| snapshot.schema_id()).collect();
    used.insert(head.current_schema_id());
    let ids = head.schemas_iter().map(|schema| schema.schema_id());
    ids.filter(|id| !used.contains(id)).collect()
}

struct Limits {
    kept_min: usize,
    kept_max: usize,
    age_max_ms: i64,
}

impl Limits {
    fn of(head: &TableMetadata) -> Self {
        let properties = head.properties();
        let number = |key: &str| properties.get(key)?.parse::<usize>().ok();
        let kept_min = number(KEPT_MIN_PROPERTY).unwrap_or(KEPT_MIN).max(1);
        let age = properties.get(AGE_MAX_PROPERTY);
        Self {
            kept_min,
            kept_max: number(KEPT_MAX_PROPERTY).unwrap_or(KEPT_MAX).max(kept_min),
            age_max_ms: age.and_then(|age| age.parse().ok()).unwrap_or(AGE_MAX_MS),
        }
    }
}

/// The snapshots of the table's own branches and tags, and as many ancestors as a branch asks for. `iceberg` shows the refs
/// of a table only in its JSON.
pub(crate) fn named_by_refs(head: &TableMetadata) -> HashSet<i64> {
    let value = serde_json::to_value(head).unwrap_or_default();
    let refs = value["refs"].as_object();
    let mut named = HashSet::new();
    for reference in refs.into_iter().flat_map(|refs| refs.values()) {
        let ancestors = reference["min-snapshots-to-keep"].as_u64().unwrap_or(1);
        let mut next = reference["snapshot-id"].as_i64();
        for _ in 0..ancestors.max(1) {
            let Some(snapshot) = next.and_then(|id| head.snapshot_by_id(id)) else {
                break;
            };
            named.insert(snapshot.snapshot_id());
            next = snapshot.parent_snapshot_id();
        }
    }
    named
}
