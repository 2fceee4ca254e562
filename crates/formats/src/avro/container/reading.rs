//! Converts the blocks of a container file to rows. A row is identified by its number in the file.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema as Columns;
use forebay_core::quarantine::Extent;
use forebay_core::{PayloadHead, Rejected, Result};
use serde_json::json;

use super::single::{divided, single};
use super::{Block, Frames};
use crate::Extracted;
use crate::avro::decode::Decoding;
use crate::avro::inline::inline;
use crate::avro::{Reading, TOGETHER};
use crate::decode::OUTPUT_BYTES_MAX;
use crate::parquet::give;
use crate::parquet::plan::{Table, row_as_json};
use crate::registry_schema::Schema;
use crate::wire::Unreadable;

/// Bytes of blocks that are decoded together.
const TOGETHER_BYTES: usize = 2 << 20;

/// Rows of one batch.
const BATCH_ROWS: usize = 8_192;

/// The id before the decoder's input: it takes messages only.
const SCHEMA_ID: u32 = 1;

/// A container file that is being received.
pub(in crate::avro) struct ContainerReading {
    frames: Frames,
    decoding: Option<Decoding>,
    /// Converts rows to those of the table; made when the first block is verified.
    reading: Option<Reading>,
    /// Blocks that wait to be decoded together.
    waiting: Vec<Block>,
    /// The number of the first row that waits.
    row: u64,
    /// The rest is rejected already.
    is_dead: bool,
}

impl ContainerReading {
    pub(in crate::avro) fn new() -> Self {
        Self::bounded(OUTPUT_BYTES_MAX)
    }

    /// One that may expand to `decoded_max` bytes.
    pub(in crate::avro) fn bounded(decoded_max: u64) -> Self {
        Self {
            frames: Frames::new(decoded_max),
            decoding: None,
            reading: None,
            waiting: Vec::new(),
            row: 0,
            is_dead: false,
        }
    }

    pub(in crate::avro) fn push(
        &mut self,
        table: &mut Table,
        head: &PayloadHead,
        bytes: &[u8],
        out: &mut Extracted,
    ) -> Result<()> {
        if self.is_dead {
            return Ok(());
        }
        self.frames.push(bytes);
        loop {
            match self.frames.next() {
                Ok(None) => return Ok(()),
                Ok(Some(block)) => self.waiting.push(block),
                Err(bad) => return self.give_up(table, head, bad, out),
            }
            let waiting = self.waiting.iter().map(|block| block.bytes.len());
            if waiting.sum::<usize>() >= TOGETHER_BYTES || self.waiting.len() >= TOGETHER {
                self.give_waiting(table, head, out)?;
            }
            if self.is_dead {
                return Ok(());
            }
        }
    }

    /// The file is complete, or `broken` where it can be read no further.
    pub(in crate::avro) fn end(
        mut self,
        table: &mut Table,
        head: &PayloadHead,
        broken: Option<Unreadable>,
        out: &mut Extracted,
    ) -> Result<()> {
        if self.is_dead || (broken.is_none() && self.frames.is_empty()) {
            return Ok(());
        }
        if let Some(bad) = broken {
            return self.give_up(table, head, bad, out);
        }
        if !self.frames.is_between_blocks() {
            let bad = Unreadable::new("corrupt_avro", "the file ends before its last block does");
            return self.give_up(table, head, bad, out);
        }
        self.give_waiting(table, head, out)
    }

    /// Returns the good blocks before the damage, and rejects the rest.
    fn give_up(
        &mut self,
        table: &mut Table,
        head: &PayloadHead,
        bad: Unreadable,
        out: &mut Extracted,
    ) -> Result<()> {
        self.give_waiting(table, head, out)?;
        if !self.is_dead {
            self.is_dead = true;
            let extent = match self.row {
                0 => Extent::PAYLOAD,
                row => Extent::rest(row),
            };
            let reason = match self.row {
                0 => format!("{}; nothing of the file is loaded", bad.reason),
                row => format!("{}; only the {row} rows before are loaded", bad.reason),
            };
            out.rejected
                .push(refused(head, extent, bad.code, reason, Vec::new()));
        }
        Ok(())
    }

