//! SQL over batches and over the lake: the only crate that knows DataFusion.
//!
//! Transforms of a pipeline call [`Engine`] through [`forebay_core::SqlEngine`]; [`Query`] is for people. Both only
//! read: no statement of theirs changes a table, reaches a file outside the lake or runs without a memory limit. [`ChangeSession`] is for
//! callers that may change tables.
//!
//! Reading order: [`statement`] (text to one allowed statement) → [`as_of`] (time travel) → `state` (how the engine is set
//! up) → [`engine`] for transforms; `session` → `catalog` → `table` / `system` / `raw` for people.

mod address;
pub mod as_of;
mod catalog;
mod change;
mod column_path;
mod depth;
mod describe;
mod dialect;
pub mod engine;
mod error;
mod expansion;
mod frugal;
mod function;
mod information;
mod limit_statistics;
mod made_rows;
mod moving;
mod name;
mod named_tables;
mod natural_join;
mod new_rows;
mod ntile;
mod offset;
mod optimize;
mod output_names;
mod outside;
mod period_rows;
mod physical;
mod pinned;
mod place;
mod plain;
mod raw;
mod rewrite;
mod row_fit;
mod run;
mod semantics;
mod session;
mod spill_pool;
mod state;
pub mod statement;
mod system;
mod table;
mod time_clause;
mod types;
mod whole_sort;
mod wide;

pub use change::{ChangeOptions, ChangeReport, ChangeSession, ChangeStatement};
pub use engine::Engine;
pub use engine::deadline::QueryCancellation;
pub use error::QUERY_CANCELLED;
pub use place::StatementStart;
pub use raw::{PAYLOAD_COLUMN, PayloadReader};
pub use session::{Answer, MEMORY_BYTES_DEFAULT, Query, QueryOptions, SPILL_BYTES_DEFAULT};

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
