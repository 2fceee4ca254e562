//! Manifest lists.

use forebay_core::Result;
use iceberg::spec::{FormatVersion, ManifestFile, ManifestList};

use super::expand;
use crate::error::{from_iceberg, read_avro};

/// The manifests of a list.
///
/// Errors: `Data` when it is damaged, or beyond the limits of [`expand`].
pub(crate) fn parse_list(bytes: &[u8], version: FormatVersion) -> Result<Vec<ManifestFile>> {
    let bytes = expand(bytes)?;
    let list = read_avro(|| ManifestList::parse_with_version(&bytes, version));
    let list = list.map_err(|e| from_iceberg("read the manifest list", e))?;
    Ok(list.consume_entries().into_iter().collect())
}
