//! The rows of a draft, fitted to the table, by key and in the order in which they are applied.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use forebay_core::{Error, Result};

use super::digest::Digests;
use super::periods::{END_OF_TIME, VALID_FROM, VALID_TO};
use super::staged::StagedRows;
use super::timeline::{Change, RowSource};
use crate::scan::Bounds;
use crate::upsert::{EncodedKeys, KeyColumns, KeyEncoder, KeyNumbers};
use crate::write::adapt;

/// A record of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) key: u32,
    /// The number of its commit; see [`KeyedRows::commits`].
    pub(super) commit: u32,
    pub(super) change: Change,
}

/// The rows of a draft.
#[derive(Debug)]
pub(super) struct KeyedRows {
    /// With exactly the columns of the table.
    pub(super) batches: Vec<RecordBatch>,
    pub(super) columns: KeyColumns,
    pub(super) numbers: KeyNumbers,
    /// By key, commit, order and arrival.
    records: Vec<Record>,
    /// Of each key the place of its first record, and the number of all records.
    starts: Vec<u32>,
    /// Of each key the first and the last time that its records say anything of.
    spans: Vec<(i64, i64)>,
    /// System times of the commits; `None` is that of the commit that they wait for.
    pub(super) commits: Vec<Option<i64>>,
}

impl KeyedRows {
    /// Errors: those of [`crate::Draft::bitemporal_by`], and of a value that does not fit its column.
    pub(super) fn new(staged: &StagedRows, table: &SchemaRef) -> Result<Self> {
        let rules = &staged.rules;
        let columns = KeyColumns::find(table, &rules.key, rules.order.as_deref())?;
        let encoder = KeyEncoder::new(columns.clone())?;
        let digests = digests(table, staged)?;
        let mut keyed = Self {
            batches: Vec::with_capacity(staged.batches.len()),
            columns,
            numbers: KeyNumbers::default(),
            records: Vec::new(),
            starts: Vec::new(),
            spans: Vec::new(),
            commits: Vec::new(),
        };
        let mut orders = Vec::with_capacity(staged.batches.len());
        for batch in &staged.batches {
            let system_time = batch.system_time.map(|at| at.micros());
            if keyed.commits.last() != Some(&system_time) {
                keyed.commits.push(system_time);
            }
            let rows = adapt::batch(&batch.rows, table)?;
            let encoded = encoder.encode(&rows)?;
            keyed.add(&rows, &batch.deletes, &encoded, &digests.of(&rows)?)?;
            keyed.batches.push(rows);
            orders.push(encoded);
        }
        keyed.sort(&orders);
        Ok(keyed)
    }

    fn add(
        &mut self,
        rows: &RecordBatch,
        deletes: &arrow::array::BooleanArray,
        encoded: &EncodedKeys,
        digests: &[u128],
    ) -> Result<()> {
        let too_many = || Error::config("commit_too_big", "one commit has too many rows");
        let batch = u32::try_from(self.batches.len()).map_err(|_| too_many())?;
        let from = times(rows, VALID_FROM)?;
        let to = times(rows, VALID_TO)?;
        for (row, digest) in digests.iter().enumerate() {
            let key = encoded.key.row(row);
            let source = RowSource {
                batch,
                row: row as u32,
            };
            let change = Change {
                from: from.is_valid(row).then(|| from.value(row)),
                to: to.is_valid(row).then(|| to.value(row)),
                is_delete: deletes.value(row),
                digest: *digest,
                source,
            };
            self.records.push(Record {
                key: self.numbers.number(key.data()).ok_or_else(too_many)?,
                commit: self.commits.len() as u32 - 1,
                change,
            });
        }
        match u32::try_from(self.records.len()) {
            Ok(_) => Ok(()),
            Err(_) => Err(too_many()),
        }
    }

    fn sort(&mut self, orders: &[EncodedKeys]) {
        let order = |record: &Record| {
            let RowSource { batch, row } = record.change.source;
            orders[batch as usize].order(row as usize)
        };
        let arrival = |record: &Record| (record.change.source.batch, record.change.source.row);
        self.records.sort_unstable_by(|a, b| {
            let keys = (a.key, a.commit).cmp(&(b.key, b.commit));
            keys.then_with(|| order(a).cmp(order(b)))
                .then_with(|| arrival(a).cmp(&arrival(b)))
        });
        self.starts = vec![0; self.numbers.len() + 1];
        for record in &self.records {
            self.starts[record.key as usize + 1] += 1;
        }
        for key in 1..self.starts.len() {
            self.starts[key] += self.starts[key - 1];
        }
        self.spans = vec![(END_OF_TIME, i64::MIN); self.numbers.len()];
        for Record { key, change, .. } in &self.records {
            let (from, to) = &mut self.spans[*key as usize];
            *from = (*from).min(change.from.unwrap_or(i64::MIN));
            *to = (*to).max(change.to.unwrap_or(END_OF_TIME));
        }
    }

    /// The records of a key, in the order in which they are applied.
    pub(super) fn records(&self, key: u32) -> &[Record] {
        let [start, end] = [key, key + 1].map(|key| self.starts[key as usize] as usize);
        &self.records[start..end]
    }

    /// Between which times the records of a key may change anything, both inclusive.
    pub(super) fn span(&self, key: u32) -> (i64, i64) {
        self.spans[key as usize]
    }

    /// The least and the greatest value of each column of the key.
    pub(super) fn bounds(&self) -> Bounds {
        let mut bounds = Bounds::default();
        for column in &self.columns.key {
            if let Some((low, high)) = super::bounds::of_column(&self.batches, column.id) {
                bounds.lower.insert(column.id, low);
                bounds.upper.insert(column.id, high);
            }
        }
        bounds
    }
}

/// What makes the digests of rows that have the columns of the table.
pub(super) fn digests(table: &SchemaRef, staged: &StagedRows) -> Result<Digests> {
    let key = staged.rules.key.iter().chain(&staged.rules.order);
    let left_out: Vec<&str> = key.map(String::as_str).collect();
    Digests::new(table, &left_out)
}

/// A column of times by its name.
pub(super) fn times<'r>(
    rows: &'r RecordBatch,
    name: &str,
) -> Result<&'r arrow::array::TimestampMicrosecondArray> {
    let column = rows.column_by_name(name);
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    times.ok_or_else(|| {
        Error::config(
            "not_bitemporal",
            format!("the table has no column `{name}` of times"),
        )
        .with_hint("load into another table: this one was changed by another program")
    })
}
