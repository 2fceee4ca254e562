//! The two passes of a replay over a payload: the first finds out what becomes of each refusal, the second writes the rows
//! that land.

use std::sync::Arc;

use forebay_core::{Batch, Rejected, Result};
use forebay_formats::contract::{Contract, TakenTables};
use forebay_formats::{Extracted, Extraction};
use tokio::runtime::Handle;

use super::ledger::{Ledger, RowPlace};
use super::reextraction::Reextraction;
use crate::engine::steps::pieces::Pieces;
use crate::engine::steps::{Steps, Wanted};
use crate::raw::RawEntry;
use crate::spec::PipelineSpec;

/// Bytes of rejected records that wait for the end of their payload; beyond it they are kept without their bytes, which are
/// in the raw zone.
const RECORDS_BYTES_MAX: usize = 64 << 20;

/// The initial state of a pass over a payload: the same for both.
pub(super) struct Pass<'a> {
    pub(super) spec: Arc<PipelineSpec>,
    pub(super) contract: Option<Contract>,
    pub(super) taken: Option<Arc<TakenTables>>,
    pub(super) again: &'a Reextraction,
    pub(super) parts: &'a [RawEntry],
}

impl Pass<'_> {
    /// An extraction with the contract from before the payload.
    pub(super) fn extraction(&self) -> Result<Box<dyn Extraction>> {
        self.spec
            .extraction_beside(self.contract.clone(), self.taken.clone())
    }

    /// Extracts the payload with the contract from before it; returns the contract after it.
    pub(super) fn extract(
        &self,
        take: &mut dyn FnMut(Extracted) -> Result<()>,
    ) -> Result<Contract> {
        let mut extraction = self.extraction()?;
        self.again
            .extract(extraction.as_mut(), self.parts, 0, take)?;
        let mut out = Extracted::default();
        extraction.flush(&mut out)?;
        take(out)?;
        Ok(extraction.contract())
    }
}

/// The first pass over a payload: finds the outcome of each refusal.
pub(super) struct Survey {
    pub(super) ledger: Ledger,
    pub(super) wanted: Wanted,
    pub(super) steps: Steps,
}

impl Survey {
    pub(super) fn take(&mut self, out: Extracted, runtime: &Handle) -> Result<()> {
        self.refuse(&out.rejected);
        for batch in out.batches {
            let ledger = &mut self.ledger;
            let batch = self.wanted.keep(batch, &mut |row| ledger.row(row))?;
            if batch.records.num_rows() > 0 || !batch.child.is_empty() {
                let mut pieces = Pieces::new(batch);
                while let Some((_, rejected)) = runtime.block_on(pieces.next(&mut self.steps))? {
                    self.refuse(&rejected);
                }
            }
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, rejected: &[Rejected]) {
        rejected
            .iter()
            .for_each(|rejected| self.ledger.refuse(rejected));
    }
}

/// The second pass over a payload: writes the rows that land.
pub(super) struct Landing {
    pub(super) wanted: Wanted,
    pub(super) steps: Steps,
    /// Rejected records that may belong to a landing refusal.
    pub(super) rejected: Vec<Rejected>,
    pub(super) record_bytes: usize,
    pub(super) rows: u64,
}

impl Landing {
    /// The rows of a batch that land, before the steps.
    pub(super) fn pieces(&mut self, batch: Batch, ledger: &Ledger) -> Result<Pieces> {
        self.steps.note_left_out(&batch);
        let batch = self
            .wanted
            .keep(batch, &mut |row: RowPlace| ledger.lands(row))?;
        Ok(
            match batch.records.num_rows() == 0 && batch.child.is_empty() {
                true => Pieces::none(batch),
                false => Pieces::new(batch),
            },
        )
    }

    /// The next rows that land; `None` at the end.
    pub(super) fn take(&mut self, pieces: &mut Pieces, runtime: &Handle) -> Result<Option<Batch>> {
        while let Some((batch, rejected)) = runtime.block_on(pieces.next(&mut self.steps))? {
            self.refuse(rejected);
            let Some(batch) = batch else {
                continue;
            };
            if batch.child.is_empty() {
                self.rows += batch.records.num_rows() as u64;
            }
            if batch.records.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    pub(super) fn refuse(&mut self, rejected: Vec<Rejected>) {
        rejected
            .into_iter()
            .for_each(|rejected| self.keep(rejected));
    }

    pub(super) fn keep(&mut self, mut rejected: Rejected) {
        if self.record_bytes + rejected.record.len() > RECORDS_BYTES_MAX {
            rejected.record = Vec::new();
        }
        self.record_bytes += rejected.record.len();
        self.rejected.push(rejected);
    }
}
