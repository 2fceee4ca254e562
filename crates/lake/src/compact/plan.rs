//! Which files of a table become one.

use std::collections::{HashMap, HashSet};

use forebay_core::{Error, Result};
use iceberg::spec::{FormatVersion, Transform};
use object_store::path::Path;

use super::CompactionRules;
use crate::Table;
use crate::scan::{PartitionKey, ScanFile, delete_counts};

/// Groups of files of a table, each to become one file, and partitions whose delete files become one.
#[derive(Debug, Default)]
pub(super) struct CompactionPlan {
    pub(super) groups: Vec<Vec<ScanFile>>,
    pub(super) partitions: HashSet<PartitionKey>,
    /// Columns that rows are sorted by.
    pub(super) sort: Vec<String>,
}

/// Errors: `Unsupported` for tables that are not compacted: `compact_unsupported`, equality deletes.
pub(super) async fn plan(table: &Table, rules: &CompactionRules) -> Result<CompactionPlan> {
    let version = table.metadata().format_version();
    if version != FormatVersion::V2 {
        let what = format!("tables of version {version} of the Iceberg format are not compacted");
        return Err(Error::unsupported("compact_unsupported", what));
    }
    let target = rules.target_bytes(table)?;
    let folder = table.storage().path(table.metadata().location())?;
    let mut files = table.scan(None).await?.files;
    // Files elsewhere are not only the table's: the raw zone's index lies beside the objects that it is of.
    files.retain(|file| file.path.prefix_matches(&folder));
    let mut plan = CompactionPlan {
        sort: sort_columns(table, rules)?,
        ..CompactionPlan::default()
    };
    for files in by_partition(files) {
        plan.groups.extend(groups(files, rules, target));
    }
    let counts = delete_counts(table).await?.into_iter();
    let many = counts.filter(|(_, count)| *count >= rules.delete_files_min.max(2));
    plan.partitions = many.map(|(partition, _)| partition).collect();
    Ok(plan)
}

/// Errors: `Config` `no_sort_column`.
fn sort_columns(table: &Table, rules: &CompactionRules) -> Result<Vec<String>> {
    let schema = table.metadata().current_schema();
    if rules.sort.is_empty() {
        let order = table.metadata().default_sort_order();
        let identity = order.fields.iter();
        let identity = identity.filter(|field| field.transform == Transform::Identity);
        let top = |id| {
            schema
                .as_struct()
                .field_by_id(id)
                .map(|field| field.name.clone())
        };
        return Ok(identity.filter_map(|field| top(field.source_id)).collect());
    }
    let arrow = table.schema();
    match rules
        .sort
        .iter()
        .find(|name| arrow.column_with_name(name).is_none())
    {
        None => Ok(rules.sort.clone()),
        Some(name) => {
            let what = format!("{} has no column `{name}` to sort by", table.name());
            Err(Error::config("no_sort_column", what)
                .with_hint(format!("run `forebay tables describe {}`", table.name())))
        }
    }
}

/// Partitions in the order of their names, so that a plan is the same each time.
fn by_partition(files: Vec<ScanFile>) -> Vec<Vec<ScanFile>> {
    let mut partitions: HashMap<PartitionKey, Vec<ScanFile>> = HashMap::new();
    for file in files {
        let key = (file.spec_id, file.partition_values.clone());
        partitions.entry(key).or_default().push(file);
    }
    let mut partitions: Vec<_> = partitions.into_values().collect();
    partitions
        .sort_by(|a, b| (a[0].spec_id, &a[0].partition).cmp(&(b[0].spec_id, &b[0].partition)));
    partitions
}

/// Packs the files of one partition that are worth it, the smallest first.
fn groups(files: Vec<ScanFile>, rules: &CompactionRules, target: u64) -> Vec<Vec<ScanFile>> {
    let mut files: Vec<ScanFile> = files
        .into_iter()
        .filter(|file| is_candidate(file, rules, target))
        .collect();
    files.sort_by(|a, b| (live_bytes(a), &a.path).cmp(&(live_bytes(b), &b.path)));
    let mut groups = Vec::new();
    let mut group: Vec<ScanFile> = Vec::new();
    let mut bytes = 0;
    for file in files {
        let size = live_bytes(&file);
        let fits = bytes + size <= target && rules.is_alike(size, bytes);
        if !group.is_empty() && !fits {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes += size;
        group.push(file);
    }
    groups.push(group);
    groups.retain(|group| is_worth_it(group, rules));
    for group in &mut groups {
        // As readers of changes get them.
        group.sort_by(|a, b| (a.sequence, &a.path).cmp(&(b.sequence, &b.path)));
    }
    groups
}

fn is_candidate(file: &ScanFile, rules: &CompactionRules, target: u64) -> bool {
    !rules.sort.is_empty()
        || CompactionRules::is_small(file.bytes, target)
        || has_many_deleted(file, rules)
}

fn is_worth_it(group: &[ScanFile], rules: &CompactionRules) -> bool {
    let is_full = group.len() >= rules.files_min.max(2);
    let is_sorted = !rules.sort.is_empty() && !group.is_empty();
    is_full || is_sorted || group.iter().any(|file| has_many_deleted(file, rules))
}

fn has_many_deleted(file: &ScanFile, rules: &CompactionRules) -> bool {
    let deleted = deleted_rows(file);
    deleted > 0 && deleted.saturating_mul(100) >= file.rows * rules.deleted_percent_min
}

pub(super) fn deleted_rows(file: &ScanFile) -> u64 {
    file.deleted.as_ref().map_or(0, |rows| rows.len())
}

/// Bytes of the rows that are not deleted, about.
pub(super) fn live_bytes(file: &ScanFile) -> u64 {
    let live = file.rows.saturating_sub(deleted_rows(file));
    let bytes = u128::from(file.bytes) * u128::from(live) / u128::from(file.rows.max(1));
    u64::try_from(bytes).unwrap_or(file.bytes)
}

/// The partition of a group.
pub(super) fn partition(group: &[ScanFile]) -> Option<PartitionKey> {
    let first = group.first()?;
    Some((first.spec_id, first.partition_values.clone()))
}

/// The paths of a group.
pub(super) fn paths(group: &[ScanFile]) -> impl Iterator<Item = &Path> {
    group.iter().map(|file| &file.path)
}
