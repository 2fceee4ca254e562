//! Iceberg tables over the catalog: create, append, evolve, plan scans.
//!
//! The commit path is ours; the `iceberg` crate gives the format's types and (de)serialisation and is known to no
//! other crate. A table's locations hold UUIDs only, never names. This crate never runs a query: a scan is planned
//! here ([`scan`]) and read by `query`.

mod age;
mod avro;
pub mod bitemporal;
mod bound;
mod checked_file;
mod clean;
mod commit;
mod compact;
mod delete_format;
mod draft;
mod error;
mod external;
mod field_count;
mod file_columns;
mod file_owner;
mod lake;
mod lineage;
mod manifest_cache;
mod merge;
mod metadata;
mod ownership;
pub mod partition;
mod rewrite;
pub mod scan;
mod schema;
mod snapshot;
mod spill;
pub mod storage;
mod table;
mod turn;
pub mod upsert;
pub(crate) mod value;
mod verify;
mod write;
mod write_memory;

pub use age::{DRAFT_AGE_MAX, SAFE_AGE_MIN, check_age};
pub use checked_file::CheckedFile;
pub use clean::{CleanRequest, Cleaned, CleanedPositions, CleanedRaw, CleanedTable, FileCount};
pub use commit::{CommitRequest, LakeCommit, position_property};
pub use compact::{CompactRequest, CompactedTable, CompactionRules};
pub use delete_format::ROW_DELETES_UNSUPPORTED;
pub use draft::Draft;
pub use external::{
    EXTERNAL_TABLES_MAX, ExternalChange, ExternalCommit, PlannedTable, TableDefinition,
};
pub use lake::Lake;
pub use lineage::{LineageEdge, reads_property};
pub use merge::{
    BranchChanges, ChangeKind, MERGE_CONFLICT, MergeOutcome, MergeRequest, MergedBranch,
    PositionChanges, TableChanges,
};
pub use ownership::{
    LOADERS_PROPERTY, OWNER_PROPERTY, is_pipeline_namespace, is_system_namespace, loader_names,
};
pub use partition::PartitionField;
pub use rewrite::{REWRITE_BYTES_MAX, SAME_SEQUENCES_NOTE, WideningObstacle};
pub use schema::{
    INCOMPATIBLE_TYPE, NO_SUCH_COLUMN, TYPE_DEPTH_MAX, UUID_MARK, check_new_column, data_schema,
    is_uuid, source_name,
};
pub use spill::SpillFolder;
pub use table::{SnapshotInfo, Table};
pub use verify::TableReport;
pub use write::{DataFile, TableWriter, WriterOptions};

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
