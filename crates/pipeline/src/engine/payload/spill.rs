//! Decompresses payloads of random-access formats into a file that lasts as long as it is read.

use std::io::{BufWriter, Write};
use std::path::Path as FilePath;
use std::sync::Arc;

use forebay_core::{Compression, Error, Result};
use forebay_lake::SpillFolder;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use crate::engine::payload::stored::StoredPayload;
use forebay_formats::decode::Decoder;

/// Name of the one file in the folder.
const FILE_NAME: &str = "payload";

/// A decompressed payload on the local disk; it is removed with this value. Its size is bounded by
/// [`OUTPUT_BYTES_MAX`](forebay_formats::decode::OUTPUT_BYTES_MAX).
#[derive(Debug)]
pub(in crate::engine) struct SpilledPayload {
    _folder: SpillFolder,
    pub(in crate::engine) objects: Arc<dyn ObjectStore>,
    pub(in crate::engine) path: Path,
}

impl SpilledPayload {
    /// Decompresses a payload into a new folder below `parent`.
    ///
    /// Errors: `Unavailable` `spill_failed` when writing to the disk fails; those of the decoder and of reading.
    pub(in crate::engine) fn write(
        parent: &FilePath,
        compression: Compression,
        stored: &dyn StoredPayload,
    ) -> Result<Self> {
        let failed = |error: std::io::Error| spill_failed(parent).with_source(error);
        let folder = SpillFolder::create(parent).map_err(failed)?;
        let file = std::fs::File::create_new(folder.path().join(FILE_NAME)).map_err(failed)?;
        let mut file = BufWriter::new(file);
        let mut take = |bytes: &[u8]| file.write_all(bytes).map_err(failed);
        let mut decoder = Decoder::new(compression)?;
        stored.read(&mut |bytes| decoder.push(bytes, &mut take))?;
        decoder.finish(&mut take)?;
        file.flush().map_err(failed)?;
        let objects = LocalFileSystem::new_with_prefix(folder.path())
            .map_err(|error| spill_failed(parent).with_source(error))?;
        Ok(Self {
            _folder: folder,
            objects: Arc::new(objects),
            path: Path::from(FILE_NAME),
        })
    }
}

fn spill_failed(folder: &FilePath) -> Error {
    Error::unavailable(
        "spill_failed",
        "failed to decompress a payload to the local disk",
    )
    .with_context("folder", folder.display())
    .with_hint("free disk space there, or decompress the file first")
}
