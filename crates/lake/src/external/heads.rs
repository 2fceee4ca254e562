//! Tables as a whole: their metadata as JSON, drops and renames.

use forebay_core::{Error, RefName, Result, TableName};
use forebay_store::{AsOf, Change, Commit, Head, HeadChange};
use iceberg::spec::TableMetadata;
use serde_json::Value;

use crate::{Lake, Table};

use super::commit::{commit_heads, is_stale};
use super::fresh_commit_id;
use super::rules::check_namespace;

/// How often a table is dropped or renamed again that moved in between.
const ATTEMPTS_MAX: u32 = 20;

impl Table {
    /// The metadata as the REST protocol has it: that of the file at [`Table::metadata_location`].
    pub fn metadata_json(&self) -> Result<Value> {
        json_of(self.metadata())
    }
}

pub(super) fn json_of(metadata: &TableMetadata) -> Result<Value> {
    serde_json::to_value(metadata).map_err(|error| {
        Error::bug("bad_metadata", "failed to show the table's metadata").with_source(error)
    })
}

pub(super) fn table_exists(table: &TableName) -> Error {
    Error::conflict("table_exists", format!("Table already exists: {table}"))
}

impl Lake {
    /// Removes a table from the catalog; its files are deleted by [`Lake::clean`] once no kept state needs them.
    ///
    /// Errors: `NotFound` `no_such_table`, `Unsupported` `table_read_only`.
    pub async fn drop_external(
        &self,
        branch: &RefName,
        table: &TableName,
        author: &str,
    ) -> Result<()> {
        check_namespace(table)?;
        let message = format!("drop {table}");
        for _ in 0..ATTEMPTS_MAX {
            let head = self.existing_head(branch, table).await?;
            let heads = vec![head.into_drop()];
            match self.commit_heads(branch, author, &message, heads).await {
                Err(error) if is_stale(&error) => {}
                done => return done,
            }
        }
        Err(contended())
    }

    /// Gives a table another name; files and UUID stay.
    ///
    /// Errors: `NotFound` `no_such_table`, `Conflict` `table_exists`, `Unsupported` `table_read_only`, `Config` `view_name_taken`.
    pub async fn rename_external(
        &self,
        branch: &RefName,
        from: &TableName,
        to: &TableName,
        author: &str,
    ) -> Result<()> {
        check_namespace(from)?;
        check_namespace(to)?;
        let message = format!("rename {from} to {to}");
        for _ in 0..ATTEMPTS_MAX {
            let head = self.existing_head(branch, from).await?;
            let as_of = AsOf::Head(branch.clone());
            if self.store().head(&as_of, to).await?.is_some() {
                return Err(table_exists(to));
            }
            let named = HeadChange {
                table: to.clone(),
                uuid: head.uuid,
                expected: None,
                change: Change::Set(head.metadata_location.clone()),
            };
            self.check_new_heads(&as_of, std::slice::from_ref(&named))
                .await?;
            let heads = vec![head.into_drop(), named];
            match self.commit_heads(branch, author, &message, heads).await {
                Err(error) if is_stale(&error) => {}
                done => return done,
            }
        }
        Err(contended())
    }

    async fn existing_head(&self, branch: &RefName, table: &TableName) -> Result<Head> {
        let head = self
            .store()
            .head(&AsOf::Head(branch.clone()), table)
            .await?;
        head.ok_or_else(|| no_such_table(table))
    }

    pub(super) async fn commit_heads(
        &self,
        branch: &RefName,
        author: &str,
        message: &str,
        heads: Vec<HeadChange>,
    ) -> Result<()> {
        let id = fresh_commit_id(self.clock().now());
        let commit = Commit::of_heads(
            id,
            branch.clone(),
            author.to_owned(),
            message.to_owned(),
            heads,
        );
        commit_heads(self, commit).await.map(drop)
    }
}

pub(super) fn no_such_table(table: &TableName) -> Error {
    Error::not_found("no_such_table", format!("Table does not exist: {table}"))
}

/// Other writers were first each time.
pub(super) fn contended() -> Error {
    let what = "other writers committed first each time";
    Error::conflict("requirement_failed", what)
}
