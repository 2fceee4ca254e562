//! Writing payloads: packed into objects, compressed once, durable when sealed.

use std::sync::Arc;

use forebay_core::{Chunk, Clock, Ident, Result};
use object_store::ObjectStore;

use crate::raw::RawEntry;

#[derive(Debug, Clone)]
pub struct RawOptions {
    pub pipeline: Ident,
    pub split: Ident,
    pub object_bytes: u64,
    pub level: i32,
    /// Seeds the object names.
    pub seed: u64,
}

/// A sealed object with its index.
#[derive(Debug, Clone)]
pub struct RawObject {
    pub path: object_store::path::Path,
    /// Where its index belongs, beside it.
    pub index: object_store::path::Path,
    pub entries: Vec<RawEntry>,
    /// Bytes of the object as stored.
    pub bytes: u64,
}

/// Packs the payloads of one commit. CPU work happens on the calling thread: call it from a blocking one.
#[derive(Debug)]
pub struct RawWriter;

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl RawWriter {
    /// `runtime` runs the uploads while this thread blocks.
    pub fn new(objects: Arc<dyn ObjectStore>, clock: Arc<dyn Clock>, runtime: tokio::runtime::Handle, options: RawOptions) -> Self {
        unimplemented!()
    }

    pub fn push(&mut self, chunk: &Chunk) -> Result<()> {
        unimplemented!()
    }

    /// Makes everything durable. A payload that has not ended yet is kept back as an error: a commit ends between
    /// payloads or at a position inside one, and then the part so far is an entry of its own.
    pub fn seal(&mut self) -> Result<Vec<RawObject>> {
        unimplemented!()
    }

    /// The last sealed or open object of a payload, for extractors that read at random; seals it.
    pub fn seal_for_reading(&mut self) -> Result<object_store::path::Path> {
        unimplemented!()
    }
}
