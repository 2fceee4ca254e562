//! Columns of a draft that get another name or go; see [`schema::changed`].

use forebay_core::{Context, Result};

use super::Draft;
use crate::schema::{self, ColumnChange};

impl Draft {
    /// Gives a column another name: names of the column and of the structs around it, outermost first. Its values stay where they are.
    ///
    /// Errors: `Config` `no_such_column`, `column_in_use`, `bad_new_name`, `reserved_column_name`, `duplicate_column`; `Unsupported` `names_only`.
    pub fn rename_column(&mut self, path: &[String], to: &str) -> Result<()> {
        self.change_column(path, ColumnChange::Rename(to))
    }

    /// Drops a column, which earlier states of the table keep. One that comes later under its name never has its values.
    ///
    /// Errors: `Config` `no_such_column`, `column_in_use`, `last_column`; `Unsupported` `names_only`.
    pub fn drop_column(&mut self, path: &[String]) -> Result<()> {
        self.change_column(path, ColumnChange::Drop)
    }

    fn change_column(&mut self, path: &[String], change: ColumnChange<'_>) -> Result<()> {
        let changed = schema::changed(self.planned()?, path, change);
        self.change_schema(changed.context("table", &self.name)?)
    }
}
