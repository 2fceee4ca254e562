//! Finds the rows of a table that are believed and have a key of the draft.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use forebay_core::{Context, Error, Result};
use tokio::runtime::Handle;

use super::keyed::KeyedRows;
use super::periods::{END_OF_TIME, SYSTEM_FROM, SYSTEM_TO, VALID_FROM, VALID_TO};
use crate::Table;
use crate::file_columns::{FileToSearch, WantedColumns, search_files};
use crate::partition::source::field_id;
use crate::scan::{Bounds, Prune, ScanFile};
use crate::upsert::{KeyColumn, KeyEncoder, KeyRange};
use crate::value::Value;

/// A row of a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BelievedRow {
    pub(super) key: u32,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) since: i64,
    pub(super) position: u64,
}

/// The columns of periods, with their ids.
#[derive(Debug, Clone)]
pub(super) struct PeriodIds([(String, i32); 4]);

impl PeriodIds {
    /// Errors: `Config` `not_bitemporal`.
    pub(super) fn find(table: &Table) -> Result<Self> {
        let schema = table.schema();
        let id = |name: &str| {
            let id = schema
                .column_with_name(name)
                .and_then(|(_, field)| field_id(field));
            id.map(|id| (name.to_owned(), id)).ok_or_else(|| {
                Error::config(
                    "not_bitemporal",
                    format!("the table has no column `{name}`"),
                )
            })
        };
        Ok(Self([
            id(VALID_FROM)?,
            id(VALID_TO)?,
            id(SYSTEM_FROM)?,
            id(SYSTEM_TO)?,
        ]))
    }
}

/// Leaves out files that no key of the draft is in, and those that have history only.
pub(super) struct BelievedFiles {
    keys: KeyRange,
    system_to: i32,
}

impl BelievedFiles {
    pub(super) fn new(keyed: &KeyedRows, ids: &PeriodIds) -> Self {
        let columns = keyed.columns.key.iter().map(|column| column.id);
        let [.., (_, system_to)] = &ids.0;
        Self {
            keys: KeyRange::of(columns, &[keyed.bounds()]),
            system_to: *system_to,
        }
    }
}

impl Prune for BelievedFiles {
    fn keep(&self, bounds: &[Bounds]) -> Result<Vec<bool>> {
        let is_history = |bounds: &Bounds| {
            let upper = bounds.upper.get(&self.system_to);
            upper.is_some_and(|upper| upper.is_below(&Value::Timestamp(END_OF_TIME)))
        };
        let keep = |bounds: &Bounds| !is_history(bounds) && self.keys.may_have(bounds);
        Ok(bounds.iter().map(keep).collect())
    }
}

/// The believed rows of the keys, for each of the files; deleted ones too.
pub(super) async fn search(
    keyed: &Arc<KeyedRows>,
    ids: &PeriodIds,
    table: &Table,
    files: Vec<ScanFile>,
) -> Result<Vec<(ScanFile, Vec<BelievedRow>)>> {
    let searches = files.into_iter().map(|file| {
        let search = Search {
            keyed: Arc::clone(keyed),
            ids: ids.clone(),
            file: FileToSearch::new(table, &file),
        };
        move |runtime: &Handle| {
            let rows = search.run(runtime).context("file", &file.path)?;
            Ok((file, rows))
        }
    });
    search_files(searches.collect()).await
}

struct Search {
    keyed: Arc<KeyedRows>,
    ids: PeriodIds,
    file: FileToSearch,
}

impl Search {
    fn run(self, runtime: &Handle) -> Result<Vec<BelievedRow>> {
        let columns = self.keyed.columns.clone();
        let encoder = KeyEncoder::new(columns.clone().without_order())?;
        let wanted = WantedColumns {
            needed: columns
                .key
                .iter()
                .map(KeyColumn::name_and_id)
                .chain(self.ids.0.clone())
                .collect(),
            others: Vec::new(),
        };
        let mut found = Vec::new();
        self.file.read(runtime, &wanted, |batch, first| {
            self.collect(&encoder, batch, first, &mut found)
        })?;
        Ok(found)
    }

    fn collect(
        &self,
        encoder: &KeyEncoder,
        batch: &RecordBatch,
        first: u64,
        found: &mut Vec<BelievedRow>,
    ) -> Result<()> {
        let encoded = encoder.encode(batch)?;
        let [from, to, since, until] = self
            .ids
            .0
            .each_ref()
            .map(|(name, _)| super::keyed::times(batch, name));
        let (from, to, since, until) = (from?, to?, since?, until?);
        for row in 0..batch.num_rows() {
            let is_believed = until.is_valid(row) && until.value(row) == END_OF_TIME;
            let is_sound = from.is_valid(row) && to.is_valid(row) && since.is_valid(row);
            if is_believed
                && is_sound
                && let Some(key) = self.keyed.numbers.find(encoded.key.row(row).data())
            {
                found.push(BelievedRow {
                    key,
                    from: from.value(row),
                    to: to.value(row),
                    since: since.value(row),
                    position: first + row as u64,
                });
            }
        }
        Ok(())
    }
}
