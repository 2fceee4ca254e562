//! The raw zone: every payload as it came, compressed, with an index beside it.
//!
//! Layout: `raw/<pipeline>/<split>/dt=YYYY-MM-DD/hour=HH/<ulid>.<ext>.zst` and `<ulid>.index.parquet`. Objects are immutable.
//! The index is at once a data file of the Iceberg table `raw.<pipeline>`, so exactly the payloads whose commit was
//! made are visible. The raw zone never looks into a payload, except at its first bytes to see whether it is
//! compressed already.
//!
//! Two kinds of object. A *packed* object (`.<ext>.zst`) is a row of zstd frames, each with a checksum: `zstdcat` of it
//! gives exactly the bytes received, in order, and a reader may start at any frame. What came compressed (`.json.gz`,
//! `.parquet`) is *kept*: one payload, one object, byte for byte, without another compression on top. What a pipeline reads from
//! the raw zone itself gets an index only, which names the objects that are there.

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
