//! Passes a batch through the steps, whole or in pieces: steps that multiply rows or values (`unnest`, `repeat`) may
//! produce more than memory should hold at once. Each piece is handed on before the next one is made.

use std::ops::Range;

use forebay_core::{Batch, Rejected, Result};

use crate::engine::steps::Steps;
use crate::transform::sql::OUTPUT_TOO_LARGE;

/// The rows of a piece, and its rejected records.
pub(in crate::engine) type Done = (Option<Batch>, Vec<Rejected>);

/// The rest of a batch.
#[derive(Debug)]
pub(in crate::engine) struct Pieces {
    batch: Batch,
    /// Waiting rows, the next ones last.
    waiting: Vec<Range<usize>>,
}

impl Pieces {
    pub(in crate::engine) fn new(batch: Batch) -> Self {
        Self {
            waiting: std::iter::once(0..batch.records.num_rows()).collect(),
            batch,
        }
    }

    /// Of a skipped batch.
    pub(in crate::engine) fn none(batch: Batch) -> Self {
        Self {
            batch,
            waiting: Vec::new(),
        }
    }

    /// The output of the next rows, if there is any, and the rejected records; `None` at the end.
    pub(in crate::engine) async fn next(&mut self, steps: &mut Steps) -> Result<Option<Done>> {
        while let Some(rows) = self.waiting.pop() {
            let piece = self.piece(rows.clone());
            let error = match steps.apply_piece(piece.clone(), rows.start > 0).await {
                Err(error) if error.code() == OUTPUT_TOO_LARGE => error,
                done => return done.map(|(batch, rejected)| Some((Some(batch), rejected))),
            };
            let Some(middle) = self.middle_of(&rows) else {
                let rejected = steps.refuse_piece(piece, &error)?;
                return Ok(Some((None, rejected)));
            };
            self.waiting.push(middle..rows.end);
            self.waiting.push(rows.start..middle);
        }
        Ok(None)
    }

    fn piece(&self, rows: Range<usize>) -> Batch {
        let Batch {
            child,
            records,
            origins,
        } = &self.batch;
        if rows.len() == records.num_rows() {
            return self.batch.clone();
        }
        Batch {
            child: child.clone(),
            records: records.slice(rows.start, rows.len()),
            origins: origins.as_ref().map(|origins| origins.of(rows)),
        }
    }

    /// The record boundary nearest to the middle.
    fn middle_of(&self, rows: &Range<usize>) -> Option<usize> {
        let begins = |row: &usize| match &self.batch.origins {
            Some(origins) => !origins.is_same(row - 1, *row),
            None => true,
        };
        let middle = rows.start + rows.len() / 2;
        let before = (rows.start + 1..=middle).rev().find(begins);
        before.or_else(|| (middle + 1..rows.end).find(begins))
    }
}
