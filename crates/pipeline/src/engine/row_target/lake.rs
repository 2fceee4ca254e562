//! The lake as the target: rows go into the same commit as everything else.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use forebay_core::{Batch, Origins, Position, Rejected, Result};

use super::{RowTarget, lake_target, misfits};
use crate::engine::commit::CommitUnit;
use crate::engine::commit::tables::Tables;
use crate::engine::steps::Steps;
use crate::platform::iceberg::IcebergTarget;
use crate::spec::PipelineSpec;

pub(super) struct LakeTarget {
    target: IcebergTarget,
    /// The declared columns of the main table.
    declared: Vec<Field>,
    /// Rows that replace all others at the end of the run.
    replacing: Replacing,
}

/// Rows of a run that are in no commit yet. Their files are deleted when the run does not come to its end.
#[derive(Default)]
struct Replacing(Option<Tables>);

impl Replacing {
    fn tables(&mut self, unit: &CommitUnit) -> &mut Tables {
        self.0.get_or_insert_with(|| unit.tables.apart())
    }
}

impl Drop for Replacing {
    fn drop(&mut self) {
        if let Some(tables) = &mut self.0 {
            tables.discard();
        }
    }
}

impl LakeTarget {
    pub(super) fn new(spec: &PipelineSpec) -> Result<Self> {
        // A name with the separator may lead into a list or an object.
        let columns = spec
            .schema
            .declared_columns()
            .filter(|(name, _)| !name.contains("__"));
        Ok(Self {
            target: lake_target(spec)?,
            declared: columns
                .map(|(name, kind)| Field::new(name, kind.arrow(), true))
                .collect(),
            replacing: Replacing::default(),
        })
    }
}

impl RowTarget for LakeTarget {
    fn write(
        &mut self,
        unit: &mut CommitUnit,
        steps: &mut Steps,
        batch: Batch,
    ) -> Result<Vec<Rejected>> {
        if batch.records.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let tables = match self.target.replaces() {
            true => self.replacing.tables(unit),
            false => &mut unit.tables,
        };
        misfits::write_rows(tables, steps, &self.target, batch)
    }

    fn create(&mut self, unit: &mut CommitUnit, records: &RecordBatch) -> Result<()> {
        if records.num_columns() == 0 {
            return Ok(());
        }
        let none = misfits::stored(&self.target, records)?;
        let tables = match self.target.replaces() {
            true => self.replacing.tables(unit),
            false => &mut unit.tables,
        };
        tables.create(&self.target, &none.schema()).map(drop)
    }

    fn note_read(&mut self, unit: &mut CommitUnit, position: &Position) {
        unit.tables.note_read(position);
    }

    fn set_noted(&mut self, unit: &mut CommitUnit) -> Result<()> {
        unit.tables.set_noted(&self.target)
    }

    /// Rows that replace others come, and declared columns create the table even before the first record.
    fn end(&mut self, unit: &mut CommitUnit, steps: &mut Steps) -> Result<bool> {
        if self.target.replaces() {
            let mut tables = std::mem::take(&mut self.replacing);
            let apart = tables.tables(unit);
            apart.take_noted(&mut unit.tables);
            let drafts = apart.replace(&self.target)?;
            unit.tables.changes.append(&mut tables.tables(unit).changes);
            let has_changes = !drafts.is_empty();
            unit.add_drafts(drafts);
            return Ok(has_changes);
        }
        if self.declared.is_empty() {
            return Ok(false);
        }
        let schema = Arc::new(Schema::new(self.declared.clone()));
        let none = Batch::main(RecordBatch::new_empty(schema), Some(Origins::default()));
        let applied = steps.apply(none);
        // A transform may need a column that only records bring.
        let Ok((none, _)) = unit.tables.runtime().clone().block_on(applied) else {
            return Ok(false);
        };
        let none = misfits::stored(&self.target, &none.records)?;
        unit.tables.create(&self.target, &none.schema())
    }
}
