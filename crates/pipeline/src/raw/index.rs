//! The index of a raw object: one row a payload.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use forebay_core::{Compression, Ident, Position, Result, Timestamp};

/// One payload in a raw object.
#[derive(Debug, Clone, PartialEq)]
pub struct RawEntry {
    /// Unique over all payloads of the pipeline: `<object ulid>-<n>`.
    pub id: String,
    pub split: Ident,
    /// Path of the object below the workspace.
    pub object: String,
    /// Where the payload begins in the decompressed object, in bytes.
    pub offset: u64,
    /// Bytes of the payload as received.
    pub length: u64,
    /// Where the zstd frame that holds its first byte begins in the object file, and where that frame begins in the
    /// decompressed object: a reader may start there instead of at 0.
    pub frame: u64,
    pub frame_offset: u64,
    /// [`forebay_core::PayloadHead::ordinal`] in the run that took it.
    pub ordinal: u64,
    pub name: String,
    pub received_at: Timestamp,
    /// The position right after it, when the source gave one.
    pub position: Option<Position>,
    pub content_type: Option<String>,
    /// Compression of the payload itself, as it came.
    pub compression: Compression,
    pub attributes: BTreeMap<String, String>,
    /// Lower-case hex of the payload's bytes.
    pub sha256: String,
}

/// Columns of `raw.<pipeline>`: `id, split, object, offset, length, frame, frame_offset, ordinal, name, received_at, position,
/// content_type, compression, attributes (JSON text), sha256`. In SQL a column `payload` (binary) is added by `query`.
#[expect(clippy::unimplemented, reason = "skeleton")]
pub fn index_schema() -> SchemaRef {
    unimplemented!()
}

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
pub fn to_batch(entries: &[RawEntry]) -> Result<RecordBatch> {
    unimplemented!()
}
