//! The statistics of a data file in a manifest, compared with the file's own footer.
//!
//! Queries leave files out by bounds and null counts, and answer `count`, `min` and `max` from them. So a bound must enclose the
//! values, and be one of them where it is such an answer; counts must be equal. What a footer does not say is accepted only
//! where no answer is made of it. The values themselves are not read: a footer that lies is a damaged file.

use forebay_core::{Error, Result};
use iceberg::spec::{DataFile, PartitionSpec, PrimitiveType, TableMetadata, Transform};

use super::footer::{ColumnFacts, Extreme, FooterFacts};
use super::rules::bad_update;
use crate::scan::{Bounds, Value, entry_bounds};

/// The rows of a file of any content.
///
/// Errors: `Data` `bad_update`.
pub(super) fn check_rows(file: &DataFile, facts: &FooterFacts) -> Result<()> {
    match file.record_count() == facts.rows {
        true => Ok(()),
        false => {
            let what = format!("it has {} rows, not {}", facts.rows, file.record_count());
            Err(untrue(&what))
        }
    }
}

/// Errors: `Data` `bad_update`.
pub(super) fn check_statistics(
    table: &TableMetadata,
    file: &DataFile,
    spec_id: i32,
    facts: &FooterFacts,
) -> Result<()> {
    let schema = table.current_schema();
    let spec = table.partition_spec_by_id(spec_id);
    let bounds = entry_bounds(file, spec_id, table);
    for field in schema.as_struct().fields() {
        let Some(kind) = field.field_type.as_primitive_type() else {
            continue;
        };
        let check = ColumnCheck {
            name: &field.name,
            id: field.id,
            kind,
            bounds: &bounds,
            is_identity: spec.is_some_and(|spec| is_identity(spec, field.id)),
        };
        check.run(facts.columns.get(&field.id))?;
    }
    check_split_offsets(file)
}

fn is_identity(spec: &PartitionSpec, id: i32) -> bool {
    let fields = spec.fields().iter();
    let mut own = fields.filter(|field| field.source_id == id);
    own.any(|field| field.transform == Transform::Identity)
}

struct ColumnCheck<'a> {
    name: &'a str,
    id: i32,
    kind: &'a PrimitiveType,
    bounds: &'a Bounds,
    is_identity: bool,
}

impl ColumnCheck<'_> {
    fn run(&self, facts: Option<&ColumnFacts>) -> Result<()> {
        let nulls = self.bounds.nulls.get(&self.id).copied();
        let Some(facts) = facts else {
            // A partition replaces a column that its files lack.
            return match nulls {
                Some(nulls) if nulls != self.bounds.rows && !self.is_identity => {
                    Err(self.untrue("the file does not have it"))
                }
                _ => Ok(()),
            };
        };
        match (nulls, facts.nulls) {
            (Some(claimed), Some(found)) if claimed != found => {
                let what = format!("it has {found} nulls, not {claimed}");
                return Err(self.untrue(&what));
            }
            (Some(_), None) => return Err(self.unconfirmed("null count")),
            _ => {}
        }
        let is_lower_wrong = |bound: &Value, found: &Value| found.is_below(bound);
        let is_upper_wrong = |bound: &Value, found: &Value| bound.is_below(found);
        self.bound(
            self.bounds.lower.get(&self.id),
            &facts.lowest,
            is_lower_wrong,
        )?;
        self.bound(
            self.bounds.upper.get(&self.id),
            &facts.highest,
            is_upper_wrong,
        )
    }

    fn bound(
        &self,
        bound: Option<&Value>,
        found: &Extreme,
        is_wrong: impl Fn(&Value, &Value) -> bool,
    ) -> Result<()> {
        let Some(bound) = bound else {
            return Ok(());
        };
        let is_answer = self.is_answer();
        match found {
            Extreme::Known(found) if is_wrong(bound, found) => {
                Err(self.untrue("a bound leaves values out"))
            }
            Extreme::Known(found) if is_answer && !self.is_identity && bound != found => {
                Err(self.untrue("a bound is not one of its values"))
            }
            Extreme::Absent if is_answer => Err(self.untrue("it has bounds and no values")),
            Extreme::Unknown if is_answer || self.is_identity => Err(self.unconfirmed("bounds")),
            _ => Ok(()),
        }
    }

    /// Whether `min` and `max` are answered from the bounds.
    fn is_answer(&self) -> bool {
        let is_exact = matches!(
            self.kind,
            PrimitiveType::Boolean
                | PrimitiveType::Int
                | PrimitiveType::Long
                | PrimitiveType::Date
                | PrimitiveType::Timestamp
                | PrimitiveType::Timestamptz
        );
        is_exact && self.bounds.measured.contains(&self.id)
    }

    fn untrue(&self, why: &str) -> Error {
        untrue(&format!("column `{}`: {why}", self.name))
    }

    fn unconfirmed(&self, what: &str) -> Error {
        let name = self.name;
        let what = format!(
            "the manifest has a {what} of column `{name}`, and the footer of the file does not confirm it"
        );
        bad_update(what).with_hint("write the file with statistics, or the manifest without")
    }
}

/// Other engines divide a file at these places.
fn check_split_offsets(file: &DataFile) -> Result<()> {
    let offsets = file.split_offsets().unwrap_or_default();
    let size = i64::try_from(file.file_size_in_bytes()).unwrap_or(i64::MAX);
    let is_inside = offsets.iter().all(|offset| (0..=size).contains(offset));
    match is_inside && offsets.is_sorted() {
        true => Ok(()),
        false => Err(untrue("its split offsets are not ascending places in it")),
    }
}

pub(super) fn untrue(why: &str) -> Error {
    bad_update(format!("a manifest is wrong about its file: {why}"))
}
