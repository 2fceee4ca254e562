//! Tables that other engines have made come into the catalog as they are.

use forebay_core::{Context, Error, RefName, Result, TableName};
use forebay_store::{AsOf, Change, Head, HeadChange};
use iceberg::spec::TableMetadata;
use object_store::path::Path;

use crate::bitemporal::NamedTable;
use crate::commit::COMMIT_PROPERTY;
use crate::{Lake, Table};

use super::commit::{as_bad_update, is_stale};
use super::heads::table_exists;
use super::numbers::check_numbers;
use super::rules::{OWN_PREFIX, check_namespace, refused};
use super::snapshots::{SnapshotChecks, TableFolder, check_metadata_file};

/// Folders of the lake whose files belong to no registered table.
const RESERVED_FOLDERS: [&str; 5] = ["raw", "positions", "journal", "locks", "spill"];

impl Lake {
    /// Takes the table with this metadata file into the catalog. The file and all that it names must be below the root of the lake, in
    /// the table's own folder. Nothing is copied or changed.
    ///
    /// Errors: `Conflict` `table_exists`, `already_registered`; `Unsupported` `outside_lake`, `update_refused`; `Data` `bad_update`,
    /// `metadata_corrupt`; `Unsupported` `table_read_only`; `Config` `view_name_taken`.
    pub async fn register_external(
        &self,
        branch: &RefName,
        table: &TableName,
        metadata_location: &str,
        author: &str,
    ) -> Result<Table> {
        check_namespace(table)?;
        let as_of = AsOf::Head(branch.clone());
        let heads = self.store().heads(&as_of).await?;
        if heads.iter().any(|head| head.table == *table) {
            return Err(table_exists(table));
        }
        let metadata = self.checked_metadata(metadata_location, &heads).await;
        let metadata = metadata.context("file", metadata_location)?;
        let named = NamedTable::of(table, &metadata);
        self.check_view_names(&as_of, &[named]).await?;
        let change = HeadChange {
            table: table.clone(),
            uuid: metadata.uuid(),
            expected: None,
            change: Change::Set(metadata_location.to_owned()),
        };
        let message = format!("register {table}");
        let registered = self.commit_heads(branch, author, &message, vec![change]);
        registered.await.map_err(|error| match is_stale(&error) {
            true => table_exists(table),
            false => error,
        })?;
        let registered = self.table(&as_of, table).await?;
        registered.ok_or_else(|| Error::conflict("table_moved", "the table was dropped at once"))
    }

    async fn checked_metadata(&self, location: &str, heads: &[Head]) -> Result<TableMetadata> {
        let path = self.storage().path(location)?;
        let name = path.filename().unwrap_or_default();
        if !name.ends_with(".metadata.json") && !name.ends_with(".metadata.json.gz") {
            let what = "a table is registered by its metadata file, `….metadata.json`";
            return Err(Error::data("bad_update", what));
        }
        let around = TableFolder::around(self, &path);
        check_metadata_file(self, &around, location).await?;
        let metadata = self.metadata().read_file(location).await?;
        TableFolder::of(self, &metadata)?.check("the metadata file", location)?;
        self.check_folder(&metadata, &path, heads)?;
        check_properties(&metadata)?;
        check_numbers(&metadata, self.clock().now())?;
        crate::schema::to_arrow(metadata.current_schema()).map_err(as_bad_update)?;
        let mut checks = SnapshotChecks::default();
        let checked = checks.check_table(self, &metadata).await;
        checked.map_err(as_bad_update)?;
        Ok(metadata)
    }

    /// The folder must be of this table alone.
    fn check_folder(&self, metadata: &TableMetadata, file: &Path, heads: &[Head]) -> Result<()> {
        let folder = self.storage().path(metadata.location())?;
        let first = folder.parts().next();
        let first = first.as_ref().map_or("", |part| part.as_ref());
        let own = Path::from_iter(["tables", &metadata.uuid().to_string()]);
        if RESERVED_FOLDERS.contains(&first)
            || first.is_empty()
            || first == "tables" && folder != own
        {
            let what = "the location of the table is a folder of Forebay itself";
            return Err(refused(what).with_context("location", metadata.location()));
        }
        for head in heads {
            let theirs = self.storage().path(&head.metadata_location);
            let theirs = theirs.ok().and_then(|file| folder_of(&file));
            let is_shared = theirs.is_some_and(|theirs| {
                theirs.prefix_matches(&folder) || file.prefix_matches(&theirs)
            });
            if is_shared || head.uuid == metadata.uuid() {
                let what = format!("the table is in the catalog as {}", head.table);
                return Err(Error::conflict("already_registered", what));
            }
        }
        Ok(())
    }
}

/// The folder of a table, from the path of its metadata file.
fn folder_of(file: &Path) -> Option<Path> {
    let parts: Vec<_> = file.parts().collect();
    let folder = parts.len().checked_sub(2)?;
    Some(Path::from_iter(parts.into_iter().take(folder)))
}

/// Marks of Forebay are those of a table that a pipeline loads; it would not be loaded like this.
fn check_properties(metadata: &TableMetadata) -> Result<()> {
    // That of the last commit says nothing about who writes the table.
    let is_mark = |key: &&String| key.starts_with(OWN_PREFIX) && key.as_str() != COMMIT_PROPERTY;
    match metadata.properties().keys().find(is_mark) {
        None => Ok(()),
        Some(key) => Err(
            refused(format!("the table has the property `{key}` of Forebay"))
                .with_hint("bring back a dropped table with `forebay tables undrop NAME`"),
        ),
    }
}
