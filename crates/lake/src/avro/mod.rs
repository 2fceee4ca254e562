//! Avro files that any writer of a table may have made: manifests and manifest lists.
//!
//! The reader of such files decompresses a block whatever it expands to, reserves memory by the counts that it claims, and
//! recurses as deep as the values do. So a file is first walked here by its own schema, within named limits, and handed on
//! with its blocks decompressed. Values are never decoded here.

mod codec;
mod container;
mod header;
mod list;
mod shape;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use container::expand;
pub(crate) use header::{AvroHeader, write_header};
pub(crate) use list::parse_list;

/// Bytes of the blocks of one file, decompressed.
const EXPANDED_BYTES_MAX: usize = 256 << 20;
/// Bytes of the header: a manifest has the schema of its table in it.
const HEADER_BYTES_MAX: usize = 32 << 20;
/// Records of one file: files of a manifest, manifests of a list.
const RECORDS_MAX: u64 = 500_000;
/// Values in one record: its reader keeps a tree of them. A file with 10,000 columns has 200,000.
const RECORD_VALUES_MAX: u64 = 1 << 20;
/// Values in one file.
const FILE_VALUES_MAX: u64 = 64 << 20;
/// Values within each other.
const DEPTH_MAX: u32 = 32;
