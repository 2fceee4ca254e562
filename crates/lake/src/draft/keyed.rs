//! Drafts whose rows replace, or end, those of the table with the same key.
//!
//! Only says what the rows are to do: the commit looks the keys up.

use std::sync::Arc;

use forebay_core::{Context, Error, Result, TableName, Timestamp};
use parking_lot::Mutex;

use super::Draft;
use crate::Table;
use crate::bitemporal::{Bitemporal, KEY_PROPERTY, PeriodUpdate, StagedRows, may_be_period};
use crate::scan::{Bounds, written_bounds};
use crate::schema;
use crate::upsert::{ChildRows, IdColumn, KeyColumns, KeyLookup, ParentLink, WrittenKeys};

impl Draft {
    /// The rows of this draft replace those of the table with the same key: columns by their names in the data. `order` names
    /// the column that says which of two rows is newer; see [`crate::upsert`]. No row may have a null in its key.
    ///
    /// Errors: `Config` `no_key_column`, `bad_key_type`; `Unsupported` `row_deletes_unsupported`; `Bug` when rows were written before.
    pub fn upsert_by(&mut self, key: &[String], order: Option<&str>) -> Result<()> {
        self.check_base_deletes()?;
        let schema = schema::to_arrow(self.planned()?.current_schema())?;
        let columns = KeyColumns::find(&schema, key, order).context("table", &self.name)?;
        if let Some(keys) = &self.keys {
            // The order column may have come since.
            return keys.lock().set_columns(columns);
        }
        if !self.files.is_empty() {
            let what = "rows were written before the key of the table was set";
            return Err(Error::bug("late_key", what)).context("table", &self.name);
        }
        self.keys = Some(Arc::new(Mutex::new(WrittenKeys::new(columns)?)));
        Ok(())
    }

    /// Rows of child tables find those of this draft by the column `id`: they are deleted with the rows that [`Draft::upsert_by`] replaces, when
    /// drafts of those tables are in the same commit.
    pub fn identify_rows(&mut self, id: &str) {
        self.row_ids = Some(id.to_owned());
    }

    /// The rows of this table, now and from before, are deleted with the row of `parent` that they hang from, whose id is in their column
    /// `parent_id`; their own is in `id`.
    ///
    /// Errors: `Unsupported` `row_deletes_unsupported`.
    pub fn follow_rows(&mut self, parent: &TableName, parent_id: &str, id: &str) -> Result<()> {
        self.check_base_deletes()?;
        self.parent = Some(ParentLink {
            table: parent.clone(),
            parent_id: parent_id.to_owned(),
            id: id.to_owned(),
        });
        Ok(())
    }

    /// The commit is refused before it writes a file when it may delete rows of a table that does not support it.
    ///
    /// Errors: `Unsupported` `row_deletes_unsupported`.
    pub(crate) fn check_deletes(&self) -> Result<()> {
        let may_delete = self.keys.is_some()
            || self.staged.is_some()
            || self.parent.is_some()
            || !self.row_deletes.is_empty();
        match may_delete {
            true => self.check_base_deletes(),
            false => Ok(()),
        }
    }

    fn check_base_deletes(&self) -> Result<()> {
        match &self.base {
            Some(base) => base.check_row_deletes(),
            None => Ok(()),
        }
    }

    /// Whether it only deletes rows that hang from rows of a parent.
    pub(crate) fn only_follows(&self) -> bool {
        self.parent.is_some() && !self.has_changes()
    }

    /// The search for the rows that go with those of a parent; `None` for a table without one.
    ///
    /// Errors: `Config` `no_row_ids`.
    pub(crate) fn child_rows(&self) -> Result<Option<ChildRows>> {
        let Some(link) = self.parent.clone() else {
            return Ok(None);
        };
        let schema = schema::to_arrow(self.planned()?.current_schema())?;
        ChildRows::of(&schema, link).map(Some)
    }

    pub(crate) fn written_keys(&self) -> Option<Arc<Mutex<WrittenKeys>>> {
        self.keys.clone()
    }

