//! Reads the footer of a file, checked before the Parquet library sees it.

use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use ::parquet::file::metadata::ParquetMetaDataReader;
use ::parquet::file::reader::{ChunkReader, Length};
use bytes::Bytes;
use forebay_core::parquet_footer::{self, ENDING_BYTES, FOOTER_BYTES_MAX};

use super::input::ObjectFile;
use super::plan::Refusal;
use super::{corrupt, refused};

/// The metadata of a file that anyone may have written.
///
/// Errors: `corrupt_parquet` for what [`parquet_footer::check`] refuses, and those of the library.
pub(crate) fn load(
    input: &ObjectFile,
    options: ArrowReaderOptions,
) -> Result<ArrowReaderMetadata, Refusal> {
    let Some(footer) = bytes(input)? else {
        // The library says what is wrong with it.
        return ArrowReaderMetadata::load(input, options).map_err(refused);
    };
    parquet_footer::check(&footer).map_err(|why| corrupt(&why))?;
    let metadata = ParquetMetaDataReader::decode_metadata(&footer).map_err(refused)?;
    ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(refused)
}

/// The footer; `None` where the file has none at its end.
fn bytes(input: &ObjectFile) -> Result<Option<Bytes>, Refusal> {
    let Some(before) = input.len().checked_sub(ENDING_BYTES as u64) else {
        return Ok(None);
    };
    let ending = input.get_bytes(before, ENDING_BYTES).map_err(refused)?;
    let length = parquet_footer::footer_bytes(&ending);
    let Some((length, start)) = length.and_then(|n| Some((n, before.checked_sub(n.into())?)))
    else {
        return Ok(None);
    };
    if length > FOOTER_BYTES_MAX {
        let most = FOOTER_BYTES_MAX >> 20;
        return Err(corrupt(&format!("its footer has more than {most} MiB")));
    }
    let footer = input.get_bytes(start, length as usize);
    footer.map(Some).map_err(refused)
}
