//! The blocks of a file: each has its number of records, its size, its bytes and the sync marker.

use bytes::Bytes;
use forebay_core::Result;

use super::codec::{BlockCodec, too_large};
use super::header::{AvroHeader, put_long, write_header};
use super::shape::{Shapes, bad};
use super::walk::{RecordWalk, take_bytes, take_long};
use super::{EXPANDED_BYTES_MAX, RECORDS_MAX};

const SYNC_BYTES: usize = 16;
const CODEC_KEY: &str = "avro.codec";

/// The same file with its blocks decompressed and walked.
///
/// Errors: `Data` `bad_manifest` for another file, and for one that is damaged or beyond the limits.
pub(crate) fn expand(bytes: &[u8]) -> Result<Bytes> {
    let header = AvroHeader::read(bytes)?;
    let codec = BlockCodec::find(header.get(CODEC_KEY).unwrap_or_default())?;
    let schema = header.get("avro.schema");
    let schema = schema.ok_or_else(|| bad("its header has no schema"))?;
    let (shapes, root) = Shapes::read(schema)?;
    let mut blocks = Blocks {
        codec,
        walk: RecordWalk::new(&shapes, root),
        records: 0,
        expanded: 0,
        made: Vec::with_capacity(header.rest.len()),
    };
    blocks.take_all(header.rest)?;
    let entries = header.entries.iter().copied();
    let entries: Vec<_> = entries
        .filter(|(key, _)| *key != CODEC_KEY.as_bytes())
        .collect();
    Ok(write_header(&entries, &blocks.made))
}

struct Blocks<'s> {
    codec: BlockCodec,
    walk: RecordWalk<'s>,
    records: u64,
    expanded: usize,
    made: Vec<u8>,
}

impl Blocks<'_> {
    fn take_all(&mut self, rest: &[u8]) -> Result<()> {
        let cut = || bad("it is truncated");
        let (sync, mut rest) = rest.split_at_checked(SYNC_BYTES).ok_or_else(cut)?;
        self.made.extend_from_slice(sync);
        while !rest.is_empty() {
            let count = take_long(&mut rest).ok_or_else(cut)?;
            let count = u64::try_from(count).map_err(|_| bad("a block has a negative count"))?;
            let block = take_bytes(&mut rest).ok_or_else(cut)?;
            let (marker, after) = rest.split_at_checked(SYNC_BYTES).ok_or_else(cut)?;
            if marker != sync {
                return Err(bad("a block does not end with the sync marker"));
            }
            rest = after;
            // The reader takes a block without records for the end of the file.
            if count > 0 {
                self.take(count, block, sync)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, count: u64, block: &[u8], sync: &[u8]) -> Result<()> {
        self.records = self.records.saturating_add(count);
        if self.records > RECORDS_MAX {
            return Err(bad(&format!("it has more than {RECORDS_MAX} records")));
        }
        let mut content = Vec::new();
        self.codec.decode(block, &mut content)?;
        self.expanded = self.expanded.saturating_add(content.len());
        if self.expanded > EXPANDED_BYTES_MAX {
            return Err(too_large());
        }
        self.walk.block(&content, count)?;
        put_long(&mut self.made, count);
        put_long(&mut self.made, content.len() as u64);
        self.made.extend_from_slice(&content);
        self.made.extend_from_slice(sync);
        Ok(())
    }
}
