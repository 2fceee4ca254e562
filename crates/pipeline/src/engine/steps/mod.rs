//! Contract rules and transforms, in order, and their effect on child tables.
//!
//! Transforms see main rows only. A record is rejected as a whole: when a step has made several rows of it and one of them
//! is rejected, the others are left out too, and so are its children, which follow in the batches right after it and are
//! found by their root's key. So a replay may land all of the record without landing anything twice.

mod added;
mod evidence;
pub(crate) mod pieces;
mod places;
mod widen;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::DataType;
use forebay_core::{
    Batch, Context, Error, ErrorKind, ROOT_ID, ROW_ID, RefName, Rejected, Result, SqlEngine,
};
use forebay_lake::Lake;

use crate::engine::steps::added::AddedTypes;
use crate::engine::steps::evidence::ColumnEvidence;
use crate::engine::steps::widen::ColumnWidening;
use crate::spec::PipelineSpec;
use crate::transform::check::ColumnChecks;
use crate::transform::{Refusal, Transformed, refuse, variant};
use forebay_formats::contract::Contract;
use forebay_formats::untyped::{NO_VALUES, drop_untyped, has_no_column, with_nulls};
pub(in crate::engine) use places::Wanted;
use places::{OriginalRows, filter, keys, places_of, without_places};

/// The steps of one pipeline between extract and load.
#[derive(Debug)]
pub(in crate::engine) struct Steps {
    spec: Arc<PipelineSpec>,
    added: AddedTypes,
    checks: ColumnChecks,
    /// Keys of rejected main rows of the last main batch.
    refused: HashSet<String>,
    /// Columns with values, where rows may be rejected or left out.
    evidence: Option<ColumnEvidence>,
    /// Accepted main rows of the last batch, as extracted: the table may still reject some.
    pending: Option<Batch>,
    /// The columns of whole numbers that become doubles, for targets that support it.
    widening: Option<ColumnWidening>,
    /// Columns of doubles beside whole numbers that have been warned about, for targets that cannot merge them.
    warned: BTreeSet<String>,
}

impl Steps {
    pub(in crate::engine) fn new(spec: Arc<PipelineSpec>, engine: &Arc<dyn SqlEngine>) -> Self {
        let checks = ColumnChecks::new(&spec.schema, engine);
        Self {
            added: AddedTypes::new(&spec),
            spec,
            checks,
            refused: HashSet::new(),
            evidence: None,
            pending: None,
            widening: None,
            warned: BTreeSet::new(),
        }
    }

    /// Enables widening columns of whole numbers to doubles.
    pub(in crate::engine) fn widen_columns(&mut self, lake: &Lake, branch: &RefName) {
        self.widening = ColumnWidening::new(lake, branch, &self.spec);
    }

    /// Keeps rejected records from adding columns to an extraction that starts with this contract.
    pub(in crate::engine) fn watch_columns(&mut self, known: Contract) -> Result<()> {
        self.evidence = ColumnEvidence::new(known, &self.spec.schema)?;
        Ok(())
    }

