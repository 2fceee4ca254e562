//! The lake as the target: rows go into the same commit as everything else.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use forebay_core::{Batch, Origins, Rejected, Result};

use super::{RowTarget, lake_target, misfits};
use crate::engine::commit::CommitUnit;
use crate::engine::steps::Steps;
use crate::platform::iceberg::IcebergTarget;
use crate::spec::PipelineSpec;

pub(super) struct LakeTarget {
    target: IcebergTarget,
    /// The declared columns of the main table.
    declared: Vec<Field>,
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
        misfits::write_rows(&mut unit.tables, steps, &self.target, batch)
    }

    /// Declared columns create the table even before the first record.
    fn end(&mut self, unit: &mut CommitUnit, steps: &mut Steps) -> Result<bool> {
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
