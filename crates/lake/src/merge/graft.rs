//! Data files that the source appended, for the table as the target has it.
//!
//! A file is named by both tables then: it belongs to no branch, and stays as long as one of them reaches it.

use std::collections::HashSet;

use forebay_core::{RefName, Result};
use iceberg::spec::{FormatVersion, Schema};

use super::properties::merged_properties;
use crate::scan::{AddedFile, TableDelta};
use crate::{DataFile, Draft, Lake, Table};

pub(super) struct Graft<'a> {
    pub(super) base: Option<&'a Table>,
    pub(super) source: &'a Table,
    pub(super) target: &'a Table,
}

pub(super) enum PreparedGraft {
    Draft(Box<Draft>),
    /// With the reason.
    Refused(String),
}

/// The columns of the merged table.
enum MergedSchema {
    OfTarget,
    OfSource,
    Refused(String),
}

impl Graft<'_> {
    pub(super) async fn prepare(
        &self,
        lake: &Lake,
        ours: &TableDelta,
        names: (&RefName, &RefName),
    ) -> Result<PreparedGraft> {
        let refused = |reason: String| Ok(PreparedGraft::Refused(reason));
        let schema = match self.schema(names) {
            MergedSchema::OfTarget => None,
            MergedSchema::OfSource => Some(Schema::clone(self.source.metadata().current_schema())),
            MergedSchema::Refused(reason) => return refused(reason),
        };
        if let Some(reason) = self.other_layout(ours, names) {
            return refused(reason);
        }
        if let Some(reason) = self.landed_already(ours, names).await? {
            return refused(reason);
        }
        let properties = match merged_properties(self.base, self.source, self.target) {
            Ok(properties) => properties,
            Err(key) => {
                let (source, target) = names;
                return refused(format!(
                    "its property `{key}` was changed on {source} and on {target}"
                ));
            }
        };
        let files = ours.added.iter().map(|file| file.data_file(self.source));
        let files: Vec<DataFile> = files.collect::<Result<_>>()?;
        let mut draft = lake.draft_of(self.target);
        draft.graft(schema, files, properties)?;
        Ok(PreparedGraft::Draft(Box::new(draft)))
    }

    fn schema(&self, (source, target): (&RefName, &RefName)) -> MergedSchema {
        let current = |table: &Table| Schema::clone(table.metadata().current_schema());
        let (ours, theirs) = (current(self.source), current(self.target));
        let Some(base) = self.base.map(current) else {
            return match same_columns(&ours, &theirs) {
                true => MergedSchema::OfTarget,
                false => MergedSchema::Refused(format!(
                    "created on {source} and on {target}, with other columns"
                )),
            };
        };
        if same_columns(&ours, &base) || same_columns(&ours, &theirs) {
            return match lost_column(&ours, &theirs) {
                None => MergedSchema::OfTarget,
                Some(column) => MergedSchema::Refused(format!(
                    "{source} added rows with the column `{column}`, which {target} dropped, changed or made required"
                )),
            };
        }
        match same_columns(&theirs, &base) {
            true => MergedSchema::OfSource,
            false => {
                MergedSchema::Refused(format!("{source} and {target} both changed its columns"))
            }
        }
    }

    /// Files are read by the partitioning that they were written by, and rows of version 3 have numbers of their table.
    fn other_layout(
        &self,
        ours: &TableDelta,
        (source, target): (&RefName, &RefName),
    ) -> Option<String> {
        let (from, into) = (self.source.metadata(), self.target.metadata());
        if [from, into]
            .iter()
            .any(|one| one.format_version() == FormatVersion::V3)
            && !ours.added.is_empty()
        {
            return Some("both added rows, and its format version 3 numbers them".to_owned());
        }
        let specs: HashSet<i32> = ours.added.iter().map(|file| file.spec_id()).collect();
        let is_known = |id: &i32| {
            let (ours, theirs) = (
                from.partition_spec_by_id(*id),
                into.partition_spec_by_id(*id),
            );
            ours.is_some() && ours == theirs
        };
        let same_default = from.default_partition_spec() == into.default_partition_spec()
            || self.is_default_kept();
        (!same_default || !specs.iter().all(is_known))
            .then(|| format!("its partitioning was changed on {source}, and its rows on {target}"))
    }

    /// The source did not change the partitioning of new files.
    fn is_default_kept(&self) -> bool {
        let spec = |table: &Table| table.metadata().default_partition_spec_id();
        self.base
            .is_some_and(|base| spec(base) == spec(self.source))
    }

    /// Rows that the target took over in another way, such as a rollback to a state of the source, must not come again.
    async fn landed_already(
        &self,
        ours: &TableDelta,
        (source, target): (&RefName, &RefName),
    ) -> Result<Option<String>> {
        let metadata = self.target.metadata();
        let mut snapshots = ours.added.iter().filter_map(AddedFile::snapshot);
        let mut is_known = snapshots.any(|id| metadata.snapshot_by_id(id).is_some());
        if !is_known && !ours.added.is_empty() {
            let theirs = TableDelta::between(self.base, Some(self.target)).await?;
            let files: HashSet<&str> = theirs.added.iter().map(|file| file.location()).collect();
            is_known = ours
                .added
                .iter()
                .any(|file| files.contains(file.location()));
        }
        Ok(is_known.then(|| {
            format!("{target} has rows of {source} already that did not come with a merge")
        }))
    }
}

fn same_columns(a: &Schema, b: &Schema) -> bool {
    let keys = |schema: &Schema| -> HashSet<i32> { schema.identifier_field_ids().collect() };
    a.as_struct() == b.as_struct() && keys(a) == keys(b)
}

/// A column that files of `written` have and whose values `current` would not show as they are.
fn lost_column(written: &Schema, current: &Schema) -> Option<String> {
    let ids = 1..=written.highest_field_id().max(current.highest_field_id());
    let mut lost = ids.filter(
        |id| match (written.field_by_id(*id), current.field_by_id(*id)) {
            (None, None) => false,
            (None, Some(added)) => added.required,
            (Some(_), None) => true,
            (Some(ours), Some(theirs)) => theirs.required && !ours.required,
        },
    );
    let id = lost.next()?;
    let name = written
        .name_by_field_id(id)
        .or_else(|| current.name_by_field_id(id));
    name.map(str::to_owned)
}
