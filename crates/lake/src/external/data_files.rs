//! The files that a new manifest names: they exist, have the form that the lake reads, and are what the manifest says of them.

use forebay_core::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use iceberg::spec::{DataContentType, DataFile, DataFileFormat, ManifestEntryRef, TableMetadata};
use object_store::path::Path;

use crate::Lake;
use crate::checked_file::CheckedFile;
use crate::error::unreadable;
use crate::scan::{check_deletion_vector, check_position_deletes};

use super::footer::FooterFacts;
use super::rules::{bad_update, refused};
use super::snapshots::TableFolder;
use super::statistics::{check_rows, check_statistics, untrue};

/// Files that are looked at at once.
const READS_MAX: usize = 16;
/// Delete files up to this size are read, so that none is visible that cannot be; of larger ones only the footer.
const DELETES_READ_MAX: u64 = 64 << 20;

/// The place of new files.
pub(super) struct FileChecks<'t> {
    pub(super) lake: &'t Lake,
    pub(super) table: &'t TableMetadata,
    pub(super) folder: &'t TableFolder<'t>,
    pub(super) spec_id: i32,
}

impl FileChecks<'_> {
    /// Errors: `Data` `bad_update`, `not_a_file`, `Unsupported` `update_refused`; those of the object store.
    pub(super) async fn run(&self, entries: &[ManifestEntryRef]) -> Result<()> {
        // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
        let checks: Vec<BoxFuture<'_, Result<()>>> = entries
            .iter()
            .map(|entry| self.check(entry.data_file()).boxed())
            .collect();
        let done = stream::iter(checks).buffer_unordered(READS_MAX);
        done.try_collect().await
    }

    async fn check(&self, file: &DataFile) -> Result<()> {
        let checked = self.check_content(file).await;
        checked.map_err(|error| about(file, error))
    }

    async fn check_content(&self, file: &DataFile) -> Result<()> {
        let path = self.lake.storage().path(file.file_path())?;
        let size = self.folder.file_size(&path).await?;
        let size = size.ok_or_else(|| bad_update("a file that a manifest names does not exist"))?;
        if size != file.file_size_in_bytes() {
            let claimed = file.file_size_in_bytes();
            return Err(untrue(&format!("it has {size} bytes, not {claimed}")));
        }
        if file.file_format() == DataFileFormat::Puffin {
            return check_deletion_vector(self.lake.storage(), file).await;
        }
        let objects = self.lake.objects().clone();
        let footer = CheckedFile::new(objects, path, size).footer().await;
        let facts = FooterFacts::read(self.table.current_schema(), &footer.map_err(unreadable)?)?;
        check_rows(file, &facts)?;
        if file.content_type() == DataContentType::Data {
            return check_statistics(self.table, file, self.spec_id, &facts);
        }
        match size <= DELETES_READ_MAX {
            true => check_position_deletes(self.lake.storage(), file).await,
            false => Ok(()),
        }
    }
}

/// The form of a file, before it is looked at.
pub(super) fn check_form(folder: &TableFolder<'_>, file: &DataFile) -> Result<()> {
    folder.check("a data file", file.file_path())?;
    if file.content_type() == DataContentType::EqualityDeletes {
        return Err(refused("equality deletes are not supported")
            .with_hint("delete by position: merge-on-read of Spark and Trino, or copy-on-write"));
    }
    let is_vector = file.content_type() == DataContentType::PositionDeletes
        && file.file_format() == DataFileFormat::Puffin;
    if file.file_format() == DataFileFormat::Parquet || is_vector {
        return Ok(());
    }
    let what = format!("data files are Parquet, not {}", file.file_format());
    Err(refused(what).with_context("file", file.file_path()))
}

/// An error with the name of the file, which is all that a client sees.
fn about(file: &DataFile, error: Error) -> Error {
    let location = file.file_path();
    if error.kind() != ErrorKind::Data {
        return error.with_context("file", location);
    }
    let name = location.rsplit('/').next().unwrap_or(location);
    let name = forebay_core::shortened_value(name);
    let hint = error.hint().map(str::to_owned);
    let named = bad_update(format!("{}: {name}", error.message()));
    let named = named.with_source(error).with_context("file", location);
    match hint {
        Some(hint) => named.with_hint(hint),
        None => named,
    }
}

/// One spelling of a file, for those that a snapshot must not have twice. A Puffin file may hold many deletion vectors.
pub(super) fn file_key(path: &Path, file: &DataFile) -> String {
    match file.content_offset() {
        Some(offset) => format!("{path}@{offset}"),
        None => path.to_string(),
    }
}
