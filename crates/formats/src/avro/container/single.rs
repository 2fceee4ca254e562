//! Blocks of single records, for schemas whose records cannot all be decoded.

use super::Block;
use crate::avro::layout::Layout;

/// Records of a block that is split; each is a block in memory.
const SPLIT_ROWS_MAX: u64 = 1 << 16;

/// The blocks, each of one record where lists may have items without bytes: a record with such items is then refused alone.
/// One that cannot be split stays whole.
pub(super) fn single(layout: &Layout, blocks: Vec<Block>) -> Vec<Block> {
    if !layout.has_empty_items() {
        return blocks;
    }
    let split = blocks.into_iter().flat_map(|block| {
        let is_small = (2..=SPLIT_ROWS_MAX).contains(&block.rows);
        let records = is_small.then(|| layout.split(&block.bytes, block.rows));
        match records.flatten() {
            Some(records) => records.into_iter().map(of_one).collect(),
            None => vec![block],
        }
    });
    split.collect()
}

/// The blocks, divided where their records together take too much memory.
pub(super) fn divided(layout: &Layout, blocks: Vec<Block>) -> Vec<Block> {
    let divided =
        blocks
            .into_iter()
            .flat_map(|block| match layout.pieces(&block.bytes, block.rows) {
                Some(pieces) => pieces.into_iter().map(of_some).collect(),
                None => vec![block],
            });
    divided.collect()
}

fn of_some((rows, bytes): (u64, &[u8])) -> Block {
    Block {
        rows,
        bytes: bytes.to_vec(),
    }
}

fn of_one(record: &[u8]) -> Block {
    Block {
        rows: 1,
        bytes: record.to_vec(),
    }
}