    /// Decodes the waiting blocks; one that cannot be decoded is rejected alone.
    fn give_waiting(
        &mut self,
        table: &mut Table,
        head: &PayloadHead,
        out: &mut Extracted,
    ) -> Result<()> {
        let blocks = std::mem::take(&mut self.waiting);
        let blocks = match self.decoding() {
            Ok(decoding) => {
                let layout = decoding.layout();
                divided(layout, single(layout, blocks))
            }
            Err(_) => blocks,
        };
        let mut left = blocks.as_slice();
        while !left.is_empty() && !self.is_dead {
            let together = &left[..self.together(left)];
            let Decoded { rows, good, bad } = self.decode(together)?;
            if let Some(rows) = rows {
                self.give(table, head, &rows, out)?;
            }
            left = &left[good..];
            if let (Some(bad), Some((block, rest))) = (bad, left.split_first())
                && !self.is_dead
            {
                let last = self.row + block.rows;
                let reason = match block.rows {
                    1 => format!("row {last}: {}", bad.reason),
                    _ => format!("rows {} to {last}: {}", self.row + 1, bad.reason),
                };
                let extent = Extent::document(self.row, block.rows);
                out.rejected
                    .push(refused(head, extent, bad.code, reason, Vec::new()));
                self.row = last;
                left = rest;
            }
        }
        Ok(())
    }

    /// How many of the blocks to decode together.
    fn together(&mut self, blocks: &[Block]) -> usize {
        let first = &blocks[..blocks.len().min(TOGETHER)];
        let bytes = first.iter().map(|block| block.bytes.len());
        match self.decoding() {
            Ok(decoding) => decoding.layout().together(bytes),
            Err(_) => first.len(),
        }
    }

    /// The decoder of the blocks, made when it is first needed.
    fn decoding(&mut self) -> Result<&mut Decoding, Unreadable> {
        Ok(match &mut self.decoding {
            Some(decoding) => decoding,
            none => none.insert(list_of(self.frames.schema().unwrap_or_default())?),
        })
    }

    /// Decodes blocks up to the first bad one. A block is one message, a list of records: the decoder checks that they take
    /// exactly its bytes.
    fn decode(&mut self, blocks: &[Block]) -> Result<Decoded> {
        let cannot = || Unreadable::new("corrupt_avro", "the records cannot be decoded");
        let decoding = match self.decoding() {
            Ok(decoding) => decoding,
            Err(bad) => return Ok(Decoded::none(bad)),
        };
        let messages: Vec<Vec<u8>> = blocks.iter().map(message_of).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        // The decoder panics on some impossible lengths.
        let decoded = catch_unwind(AssertUnwindSafe(|| decoding.decode(&messages)));
        let Ok(decoded) = decoded else {
            self.decoding = None;
            return Ok(Decoded::none(cannot()));
        };
        let (batch, bad) = decoded?;
        let good = batch.as_ref().map_or(0, RecordBatch::num_rows);
        let rows = match batch.as_ref().map(records).transpose() {
            Ok(rows) => rows,
            Err(bad) => return Ok(Decoded::none(bad)),
        };
        let bad = bad.or_else(|| (good == 0).then(cannot));
        Ok(Decoded { rows, good, bad })
    }

    fn give(
        &mut self,
        table: &mut Table,
        head: &PayloadHead,
        rows: &RecordBatch,
        out: &mut Extracted,
    ) -> Result<()> {
        let reading = match &self.reading {
            Some(reading) => reading,
            None => match Reading::new(table, rows.schema())? {
                Ok(reading) => self.reading.insert(reading),
                Err(refusal) => {
                    self.is_dead = true;
                    out.rejected.push(refusal.of_all(head));
                    return Ok(());
                }
            },
        };
        let mut at = 0;
        while at < rows.num_rows() {
            let piece = rows.slice(at, BATCH_ROWS.min(rows.num_rows() - at));
            give_rows(reading, head, &piece, self.row + at as u64, out)?;
            out.relieve()?;
            at += piece.num_rows();
        }
        self.row += rows.num_rows() as u64;
        Ok(())
    }
}

