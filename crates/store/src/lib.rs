//! The platform's own memory: the catalog as a versioned log with branches, positions of writers, leases, runs.
//! It is stored in a SQLite file or in a schema of a Postgres database; callers see no difference.
//!
//! One commit is one SQL transaction (see [`Store::commit`]). Big facts (requests, quarantined rows, raw indexes) are
//! lake tables and never rows here. This crate never reads or writes a table's files and knows no Iceberg type:
//! a table is a UUID and the location of its metadata.

mod commit;
mod database;
mod horizon;
mod lease;
mod log;
mod merge;
mod namespaces;
mod refs;
mod runs;
mod sql;
mod store;

pub use commit::{Change, Commit, Committed, HeadChange, PositionMove, TIME_PASSED};
pub use database::StoreUrl;
pub use horizon::{
    Forgotten, Horizon, LoggedPosition, LoggedPositions, Place, PlaceCursor, Places,
};
pub use lease::{Lease, LeaseRequest, Member};
pub use log::{AsOf, CommitRecord, Head};
pub use merge::{MergeBase, MergeSides, MergedStates, SplitPosition, SplitSides, TableSides};
pub use namespaces::{NamespaceRecord, PropertyChange};
pub use refs::Branch;
pub use runs::{RunRecord, RunStatus, StepRecord};
pub use store::Store;

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
