//! One COPY: rows of some batches into one table.

use std::collections::HashSet;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use forebay_core::Result;
use futures::SinkExt;
use tokio_postgres::{Client, Statement};

use super::encode::{HEADER, Rows, TRAILER, Unfit};
use super::fit::BarredColumn;
use super::group::{Group, Pick, rows};
use super::table::Place;

/// Bytes that are handed to the connection at once.
const FRAME_BYTES: usize = 512 << 10;

/// The source and the target of a COPY.
pub(super) struct Copy<'a> {
    pub(super) statement: &'a Statement,
    pub(super) places: &'a [Place],
    /// Columns of the batches that the table cannot have.
    pub(super) barred: &'a [BarredColumn],
    /// Consecutive batches of the group, all with these places.
    pub(super) batches: std::ops::Range<usize>,
    /// Rows go to a stage: they get numbers, and their keys are compared.
    pub(super) staged: bool,
}

/// The result of a COPY that the server accepted.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Rows sent, and rows accepted according to the server.
    pub(super) sent: u64,
    pub(super) taken: u64,
    /// Rows that were not sent, with their batch.
    pub(super) unfit: Vec<(usize, Unfit)>,
    /// Two of the staged rows may have one key.
    pub(super) doubles: bool,
}

/// The server's answer, with the rows sent; without it the COPY could not start, and the connection must not be used again.
pub(super) type Answer = Result<Copied, (tokio_postgres::Error, Option<Copied>)>;

impl Copy<'_> {
    /// Sends the rows. The outer error is ours, the inner one the server's or the connection's.
    pub(super) async fn run(
        &self,
        client: &Client,
        group: &Group,
        pick: Option<Pick<'_>>,
        buffer: &mut BytesMut,
    ) -> Result<Answer> {
        let mut copied = Copied::default();
        let hasher = ahash::RandomState::new();
        let mut seen = HashSet::new();
        let mut room = BytesMut::new();
        let sink = match client.copy_in::<_, Bytes>(self.statement).await {
            Ok(sink) => sink,
            Err(error) => return Ok(Err((error, None))),
        };
        let mut sink = pin!(sink);
        buffer.clear();
        buffer.extend_from_slice(HEADER);
        let mut number = 0;
        for at in self.batches.clone() {
            let records = &group.batches[at].records;
            let number_from = self.staged.then_some(number);
            let encoder = Rows::new(records, self.places, self.barred, number_from)?;
            number += records.num_rows() as u64;
            for row in rows(group, at, pick) {
                match encoder.write(row, buffer) {
                    Ok(()) => copied.sent += 1,
                    Err(unfit) => {
                        copied.unfit.push((at, unfit));
                        continue;
                    }
                }
                if self.staged && !copied.doubles {
                    let key = encoder.key(row, &hasher, &mut room);
                    copied.doubles = key.is_some_and(|key| !seen.insert(key));
                }
                if buffer.len() >= FRAME_BYTES {
                    let frame = buffer.split().freeze();
                    if let Err(error) = sink.as_mut().feed(frame).await {
                        return Ok(Err((error, Some(copied))));
                    }
                    buffer.reserve(FRAME_BYTES + FRAME_BYTES / 8);
                }
            }
        }
        buffer.extend_from_slice(TRAILER);
        if let Err(error) = sink.as_mut().feed(buffer.split().freeze()).await {
            return Ok(Err((error, Some(copied))));
        }
        Ok(match sink.finish().await {
            Ok(taken) => {
                copied.taken = taken;
                Ok(copied)
            }
            Err(error) => Err((error, Some(copied))),
        })
    }

    /// Batch and row of the n-th row that was sent.
    pub(super) fn place(
        &self,
        n: usize,
        group: &Group,
        pick: Option<Pick<'_>>,
        unfit: &[(usize, Unfit)],
    ) -> Option<(usize, usize)> {
        let left_out: HashSet<(usize, usize)> =
            unfit.iter().map(|(at, unfit)| (*at, unfit.row)).collect();
        let sent = self
            .batches
            .clone()
            .flat_map(|at| rows(group, at, pick).map(move |row| (at, row)));
        sent.filter(|place| !left_out.contains(place)).nth(n)
    }
}
