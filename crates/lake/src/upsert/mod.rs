//! Rows that replace rows: those of a draft take the place of the rows of the table that have the same key.
//!
//! While files are written, `WrittenKeys` notes the key and the place of each row. A commit looks the keys up in the
//! table's live files (`KeyLookup`), which their bounds prune, and deletes the rows that it finds by position. Nothing is kept between
//! commits, and nothing is ever changed in place: a table is as before until the commit names the deletes.
//!
//! Of several rows of a key the one with the greatest value of the order column stays, of equal values the one that came
//! last. A null is the least value; without an order column all are equal. A row of the table that is newer than the one that comes stays, and the one that
//! comes is deleted by the same commit. Rows of child tables go with the row that they hang from (`ChildRows`).

mod children;
mod key;
mod key_map;
mod key_numbers;
mod key_range;
mod lookup;
mod written;

pub(crate) use children::{ChildRows, GoneRows, IdColumn, ParentLink};
pub(crate) use key::{EncodedKeys, KeyColumn, KeyColumns, KeyEncoder};
pub use key::{NO_KEY_COLUMN, key_refusal, rows_of_other_kind, rows_without_key};
pub(crate) use key::{is_variant, variants};
pub(crate) use key_numbers::KeyNumbers;
pub(crate) use key_range::KeyRange;
pub(crate) use lookup::{KeyLookup, RowDeletes};
pub(crate) use written::{NotedRows, WrittenKeys};
