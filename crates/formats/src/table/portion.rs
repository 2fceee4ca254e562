//! The rows to read of a table, as stored in the raw zone.

use std::sync::Arc;

use ::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::convert::{IpcSchemaEncoder, fb_to_schema};
use arrow::ipc::root_as_schema;
use forebay_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The content type of a portion.
pub const MEDIA_TYPE: &str = "application/vnd.forebay.portion+json";

/// Some rows of a table at one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portion {
    pub version: u32,
    /// `namespace.table`, for display.
    pub table: String,
    pub uuid: String,
    /// The commit of the catalog that shows the snapshot.
    pub commit: String,
    pub snapshot: Option<i64>,
    /// The table's columns with their field ids: hex of an Arrow IPC schema.
    pub schema: String,
    pub files: Vec<PortionFile>,
}

/// Some row groups of one data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortionFile {
    /// Below the lake's object store.
    pub path: String,
    pub bytes: u64,
    /// First row group and the one after the last; the whole file without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<(usize, usize)>,
    /// Rows of the file before these groups.
    #[serde(default)]
    pub skipped: u64,
    /// Runs of deleted rows of the file: first row and how many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<(u64, u64)>,
    /// Fields that have a value by the partition of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<i32>,
}

impl Portion {
    pub const VERSION: u32 = 1;

    /// [`Self::schema`] of these columns.
    pub fn schema_text(schema: &Schema) -> String {
        let encoded = IpcSchemaEncoder::new().schema_to_fb(schema);
        let bytes = encoded.finished_data().iter();
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// From a raw object, compressed with zstd or not; the error names the problem.
    pub(super) fn read(bytes: &[u8], bytes_max: usize) -> Result<Self, String> {
        let expanded;
        let text = if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let decoder = zstd::stream::Decoder::new(bytes).map_err(|error| error.to_string())?;
            let mut all = Vec::new();
            let mut limited = std::io::Read::take(decoder, bytes_max as u64);
            std::io::Read::read_to_end(&mut limited, &mut all)
                .map_err(|error| error.to_string())?;
            expanded = all;
            &expanded
        } else {
            bytes
        };
        let portion: Self = serde_json::from_slice(text)
            .map_err(|error| format!("it is not a list of table rows: {error}"))?;
        if portion.version != Self::VERSION {
            return Err(format!("unsupported portion version {}", portion.version));
        }
        Ok(portion)
    }

    pub(super) fn columns(&self) -> Result<SchemaRef> {
        let broken = || Error::data("bad_portion", "the columns of a portion cannot be read");
        let digits = self.schema.as_bytes().chunks(2);
        let digits = digits.map(|pair| std::str::from_utf8(pair).ok());
        let bytes: Option<Vec<u8>> = digits
            .map(|pair| u8::from_str_radix(pair?, 16).ok())
            .collect();
        let bytes = bytes.ok_or_else(broken)?;
        let schema =
            root_as_schema(&bytes).map_err(|error| broken().with_source(error.to_string()))?;
        Ok(Arc::new(fb_to_schema(schema)))
    }
}

impl PortionFile {
    /// The remaining rows of `rows` rows of these groups; `None` when all remain.
    pub(super) fn selection(&self, rows: u64) -> Option<RowSelection> {
        let mut selectors = Vec::new();
        let mut next = 0;
        let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
        for (first, length) in &self.deleted {
            // In rows of the groups.
            let begin = first.saturating_sub(self.skipped).min(rows);
            let end = (first + length).saturating_sub(self.skipped).min(rows);
            if end <= begin {
                continue;
            }
            if begin > next {
                selectors.push(RowSelector::select(count(begin - next)));
            }
            selectors.push(RowSelector::skip(count(end - begin)));
            next = end;
        }
        if selectors.is_empty() {
            return None;
        }
        if next < rows {
            selectors.push(RowSelector::select(count(rows - next)));
        }
        Some(RowSelection::from(selectors))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_that_are_not_deleted_are_selected(
            skipped in 0u64..20,
            rows in 0u64..40,
            deleted in proptest::collection::btree_map(0u64..60, 1u64..5, 0..8),
        ) {
            let mut runs: Vec<(u64, u64)> = Vec::new();
            for (first, length) in deleted {
                if runs.last().is_none_or(|(before, count)| before + count <= first) {
                    runs.push((first, length));
                }
            }
            let file = PortionFile {
                path: "a".to_owned(), bytes: 0, groups: None, skipped, deleted: runs.clone(), identity: Vec::new(),
            };
            let gone = |row: u64| runs.iter().any(|(first, count)| (*first..first + count).contains(&row));
            let expected: Vec<u64> = (skipped..skipped + rows).filter(|row| !gone(*row)).collect();
            let mut left = Vec::new();
            match file.selection(rows) {
                None => left.extend(skipped..skipped + rows),
                Some(selection) => {
                    let mut at = skipped;
                    for selector in selection.iter() {
                        let end = at + selector.row_count as u64;
                        if !selector.skip { left.extend(at..end); }
                        at = end;
                    }
                    prop_assert_eq!(at, skipped + rows);
                }
            }
            prop_assert_eq!(left, expected);
        }
    }
}
