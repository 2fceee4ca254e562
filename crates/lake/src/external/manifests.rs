//! A new manifest, compared with its line in the manifest list: scans leave manifests out by what the line says.

use forebay_core::{Error, Result};
use iceberg::spec::{
    DataContentType, Datum, FieldSummary, Literal, ManifestContentType, ManifestEntryRef,
    ManifestFile, ManifestStatus, PartitionField, PrimitiveType, TableMetadata, Type,
};

use super::rules::bad_update;
use crate::value::Value;

/// Errors: `Data` `bad_update`.
pub(super) fn check_line(
    table: &TableMetadata,
    line: &ManifestFile,
    entries: &[ManifestEntryRef],
) -> Result<()> {
    let is_data = line.content == ManifestContentType::Data;
    let mut contents = entries.iter().map(|entry| entry.content_type());
    if contents.any(|content| (content == DataContentType::Data) != is_data) {
        return Err(bad_update("a manifest mixes data files and delete files"));
    }
    let counts = [
        (
            ManifestStatus::Added,
            line.added_files_count,
            line.added_rows_count,
        ),
        (
            ManifestStatus::Existing,
            line.existing_files_count,
            line.existing_rows_count,
        ),
    ];
    for (status, files, rows) in counts {
        let of_status = entries.iter().filter(|entry| entry.status() == status);
        let found = of_status.clone().count() as u64;
        let found_rows = of_status
            .map(|entry| u128::from(entry.record_count()))
            .sum::<u128>();
        let is_true = files.is_none_or(|files| u64::from(files) == found)
            && rows.is_none_or(|rows| u128::from(rows) == found_rows);
        if !is_true {
            return Err(bad_update(
                "a manifest list is wrong about the files or rows of a manifest",
            ));
        }
    }
    check_summaries(table, line, entries)
}

fn check_summaries(
    table: &TableMetadata,
    line: &ManifestFile,
    entries: &[ManifestEntryRef],
) -> Result<()> {
    let (Some(spec), Some(summaries)) = (
        table.partition_spec_by_id(line.partition_spec_id),
        &line.partitions,
    ) else {
        return Ok(());
    };
    if !summaries.is_empty() && summaries.len() != spec.fields().len() {
        return Err(wrong_summary());
    }
    for (at, (field, summary)) in spec.fields().iter().zip(summaries).enumerate() {
        let Some(check) = SummaryCheck::of(table, field, summary) else {
            continue;
        };
        for entry in entries {
            let value = entry.data_file().partition().fields().get(at);
            if !check.encloses(value.and_then(Option::as_ref)) {
                return Err(wrong_summary());
            }
        }
    }
    Ok(())
}

/// The summary of one partition field.
struct SummaryCheck<'a> {
    summary: &'a FieldSummary,
    kind: PrimitiveType,
    lower: Option<Value>,
    upper: Option<Value>,
}

impl<'a> SummaryCheck<'a> {
    /// `None` for a field whose column is gone, by which nothing is left out.
    fn of(
        table: &TableMetadata,
        field: &PartitionField,
        summary: &'a FieldSummary,
    ) -> Option<Self> {
        let source = table.current_schema().field_by_id(field.source_id)?;
        let Ok(Type::Primitive(kind)) = field.transform.result_type(&source.field_type) else {
            return None;
        };
        let read = |bytes: &[u8]| {
            let datum = Datum::try_from_bytes(bytes, kind.clone()).ok()?;
            Value::of(datum.literal(), &kind)
        };
        let lower = summary.lower_bound.as_ref().and_then(|bytes| read(bytes));
        let lower = lower.and_then(Value::into_lower);
        let upper = summary.upper_bound.as_ref().and_then(|bytes| read(bytes));
        let upper = upper.and_then(Value::into_upper);
        Some(Self {
            summary,
            lower,
            upper,
            kind,
        })
    }

    fn encloses(&self, literal: Option<&Literal>) -> bool {
        let Some(Literal::Primitive(literal)) = literal else {
            return self.summary.contains_null;
        };
        if literal.is_nan() {
            return self.summary.contains_nan != Some(false);
        }
        let Some(value) = Value::of(literal, &self.kind) else {
            return true;
        };
        let is_below = self
            .lower
            .as_ref()
            .is_some_and(|lower| value.is_below(lower));
        let is_above = self
            .upper
            .as_ref()
            .is_some_and(|upper| upper.is_below(&value));
        !is_below && !is_above
    }
}

fn wrong_summary() -> Error {
    bad_update("a manifest list is wrong about the partitions of a manifest")
}
