//! The names of the views beside a bitemporal table, which no table may have: it would hide the view.
//!
//! Checked where a table gets its name, and where it becomes bitemporal. Tables that have such names already stay as they are.

use forebay_core::{Error, Result, TableName};
use forebay_store::{AsOf, Change, HeadChange};
use iceberg::spec::TableMetadata;

use super::KEY_PROPERTY;
use crate::Lake;

/// What follows the name of a bitemporal table in the name of its view of what is believed now.
pub const CURRENT_SUFFIX: &str = "__current";
/// The same for the view of what is believed now and true now.
pub const NOW_SUFFIX: &str = "__now";

/// Code of the error for a table that would hide a view.
pub const VIEW_NAME_TAKEN: &str = "view_name_taken";

/// A table that is new under its name, or newly bitemporal.
#[derive(Debug, Clone)]
pub(crate) struct NamedTable {
    pub(crate) name: TableName,
    pub(crate) is_bitemporal: bool,
}

impl NamedTable {
    pub(crate) fn of(name: &TableName, metadata: &TableMetadata) -> Self {
        Self {
            name: name.clone(),
            is_bitemporal: metadata.properties().contains_key(KEY_PROPERTY),
        }
    }
}

impl Lake {
    /// For a table without periods that is about to be created.
    ///
    /// Errors: `Config` `view_name_taken`.
    pub async fn check_table_name(&self, as_of: &AsOf, name: &TableName) -> Result<()> {
        let table = NamedTable {
            name: name.clone(),
            is_bitemporal: false,
        };
        self.check_view_names(as_of, &[table]).await
    }

    /// For tables that a commit gives names which they do not have yet. One that cannot be read is taken for one without periods.
    ///
    /// Errors: `Config` `view_name_taken`.
    pub async fn check_new_heads(&self, as_of: &AsOf, heads: &[HeadChange]) -> Result<()> {
        let mut named = Vec::new();
        for head in heads.iter().filter(|head| head.expected.is_none()) {
            if let Change::Set(location) = &head.change {
                let metadata = self.metadata().read_file(location).await;
                named.push(NamedTable {
                    name: head.table.clone(),
                    is_bitemporal: metadata
                        .is_ok_and(|metadata| metadata.properties().contains_key(KEY_PROPERTY)),
                });
            }
        }
        self.check_view_names(as_of, &named).await
    }

    /// Errors: `Config` `view_name_taken`.
    pub(crate) async fn check_view_names(&self, as_of: &AsOf, named: &[NamedTable]) -> Result<()> {
        for table in named {
            if let Some(base) = viewed(&table.name)
                && self.is_bitemporal_among(as_of, named, &base).await?
            {
                return Err(taken(&table.name, &base));
            }
            if !table.is_bitemporal {
                continue;
            }
            for view in views_of(&table.name) {
                let is_named = named.iter().any(|other| other.name == view);
                if is_named || self.store().head(as_of, &view).await?.is_some() {
                    return Err(taken(&view, &table.name));
                }
            }
        }
        Ok(())
    }

    async fn is_bitemporal_among(
        &self,
        as_of: &AsOf,
        named: &[NamedTable],
        name: &TableName,
    ) -> Result<bool> {
        if let Some(table) = named.iter().find(|table| table.name == *name) {
            return Ok(table.is_bitemporal);
        }
        let table = self.table(as_of, name).await?;
        Ok(table.is_some_and(|table| super::is_bitemporal(&table)))
    }
}

/// The table whose view has this name when it is bitemporal.
fn viewed(name: &TableName) -> Option<TableName> {
    let text = name.name.as_str();
    let base = text
        .strip_suffix(CURRENT_SUFFIX)
        .or_else(|| text.strip_suffix(NOW_SUFFIX))?;
    Some(TableName::new(name.namespace.clone(), base.parse().ok()?))
}

fn views_of(name: &TableName) -> impl Iterator<Item = TableName> {
    let views = [CURRENT_SUFFIX, NOW_SUFFIX].map(|suffix| format!("{}{suffix}", name.name));
    let views = views.into_iter().filter_map(|view| view.parse().ok());
    views.map(|view| TableName::new(name.namespace.clone(), view))
}

fn taken(view: &TableName, base: &TableName) -> Error {
    let what = format!(
        "{view} is the view of the bitemporal table {base}: a table of this name would hide it"
    );
    Error::config(VIEW_NAME_TAKEN, what).with_hint("give one of the two tables another name")
}
