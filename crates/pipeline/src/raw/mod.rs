//! The raw zone: every payload as received, compressed, with an index beside it.
//!
//! Layout: `raw/<pipeline>/<split>/dt=YYYY-MM-DD/hour=HH/<ulid>.<ext>.zst` and `<ulid>.index.parquet`. Objects are
//! immutable. The index is also a data file of the Iceberg table `raw.<pipeline>`, so exactly the committed payloads are
//! visible. The raw zone never reads a payload, except its first bytes to detect compression.
//!
//! Two kinds of object. A *packed* object (`.<ext>.zst`) is a row of zstd frames, each with a checksum: `zstdcat` of it
//! returns exactly the bytes received, in order, and a reader may start at any frame. Compressed payloads (`.json.gz`,
//! `.parquet`) are *kept*: one payload, one object, byte for byte, without another compression. Payloads that a pipeline
//! reads from the raw zone itself get an index only, which references the existing objects.

mod format;
mod frames;
mod index;
mod packed;
mod parts;
mod pointers;
mod read;
mod upload;
mod write;

#[cfg(test)]
mod tests;

pub use index::{RawEntry, index_schema, to_batch};
pub use parts::{PART_ATTRIBUTE, Parts};
pub use read::{RawPayload, RawReader};
pub(crate) use upload::put_object;
pub use write::{RawObject, RawOptions, RawWriter};
