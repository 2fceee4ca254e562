//! The shared types of Forebay: the interfaces between the stages of a pipeline.
//!
//! `core` holds types and small traits, nothing that does I/O of its own. It knows Arrow and nothing heavier:
//! never a database driver, a table format, a query engine or an HTTP client. Every other crate uses it.
//!
//! Reading order follows the data: a [`payload`] comes from a source, becomes a [`batch`], moves a [`position`]
//! in a [`commit`]; [`error`] has the kinds of failure and the reaction to each.

pub mod batch;
pub mod commit;
pub mod data_type;
pub mod date;
pub mod error;
pub mod explanation;
pub mod json;
pub mod messages;
pub mod name;
pub mod parquet_footer;
pub mod payload;
pub mod position;
pub mod quarantine;
pub mod secret;
pub mod sql;
pub mod text;
pub mod thrift;
pub mod time;
pub mod timing;
pub mod unit;

pub use batch::{Batch, Origins};
pub use commit::{CommitId, RunId};
pub use date::CivilDate;
pub use error::{Context, Error, ErrorKind, Result, panic_message};
pub use explanation::{Explanation, explanations};
pub use messages::{Message, Messages, MessagesBuilder};
pub use name::{
    Ident, LIST_INDEX, PARENT_ID, ROOT_ID, ROW_ID, RefName, TableName, VARIANT_SEPARATOR,
};
pub use payload::{Chunk, Compression, Kept, PayloadHead};
pub use position::{Position, PositionObject};
pub use quarantine::Rejected;
pub use secret::Secret;
pub use sql::{
    InspectedStatement, LakeSql, LakeStatement, NamedTables, RowRange, RowStream, Selected,
    SqlEngine,
};
pub use text::{shortened, shortened_value};
pub use time::{Clock, SystemClock, Timestamp};

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");
