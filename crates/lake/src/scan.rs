//! Planning a scan: which files of a snapshot can hold rows that a query wants.
//!
//! Pruning happens twice with the same question, first over whole manifests, then over single files. The predicate
//! itself belongs to the caller: it sees column bounds and says what to keep.

use std::collections::HashMap;

use forebay_core::Result;

use crate::Table;

/// A value in a bound, in the table's type of that column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Boolean(bool),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01 (UTC for `timestamptz`).
    Timestamp(i64),
    /// Unscaled value; precision and scale are the column's.
    Decimal(i128),
    String(String),
    Binary(Vec<u8>),
}

/// What is known of one manifest or file without opening it. Bounds are per Iceberg field id, inclusive, and may be
/// wider than the truth (strings are cut), never narrower.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    pub rows: u64,
    pub lower: HashMap<i32, Value>,
    pub upper: HashMap<i32, Value>,
    pub nulls: HashMap<i32, u64>,
}

/// Says for each of many containers whether it can hold a wanted row.
pub trait Prune: Send + Sync {
    /// One answer per element of `bounds`, in order.
    fn keep(&self, bounds: &[Bounds]) -> Result<Vec<bool>>;
}

/// A data file to read.
#[derive(Debug, Clone)]
pub struct ScanFile {
    /// Path below the lake's object store.
    pub path: object_store::path::Path,
    pub bytes: u64,
    pub rows: u64,
    pub bounds: Bounds,
    /// Partition values by field id of the source column, for identity transforms (a file may lack the column).
    pub identity: HashMap<i32, Value>,
    /// Positions of deleted rows, ascending; from position deletes and deletion vectors.
    pub deleted: Option<std::sync::Arc<roaring::RoaringTreemap>>,
    pub sequence: i64,
    /// The partition as text, `day=2026-01-01`, for people.
    pub partition: String,
}

#[derive(Debug, Clone, Default)]
pub struct ScanPlan {
    pub files: Vec<ScanFile>,
    pub manifests_total: usize,
    pub manifests_kept: usize,
    /// Files in the kept manifests before file pruning.
    pub files_total: usize,
}

#[expect(clippy::unimplemented, reason = "skeleton")]
#[expect(clippy::unused_async, reason = "skeleton")]
#[expect(unused_variables, reason = "skeleton")]
impl Table {
    /// Plans a scan of the table's current snapshot; `None` keeps every file.
    ///
    /// Errors: `Unsupported` for equality deletes.
    pub async fn scan(&self, prune: Option<&dyn Prune>) -> Result<ScanPlan> {
        unimplemented!()
    }
}
