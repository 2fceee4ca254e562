//! The raw zone: every payload as it came, compressed, with an index beside it.
//!
//! Layout: `raw/<pipeline>/<split>/dt=YYYY-MM-DD/hour=HH/<ulid>.<ext>.zst` and `<ulid>.index.parquet`. Objects are immutable.
//! The index is at once a data file of the Iceberg table `raw.<pipeline>`, so exactly the payloads whose commit was
//! made are visible. The raw zone never looks into a payload.

mod index;
mod read;
mod write;

pub use index::{RawEntry, index_schema, to_batch};
pub use read::{RawPayload, RawReader};
pub use write::{RawObject, RawOptions, RawWriter};
