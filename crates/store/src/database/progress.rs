//! The progress of a SQLite catalog, and the errors when its mark is ahead.
//!
//! The measure is the ordinal of the newest transaction: every change of the store is one (commits, branches, leases, runs),
//! so none of them can be missing unnoticed. The newest commit is only shown in messages.

use std::fmt;
use std::path::Path;

use forebay_core::Error;

use super::mark::StoredMark;
use super::{Sql, query};

/// The progress of the catalog, or the progress recorded in its mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CatalogProgress {
    /// The ordinal of the newest transaction, 0 before the first.
    pub(crate) transaction: i64,
    pub(crate) commit: Option<NewestCommit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewestCommit {
    pub(crate) seq: i64,
    pub(crate) id: String,
}

/// `rowid` is `ordinal`, and also exists in stores from before version 5.
const PROGRESS: &str = "SELECT coalesce((SELECT max(rowid) FROM writers), 0), coalesce((SELECT max(seq) FROM commits), 0),
     (SELECT id FROM commits ORDER BY seq DESC LIMIT 1)";

impl CatalogProgress {
    /// The catalog's own, as the connection sees it.
    pub(crate) async fn read(sql: &mut Sql<'_>) -> Result<Self, sqlx::Error> {
        let row: Option<(i64, i64, Option<String>)> = query(PROGRESS).fetch_optional(sql).await?;
        let (transaction, seq, id) = row.unwrap_or_default();
        Ok(Self {
            transaction,
            commit: id.map(|id| NewestCommit { seq, id }),
        })
    }

    /// Whether transactions are missing that the mark has seen. The mark must have been read before the catalog.
    pub(crate) fn is_behind(&self, marked: &Self) -> bool {
        self.transaction < marked.transaction
    }

    /// Describes the loss.
    pub(crate) fn loss(&self, marked: &Self, mark: &Path) -> String {
        format!(
            "the catalog has lost its newest transactions: it ends at {self}, its mark {} is at {marked}",
            mark.display()
        )
    }

    /// `store_corrupt` for a catalog that is older than its mark.
    pub(crate) fn loss_error(&self, marked: &Self, mark: &Path) -> Error {
        Error::bug("store_corrupt", self.loss(marked, mark)).with_hint(RESTORE_OR_ACCEPT)
    }

    /// Describes a mark that cannot be compared; `None` while there is nothing to mark.
    pub(crate) fn mark_problem(&self, stored: &StoredMark, mark: &Path) -> Option<String> {
        let state = match stored {
            StoredMark::Whole(_) => return None,
            StoredMark::Damaged => "damaged",
            StoredMark::Missing => "missing",
        };
        (self.transaction > 0).then(|| {
            format!(
                "the mark {} is {state}: cannot check whether the catalog has lost its newest transactions",
                mark.display()
            )
        })
    }
}

impl fmt::Display for CatalogProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {} (", self.transaction)?;
        match &self.commit {
            Some(commit) => write!(f, "newest commit {}, id {})", commit.seq, commit.id),
            None => f.write_str("no commit)"),
        }
    }
}

const RESTORE_OR_ACCEPT: &str = "stop every process and restore store.db, store.db-wal and store.db-mark from one backup; or accept the loss with `forebay verify --repair`, then make tables again from the raw zone with `forebay rebuild`";