    /// The table is bitemporal: see [`crate::bitemporal`]. Rows are those of [`crate::bitemporal::rows_with_periods`], and the schema has the
    /// columns of [`crate::bitemporal::table_schema`].
    ///
    /// A table that is there and never had a row becomes bitemporal; its mark is set also while columns of the key are missing.
    ///
    /// Errors: `Config` `no_key_column`, `bad_key_type`, `not_bitemporal` when the table is there and is no bitemporal one, `key_changed` when it
    /// has another key; `Unsupported` `row_deletes_unsupported`; `Bug` when rows were written before.
    pub fn bitemporal_by(&mut self, rules: &Bitemporal) -> Result<()> {
        self.check_base_deletes()?;
        self.mark_bitemporal(rules).context("table", &self.name)?;
        let schema = schema::to_arrow(self.planned()?.current_schema())?;
        KeyColumns::find(&schema, &rules.key, rules.order.as_deref())
            .context("table", &self.name)?;
        let known = self
            .staged
            .as_ref()
            .map(|staged| staged.lock().rules().clone());
        if known.as_ref() == Some(rules) {
            return Ok(());
        }
        if known.is_some() || !self.files.is_empty() {
            let what = "rows were written before the key of the table was set";
            return Err(Error::bug("late_key", what)).context("table", &self.name);
        }
        self.staged = Some(Arc::new(Mutex::new(StagedRows::new(rules.clone()))));
        Ok(())
    }

    /// Whether the table has periods: then its rows come by [`Draft::bitemporal_by`] only.
    pub fn is_bitemporal(&self) -> bool {
        self.property(KEY_PROPERTY).is_some()
    }

    /// Errors: `Config` `not_bitemporal`, `key_changed`; `Conflict` `property_moved`.
    fn mark_bitemporal(&mut self, rules: &Bitemporal) -> Result<()> {
        let key = rules.key.join(",");
        match self.property(KEY_PROPERTY) {
            Some(known) if known == key => return Ok(()),
            Some(known) => {
                let what = format!("the key of the table is ({known})");
                return Err(Error::config("key_changed", what)
                    .with_hint("load into another table: what is believed of a key cannot be told by another one"));
            }
            None => {}
        }
        if let Some(base) = &self.base {
            if !is_unused(base) {
                let what = "the table has rows without periods";
                return Err(
                    Error::config("not_bitemporal", what).with_hint("load into another table")
                );
            }
            self.expect_property(KEY_PROPERTY, None)?;
            self.expect_same_rows();
        }
        self.set_property(KEY_PROPERTY, key);
        Ok(())
    }

    /// Rows that are written from here on were committed at `at` before: a table is made again from what it was made of.
    pub fn set_system_time(&mut self, at: Timestamp) {
        if let Some(staged) = &self.staged {
            staged.lock().set_system_time(at);
        }
    }

    /// Bytes of its rows that are in memory until the commit.
    pub fn staged_bytes(&self) -> usize {
        let staged = self.staged.as_ref();
        staged.map_or(0, |staged| staged.lock().bytes())
    }

    pub(crate) fn staged_rows(&self) -> Option<Arc<Mutex<StagedRows>>> {
        self.staged.clone()
    }

    /// The rows of a bitemporal table; `None` when there are none.
    pub(crate) fn period_update(&self) -> Option<PeriodUpdate> {
        let mut staged = self.staged.as_ref()?.lock();
        (!staged.is_empty()).then(|| PeriodUpdate::new(staged.take()))
    }

    pub(super) fn key_columns(&self) -> Option<KeyColumns> {
        if let Some(keys) = &self.keys {
            return Some(keys.lock().columns().clone());
        }
        let staged = self.staged.as_ref()?.lock();
        let rules = staged.rules();
        let schema = self.schema()?;
        KeyColumns::find(&schema, &rules.key, rules.order.as_deref()).ok()
    }

    /// The search for the rows that those of this draft replace; `None` when they replace none.
    ///
    /// Errors: `Config` `no_row_ids`.
    pub(crate) fn key_lookup(&self) -> Result<Option<KeyLookup>> {
        let Some(keys) = self.keys.as_ref().filter(|_| !self.files.is_empty()) else {
            return Ok(None);
        };
        let table = self.planned()?;
        let bounds: Vec<Bounds> = self
            .files
            .iter()
            .map(|file| written_bounds(file, table))
            .collect();
        let id_column = |id: &str| {
            let schema = schema::to_arrow(table.current_schema())?;
            IdColumn::find(&schema, id)
        };
        let ids = self.row_ids.as_deref().map(id_column).transpose()?;
        Ok(Some(KeyLookup::new(keys.lock().take()?, &bounds, ids)))
    }
}

/// Whether a table never had a row, and its columns may be those of a bitemporal one.
fn is_unused(table: &Table) -> bool {
    let schema = table.schema();
    let mut fields = schema.fields().iter();
    table.metadata().snapshots().len() == 0 && fields.all(|field| may_be_period(field))
}
