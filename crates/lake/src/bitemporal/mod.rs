//! Bitemporal tables: rows with the time when they are true in the world, and the time when the lake believed them.
//!
//! A row has a valid period `[valid_from, valid_to)` and a system period `[system_from, system_to)`, in UTC and microseconds; the end of a
//! period that has none is [`END_OF_TIME`]. The terms are SQL:2011's. A record says what is true of its key in a period: the rows believed so far
//! that overlap it are closed (their `system_to` becomes the system time of the commit), what the record does not cover of
//! them is written again, and the record's own row is added. Nothing else ever changes, so what was visible as of a system time stays
//! visible as of it. The system time of a commit is its time in the catalog.
//!
//! While a pipeline loads, `StagedRows` holds its rows. `PeriodUpdate` finds the rows of their keys when the commit is made
//! (`believed`), computes the `timeline` of each key, and writes what comes out of it. It never changes a file.

mod believed;
mod bounds;
mod digest;
mod keyed;
mod output;
mod periods;
mod staged;
mod timeline;
mod update;
mod view_names;

pub use periods::{
    DELETE_COLUMN, END_OF_TIME, PeriodColumns, SYSTEM_FROM, SYSTEM_TO, VALID_FROM, VALID_TO,
    is_bitemporal, is_period_column, refuse_periods, rows_with_periods, table_schema,
};
pub(crate) use periods::{KEY_PROPERTY, may_be_period};
pub(crate) use staged::{StagedRows, split_deletes};
pub(crate) use update::PeriodUpdate;
pub(crate) use view_names::NamedTable;
pub use view_names::{CURRENT_SUFFIX, NOW_SUFFIX, VIEW_NAME_TAKEN};

/// How rows of a bitemporal table are combined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitemporal {
    /// The columns that identify what a row is about, by their names in the data.
    pub key: Vec<String>,
    /// The column that orders records of one commit; it is no part of what a row says.
    pub order: Option<String>,
    pub until: Until,
    /// Whether rows that touch and say the same become one.
    pub coalesce: bool,
}

/// The end of the valid period of a record that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Until {
    /// The next start that is known for the key: a late record leaves alone what came after it.
    #[default]
    Next,
    /// The end of time: a record replaces everything after its start.
    End,
}
