//! A change that depends on all rows of its table, as one that adds what is not there yet.

use forebay_core::{Error, Result};

use super::Draft;
use crate::Table;

impl Draft {
    /// The commit is refused when another writer has changed the table since the draft was made, also where it has only added rows.
    pub fn expect_same_rows(&mut self) {
        self.expects_same_rows = true;
    }

    /// Errors: `Conflict` `rows_moved`.
    pub(crate) fn check_same_rows(&self, head: &Table) -> Result<()> {
        let base = self.base().and_then(Table::snapshot_id);
        if !self.expects_same_rows || base == head.snapshot_id() {
            return Ok(());
        }
        let what = "another writer changed the rows of the table";
        let error = Error::conflict("rows_moved", what);
        Err(error.with_hint("read the table again and redo the change"))
    }
}