    /// Whether every row passes unchanged.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.checks.is_empty() && self.spec.transform.is_empty()
    }

    /// The learned contract, without columns that only rejected records had.
    pub(in crate::engine) fn learned(&mut self, contract: Contract) -> Result<Contract> {
        self.note_pending();
        let contract = match &self.evidence {
            Some(evidence) => evidence.prune(contract)?,
            None => contract,
        };
        match &self.widening {
            Some(widening) => widening.learned(contract),
            None => Ok(contract),
        }
    }

    /// Records the columns of rows of which some are left out before the steps.
    pub(in crate::engine) fn note_left_out(&mut self, batch: &Batch) {
        if let Some(evidence) = &mut self.evidence {
            evidence.note_refused(&batch.child, &batch.records);
        }
    }

    /// Takes batches in extractor order. A record is rejected at most once, and then adds no column.
    pub(in crate::engine) async fn apply(
        &mut self,
        batch: Batch,
    ) -> Result<(Batch, Vec<Rejected>)> {
        self.apply_piece(batch, false).await
    }

    /// The same for a part of a batch; `goes_on` for all but the first. Nothing of a part is taken when it fails.
    pub(in crate::engine) async fn apply_piece(
        &mut self,
        batch: Batch,
        goes_on: bool,
    ) -> Result<(Batch, Vec<Rejected>)> {
        self.note_pending();
        if !batch.child.is_empty() {
            return Ok((self.apply_to_children(batch).await?, Vec::new()));
        }
        if !goes_on {
            self.refused.clear();
        }
        if self.is_empty() {
            let records = drop_untyped(batch.records)?;
            let batch = Batch { records, ..batch };
            let merged = self.widen(self.trim(batch.clone())?).await?;
            self.pending = Some(batch);
            return Ok((merged, Vec::new()));
        }
        if self.evidence.is_none() {
            return self.pass(batch).await;
        }
        let (passed, rejected) = self.pass_trimmed(batch.clone()).await?;
        let places = places_of(&rejected);
        if places.is_empty() {
            self.pending = Some(batch);
            return Ok((passed, rejected));
        }
        self.note_left_out(&batch);
        let left = without_places(batch, &places)?;
        self.pending = Some(left.clone());
        Ok((self.pass_again(left, passed).await?, rejected))
    }

    /// Rejects the one record of a piece, whose output is too large.
    pub(in crate::engine) fn refuse_piece(
        &mut self,
        piece: Batch,
        error: &Error,
    ) -> Result<Vec<Rejected>> {
        self.note_left_out(&piece);
        let refusal = |row| Refusal {
            row,
            code: error.code(),
            reason: error.message().to_owned(),
        };
        let refusals = (0..piece.records.num_rows()).map(refusal).collect();
        let original = OriginalRows::new(&piece);
        let before = piece.records.clone();
        let mut rejected = Vec::new();
        let done = refuse(piece, refusals, "transform")?;
        self.settle(&original, &before, done, &mut rejected)?;
        Ok(rejected)
    }

    async fn apply_to_children(&mut self, batch: Batch) -> Result<Batch> {
        if !self.refused.is_empty() {
            self.note_left_out(&batch);
        }
        let left = self.without_refused(batch)?;
        let merged = self.widen(self.trim(left.clone())?).await?;
        self.note_landed(&left);
        Ok(merged)
    }

    /// Records the columns of the last batch: the table has accepted all rows that it has not rejected.
    fn note_pending(&mut self) {
        if let Some(batch) = self.pending.take() {
            self.note_landed(&batch);
        }
    }

    fn note_landed(&mut self, batch: &Batch) {
        if let Some(evidence) = &mut self.evidence {
            evidence.note_landed(&batch.child, &batch.records);
        }
        if let Some(widening) = &mut self.widening {
            widening.note_landed(batch);
        }
    }

    /// The batch with whole numbers and doubles of one key merged into one column.
    async fn widen(&mut self, batch: Batch) -> Result<Batch> {
        match &mut self.widening {
            Some(widening) => widening.apply(batch).await,
            None => {
                widen::warn_of_doubles(&batch, &mut self.warned);
                Ok(batch)
            }
        }
    }

    /// The batch without the empty columns of rejected records.
    fn trim(&self, batch: Batch) -> Result<Batch> {
        Ok(self.trimmed(&batch)?.unwrap_or(batch))
    }

    fn trimmed(&self, batch: &Batch) -> Result<Option<Batch>> {
        let Some(evidence) = &self.evidence else {
            return Ok(None);
        };
        let records = evidence.trim(&batch.child, &batch.records)?;
        Ok(records.map(|records| Batch {
            records,
            ..batch.clone()
        }))
    }

    /// The output of the steps for accepted rows, as if the columns of the rejected ones had never existed. A statement
    /// that names such a column still has it.
    async fn pass_again(&mut self, left: Batch, passed: Batch) -> Result<Batch> {
        let Some(trimmed) = self.trimmed(&left)? else {
            return Ok(passed);
        };
        let refused = std::mem::take(&mut self.refused);
        let again = self.pass(trimmed).await;
        self.refused = refused;
        match again {
            Ok((passed, rejected)) if rejected.is_empty() => Ok(passed),
            _ => self.trim(passed),
        }
    }

    async fn pass_trimmed(&mut self, batch: Batch) -> Result<(Batch, Vec<Rejected>)> {
        let Some(trimmed) = self.trimmed(&batch)? else {
            return self.pass(batch).await;
        };
        match self.pass(trimmed).await {
            Err(error) if error.kind() == ErrorKind::Config => {
                self.refused.clear();
                let (passed, rejected) = self.pass(batch).await?;
                Ok((self.trim(passed)?, rejected))
            }
            done => done,
        }
    }

    /// Applies every step.
    async fn pass(&mut self, batch: Batch) -> Result<(Batch, Vec<Rejected>)> {
        let batch = self.widen(batch).await?;
        let absent = self.absent(&batch.records);
        let foreign = self.foreign(&batch.records, &absent);
        let untyped = absent
            .iter()
            .map(|name| ((*name).to_owned(), DataType::Null));
        let records = with_nulls(batch.records, untyped)?;
        let batch = Batch { records, ..batch };
        let original = OriginalRows::new(&batch);
        let before = batch.records.clone();
        let mut rejected = Vec::new();
        let done = refuse(batch, foreign, "transform[0]")?;
        let batch = self.settle(&original, &before, done, &mut rejected)?;
        let before = batch.records.clone();
        let done = self.added.apply(batch)?;
        let batch = self.settle(&original, &before, done, &mut rejected)?;
        let before = batch.records.clone();
        let done = self.checks.apply(batch).await?;
        let mut batch = self.settle(&original, &before, done, &mut rejected)?;
        let spec = self.spec.clone();
        for (n, step) in spec.transform.iter().enumerate() {
            let before = batch.records.clone();
            let stage = format!("transform[{n}]");
            let overlooked = variant::overlooked(&batch.records, step.transform.as_ref());
            let done = refuse(batch, overlooked, &stage)?;
            batch = self.settle(&original, &before, done, &mut rejected)?;
            let before = batch.records.clone();
            let done = step
                .transform
                .apply(batch, &stage)
                .await
                .context("step", &step.name)?;
            batch = self.settle(&original, &before, done, &mut rejected)?;
        }
        if has_no_column(&batch.records) {
            let before = batch.records.clone();
            let done = refuse(batch, without_values(before.num_rows()), "load")?;
            batch = self.settle(&original, &before, done, &mut rejected)?;
        }
        let records = drop_untyped(batch.records)?;
        Ok((Batch { records, ..batch }, rejected))
    }

    /// Existing columns named by the first step that these rows lack.
    fn absent(&self, records: &RecordBatch) -> Vec<&str> {
        let (Some(first), Some(evidence)) = (self.spec.transform.first(), &self.evidence) else {
            return Vec::new();
        };
        let mut named = first.transform.named();
        named.retain(|name| evidence.has_met(name) && records.schema_ref().index_of(name).is_err());
        named
    }

    /// Rejects rows that have none of the columns named by the first step: they are other records.
    fn foreign(&self, records: &RecordBatch, absent: &[&str]) -> Vec<Refusal> {
        let named = self.spec.transform.first();
        let mut named = named.into_iter().flat_map(|step| step.transform.named());
        if absent.is_empty() || named.any(|name| records.schema_ref().index_of(name).is_ok()) {
            return Vec::new();
        }
        let refusal = |row| Refusal {
            row,
            code: "columns_missing",
            reason: format!(
                "the record has none of the columns used by the step: {}",
                absent.join(", ")
            ),
        };
        (0..records.num_rows()).map(refusal).collect()
    }

    /// Leaves out rows rejected by the table, with all rows of their records; their children follow and are left out too.
    pub(in crate::engine) async fn refuse_rows(
        &mut self,
        batch: Batch,
        refusals: Vec<Refusal>,
    ) -> Result<(Batch, Vec<Rejected>)> {
        let original = OriginalRows::new(&batch);
        let before = batch.records.clone();
        let mut rejected = Vec::new();
        let done = refuse(batch, refusals, "load")?;
        let batch = self.settle(&original, &before, done, &mut rejected)?;
        let Some(pending) = self.pending.take().filter(|_| self.evidence.is_some()) else {
            return Ok((batch, rejected));
        };
        self.note_left_out(&pending);
        let left = without_places(pending, &places_of(&rejected))?;
        self.pending = Some(left.clone());
        Ok((self.pass_again(left, batch).await?, rejected))
    }

    /// Adds the rejected records of a step, and returns the accepted rows.
    fn settle(
        &mut self,
        original: &OriginalRows,
        before: &RecordBatch,
        done: Transformed,
        rejected: &mut Vec<Rejected>,
    ) -> Result<Batch> {
        if done.rejected.is_empty() {
            return Ok(done.batch);
        }
        let mut places = HashSet::new();
        for refused in done.rejected {
            match refused.payload.zip(refused.offset) {
                Some(place) if !places.insert(place) => {}
                _ => rejected.push(refused),
            }
        }
        if places.is_empty() {
            self.note_gone(before, &done.batch.records);
        }
        self.refused.extend(original.keys_at(&places));
        without_places(done.batch, &places)
    }

    /// Where origins are unknown, removed rows are found by their keys, as long as the rows still carry them.
    fn note_gone(&mut self, before: &RecordBatch, after: &RecordBatch) {
        let (Some(before), Some(after)) = (keys(before, ROW_ID), keys(after, ROW_ID)) else {
            return;
        };
        let kept: HashSet<&str> = after.iter().flatten().collect();
        let gone = before.iter().flatten().filter(|key| !kept.contains(key));
        self.refused.extend(gone.map(str::to_owned));
    }

    fn without_refused(&self, batch: Batch) -> Result<Batch> {
        if self.refused.is_empty() {
            return Ok(batch);
        }
        let Some(roots) = keys(&batch.records, ROOT_ID) else {
            return Ok(batch);
        };
        let keep: BooleanArray = roots
            .iter()
            .map(|root| Some(root.is_none_or(|root| !self.refused.contains(root))))
            .collect();
        let records = filter(&batch.records, &keep)?;
        Ok(Batch { records, ..batch })
    }
}

/// Refuses rows that have no column for a table: where every value is null, the type of a column is unknown.
fn without_values(rows: usize) -> Vec<Refusal> {
    let refusal = |row| Refusal {
        row,
        code: NO_VALUES,
        reason: "every value that the steps made is null, and no record has given a column a type"
            .to_owned(),
    };
    (0..rows).map(refusal).collect()
}