/// The result for blocks.
struct Decoded {
    rows: Option<RecordBatch>,
    /// Blocks of the rows.
    good: usize,
    /// Why the next one is bad.
    bad: Option<Unreadable>,
}

impl Decoded {
    fn none(bad: Unreadable) -> Self {
        Self {
            rows: None,
            good: 0,
            bad: Some(bad),
        }
    }
}

/// Hands rows on in the table's types; a row that does not fit is found by bisection.
fn give_rows(
    reading: &Reading,
    head: &PayloadHead,
    rows: &RecordBatch,
    first: u64,
    out: &mut Extracted,
) -> Result<()> {
    let count = rows.num_rows();
    match reading.apply(rows) {
        Ok(part) => give(head, &reading.plan, part, first, out),
        Err(_) if count > 1 => {
            let middle = count / 2;
            give_rows(reading, head, &rows.slice(0, middle), first, out)?;
            let rest = rows.slice(middle, count - middle);
            give_rows(reading, head, &rest, first + middle as u64, out)
        }
        Err(refusal) => {
            let skips = head.skips()?;
            if !skips.iter().any(|range| range.contains(&first)) {
                let reason = format!("row {}: {}", first + 1, refusal.reason);
                let record = row_as_json(rows, 0).unwrap_or_default();
                let extent = Extent::record(first, 0);
                out.rejected
                    .push(refused(head, extent, refusal.code, reason, record));
            }
            Ok(())
        }
    }
}

fn refused(
    head: &PayloadHead,
    extent: Extent,
    code: &str,
    reason: String,
    record: Vec<u8>,
) -> Rejected {
    Rejected {
        payload: Some(head.ordinal),
        extent: Some(extent),
        offset: Some(extent.start),
        line: None,
        stage: "extract".to_owned(),
        code: code.to_owned(),
        reason,
        record,
    }
}

/// The records of a block as a message: a list in one part.
fn message_of(block: &Block) -> Vec<u8> {
    let mut message = Vec::with_capacity(block.bytes.len() + 16);
    message.push(0);
    message.extend_from_slice(&SCHEMA_ID.to_be_bytes());
    if block.rows > 0 || !block.bytes.is_empty() {
        put_count(&mut message, block.rows);
    }
    message.extend_from_slice(&block.bytes);
    message.push(0);
    message
}

/// A decoder of a list of `schema`. An element other than a record is the column `value`, as a message is.
fn list_of(schema: &str) -> Result<Decoding, Unreadable> {
    let alone = |schema: String| Schema {
        kind: "AVRO".to_owned(),
        schema,
        references: Vec::new(),
    };
    let element = inline(&alone(schema.to_owned()))?;
    let list = json!({"type": "array", "items": element});
    let fields = json!([{"name": "records", "type": list}]);
    let record = json!({"type": "record", "name": "BlocksOfContainerFile", "fields": fields});
    Decoding::of_blocks(SCHEMA_ID, &alone(record.to_string()))
}

/// The elements of the lists, which are the only column.
fn records(batch: &RecordBatch) -> Result<RecordBatch, Unreadable> {
    let bad = |why: &str| Unreadable::new("corrupt_avro", why);
    let lists = batch.column(0).as_list_opt::<i32>();
    let rows = lists.and_then(|lists| lists.values().as_struct_opt());
    let rows = rows.ok_or_else(|| bad("the records cannot be decoded"))?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let columns = Arc::new(Columns::new(rows.fields().clone()));
    let records = RecordBatch::try_new_with_options(columns, rows.columns().to_vec(), &options);
    records.map_err(|error| bad(&error.to_string()))
}

/// The header of a part of a list: its length, in zigzag and groups of seven bits.
fn put_count(bytes: &mut Vec<u8>, count: u64) {
    let mut left = count << 1;
    while left > 0x7f {
        bytes.push((left & 0x7f).to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    bytes.push(left.to_le_bytes()[0]);
}
