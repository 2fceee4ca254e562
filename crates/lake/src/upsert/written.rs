//! The rows that a draft has written, by their keys.

use std::collections::HashMap;
use std::fmt;

use arrow::array::RecordBatch;
use forebay_core::{Error, Result};
use object_store::path::Path;
use roaring::RoaringTreemap;

use super::key::{EncodedKeys, KeyColumns, KeyEncoder};
use super::key_map::{KeyMap, Place};

/// Bytes of keys of one commit, at most.
pub(super) const KEYS_BYTES_MAX: usize = 1 << 30;

/// The newest row of each key in the files of a draft, and the rows that are older than those.
pub(crate) struct WrittenKeys {
    pub(super) encoder: KeyEncoder,
    pub(super) map: KeyMap,
    pub(super) files: Vec<Path>,
    by_path: HashMap<Path, u32>,
    /// By the number of the file.
    pub(super) superseded: Vec<RoaringTreemap>,
    arrivals: u64,
}

impl fmt::Debug for WrittenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrittenKeys")
            .field("keys", &self.map.entries.len())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Rows of one batch that go into one file.
pub(crate) struct NotedRows<'a> {
    pub(crate) rows: &'a RecordBatch,
    pub(crate) path: &'a Path,
    /// The place of the first of them.
    pub(crate) position: u64,
}

impl WrittenKeys {
    pub(crate) fn new(columns: KeyColumns) -> Result<Self> {
        Ok(Self {
            encoder: KeyEncoder::new(columns)?,
            map: KeyMap::default(),
            files: Vec::new(),
            by_path: HashMap::new(),
            superseded: Vec::new(),
            arrivals: 0,
        })
    }

    /// Keys by the same columns from here on, with the order column if it was missing.
    pub(crate) fn set_columns(&mut self, columns: KeyColumns) -> Result<()> {
        let ids = |columns: &KeyColumns| {
            columns
                .columns()
                .map(|column| column.id)
                .collect::<Vec<_>>()
        };
        if ids(&columns) != ids(&self.encoder.columns) {
            self.encoder = KeyEncoder::new(columns)?;
        }
        Ok(())
    }

    /// What was written so far; nothing is known after it.
    pub(crate) fn take(&mut self) -> Result<Self> {
        let empty = Self::new(self.encoder.columns.clone())?;
        Ok(std::mem::replace(self, empty))
    }

    pub(crate) fn columns(&self) -> &KeyColumns {
        &self.encoder.columns
    }

    /// Takes the numbers of the next rows; returns the first.
    pub(crate) fn arrive(&mut self, rows: usize) -> u64 {
        let first = self.arrivals;
        self.arrivals += rows as u64;
        first
    }

    /// Notes rows that are written; `arrival` gives the number of each.
    ///
    /// Errors: `Config` `too_many_keys`.
    pub(crate) fn note(
        &mut self,
        noted: &NotedRows<'_>,
        arrival: impl Fn(usize) -> u64,
    ) -> Result<()> {
        let encoded = self.encoder.encode(noted.rows)?;
        let file = self.file(noted.path)?;
        for row in 0..noted.rows.num_rows() {
            let position = noted.position + row as u64;
            let noted = self.note_row(&encoded, row, Place { file, position }, arrival(row));
            noted.ok_or_else(too_many_keys)?;
        }
        match self.map.memory_bytes() > KEYS_BYTES_MAX {
            true => Err(too_many_keys()),
            false => Ok(()),
        }
    }

    fn note_row(
        &mut self,
        encoded: &EncodedKeys,
        row: usize,
        place: Place,
        arrival: u64,
    ) -> Option<()> {
        let key = encoded.key.row(row);
        let order = encoded.order(row);
        let Some(entry) = self.map.find(key.data()) else {
            return self.map.add(key.data(), order, place, arrival);
        };
        let known = &self.map.entries[entry as usize];
        let older = match (order, arrival) > (self.map.order(entry), known.arrival) {
            true => {
                let older = known.place;
                self.map.replace(entry, order, place, arrival)?;
                older
            }
            false => place,
        };
        self.superseded[older.file as usize].insert(older.position);
        Some(())
    }

    fn file(&mut self, path: &Path) -> Result<u32> {
        if let Some(file) = self.by_path.get(path) {
            return Ok(*file);
        }
        let file = u32::try_from(self.files.len()).map_err(|_| too_many_keys())?;
        self.files.push(path.clone());
        self.superseded.push(RoaringTreemap::new());
        self.by_path.insert(path.clone(), file);
        Ok(file)
    }

    /// The rows of a file are in another one now, in the same order.
    pub(crate) fn rename(&mut self, old: &Path, new: &Path) {
        if let Some(file) = self.by_path.remove(old) {
            self.files[file as usize] = new.clone();
            self.by_path.insert(new.clone(), file);
        }
    }
}

pub(super) fn too_many_keys() -> Error {
    Error::config(
        "too_many_keys",
        "one commit has more keys than fit into memory",
    )
    .with_hint("commit fewer rows at once: set a smaller `buffer.rows`")
}
