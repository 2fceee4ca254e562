//! Keys that rows of both branches have: whether appended rows may be added, and what a conflict names.

use std::collections::{BTreeMap, HashSet};

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use forebay_core::{Context, Error, Result, shortened};
use tokio::runtime::Handle;

use crate::Table;
use crate::bitemporal::KEY_PROPERTY;
use crate::file_columns::{FileToSearch, WantedColumns};
use crate::ownership::UPSERT_KEY_PROPERTY;
use crate::partition::source::column_of;
use crate::scan::AddedFile;
use crate::upsert::{KeyColumn, KeyColumns, KeyEncoder};

/// Keys of one side that are held in memory, 100 bytes each or so.
const KEYS_MAX: u64 = 1_000_000;
/// Keys that a conflict names, and the longest text of one.
const NAMED_MAX: usize = 10;
const NAMED_CHARS_MAX: usize = 80;

/// The key by which a table's rows are replaced.
pub(super) struct TableKey {
    pub(super) columns: Vec<String>,
    /// Its rows have periods.
    pub(super) has_periods: bool,
}

pub(super) enum SharedKeys {
    None,
    /// Some of them, for people.
    Some(String),
    /// They were not compared, for this reason.
    Unknown(String),
}

pub(super) fn table_key(table: &Table) -> Option<TableKey> {
    let properties = table.metadata().properties();
    if let Some(key) = properties.get(KEY_PROPERTY) {
        return Some(TableKey {
            columns: key.split(',').map(str::to_owned).collect(),
            has_periods: true,
        });
    }
    let columns = serde_json::from_str(properties.get(UPSERT_KEY_PROPERTY)?);
    Some(TableKey {
        // One that cannot be read has no columns, and so no keys that could be compared.
        columns: columns.unwrap_or_default(),
        has_periods: false,
    })
}

type Side<'a> = (&'a Table, &'a Vec<AddedFile>);

/// The keys that added files of both sides have.
pub(super) async fn shared(
    (ours, theirs): (Side<'_>, Side<'_>),
    columns: &[String],
) -> Result<SharedKeys> {
    if ours.1.is_empty() || theirs.1.is_empty() {
        return Ok(SharedKeys::None);
    }
    if columns.is_empty() {
        return Ok(SharedKeys::Unknown("the key is not known".to_owned()));
    }
    let rows = |side: Side<'_>| -> Result<u64> {
        let files = side.1.iter().map(|file| file.data_file(side.0));
        files.map(|file| file.map(|file| file.rows)).sum()
    };
    // The smaller side is the one that is held.
    let (held, read) = match rows(ours)? <= rows(theirs)? {
        true => (ours, theirs),
        false => (theirs, ours),
    };
    if rows(held)? > KEYS_MAX {
        let why = format!("both sides have more than {KEYS_MAX} new rows");
        return Ok(SharedKeys::Unknown(why));
    }
    let mut search = KeySearch::new(held.0, columns)?;
    let held = files(held)?;
    search.columns_of_read = KeyColumns::find(&read.0.schema(), columns, None)?.key;
    let read = files(read)?;
    let runtime = Handle::current();
    let searched = tokio::task::spawn_blocking(move || search.run(&held, &read, &runtime)).await;
    searched.unwrap_or_else(|error| {
        Err(Error::bug("lookup_panicked", "the look-up of keys panicked").with_source(error))
    })
}

fn files((table, added): Side<'_>) -> Result<Vec<FileToSearch>> {
    let files = added.iter().map(|file| {
        let file = file.to_read(table)?;
        Ok(FileToSearch::new(table, &file))
    });
    files.collect()
}

struct KeySearch {
    encoder: KeyEncoder,
    columns: Vec<KeyColumn>,
    columns_of_read: Vec<KeyColumn>,
    held: HashSet<Box<[u8]>>,
    /// Text of the keys that were found, by their bytes.
    found: BTreeMap<Box<[u8]>, String>,
    count: u64,
}

impl KeySearch {
    fn new(table: &Table, columns: &[String]) -> Result<Self> {
        let columns = KeyColumns::find(&table.schema(), columns, None)?;
        Ok(Self {
            columns: columns.key.clone(),
            columns_of_read: Vec::new(),
            encoder: KeyEncoder::new(columns)?,
            held: HashSet::new(),
            found: BTreeMap::new(),
            count: 0,
        })
    }

    fn run(
        mut self,
        held: &[FileToSearch],
        read: &[FileToSearch],
        runtime: &Handle,
    ) -> Result<SharedKeys> {
        let wanted = wanted(&self.columns);
        for file in held {
            let taken = file.read(runtime, &wanted, |batch, _| self.hold(batch));
            taken.context("file", file.path())?;
        }
        let wanted = self::wanted(&self.columns_of_read);
        for file in read {
            let taken = file.read(runtime, &wanted, |batch, _| self.find(batch));
            taken.context("file", file.path())?;
        }
        if self.count == 0 {
            return Ok(SharedKeys::None);
        }
        let mut text: Vec<String> = self.found.into_values().collect();
        if self.count > NAMED_MAX as u64 {
            text.push("…".to_owned());
        }
        Ok(SharedKeys::Some(text.join(", ")))
    }

    fn hold(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.encoder.encode(batch)?;
        for row in 0..batch.num_rows() {
            self.held.insert(keys.key.row(row).data().into());
        }
        Ok(())
    }

    fn find(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.encoder.encode(batch)?;
        for row in 0..batch.num_rows() {
            let key = keys.key.row(row);
            let key = key.data();
            if !self.held.remove(key) {
                continue;
            }
            self.count += 1;
            if self.found.len() < NAMED_MAX {
                let text = text_of(batch, &self.columns, row);
                self.found.insert(key.into(), text);
            }
        }
        Ok(())
    }
}

fn wanted(columns: &[KeyColumn]) -> WantedColumns {
    WantedColumns {
        needed: columns.iter().map(KeyColumn::name_and_id).collect(),
        others: Vec::new(),
    }
}

/// `(id=7, day=2026-01-01)`.
fn text_of(batch: &RecordBatch, columns: &[KeyColumn], row: usize) -> String {
    let values = columns.iter().map(|column| {
        let value = column_of(batch, column.id).and_then(|values| {
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(values, &options).ok()?;
            Some(shown.value(row).to_string())
        });
        let value = shortened(&value.unwrap_or_default(), NAMED_CHARS_MAX).into_owned();
        format!("{}={value}", column.name)
    });
    format!("({})", values.collect::<Vec<_>>().join(", "))
}
