//! The SQL statements of the store, once for SQLite and Postgres.

pub(crate) mod checksum;
pub(crate) mod commit;
mod error;
#[cfg(test)]
pub(crate) mod faults;
pub(crate) mod forget;
mod group;
pub(crate) mod horizon;
pub(crate) mod lease;
pub(crate) mod listing;
pub(crate) mod log;
pub(crate) mod logged;
pub(crate) mod member;
pub(crate) mod merge;
pub(crate) mod namespaces;
pub(crate) mod operation;
pub(crate) mod refs;
pub(crate) mod runs;
#[cfg(test)]
mod tests;
pub(crate) mod verify;
pub(crate) mod writer;
