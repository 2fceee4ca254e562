//! Reads everything that a table's newest state names, to find missing or damaged files. Changes nothing.

use std::sync::Arc;

use forebay_core::{Context, Error, Result};
use forebay_store::Head;
use futures::TryStreamExt;
use iceberg::spec::{DataFile, DataFileFormat};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::Lake;
use crate::checked_file::CheckedFile;
use crate::scan::read_live;
use crate::snapshot::read_list;
use forebay_objects::from_objects;

/// Problems of one table that are listed.
const PROBLEMS_MAX: usize = 100;

/// The verified files of a table, and their faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableReport {
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
    /// In words, each with the file that it is about.
    pub problems: Vec<String>,
}

impl TableReport {
    fn add(&mut self, problem: impl std::fmt::Display) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem.to_string());
        }
    }
}

impl Lake {
    /// Reads metadata, manifest list, manifests and every data file of a table, compares sizes, row counts and checksums. Holds
    /// one manifest and some MiB of a file in memory.
    pub async fn verify_table(&self, head: &Head) -> TableReport {
        let mut report = TableReport::default();
        if let Err(error) = self.verify_state(head, &mut report).await {
            report.add(error);
        }
        report
    }

    async fn verify_state(&self, head: &Head, report: &mut TableReport) -> Result<()> {
        let location = head.metadata_location.as_str();
        let metadata = self.metadata().read_file(location).await;
        let metadata = metadata.context("file", location)?;
        if metadata.uuid() != head.uuid {
            report.add(format!(
                "{location} is the metadata of table {}, not of {}",
                metadata.uuid(),
                head.uuid
            ));
            return Ok(());
        }
        let Some(snapshot) = metadata.current_snapshot() else {
            return Ok(());
        };
        for manifest in read_list(&metadata, self.storage(), snapshot).await? {
            let path = manifest.manifest_path.clone();
            let live = match read_live(&metadata, self.storage(), &manifest).await {
                Ok(live) => live,
                Err(error) => {
                    report.add(error.with_context("manifest", path));
                    continue;
                }
            };
            for entry in live.entries.iter() {
                self.verify_file(entry.data_file(), report).await;
            }
        }
        Ok(())
    }

    async fn verify_file(&self, file: &DataFile, report: &mut TableReport) {
        report.files += 1;
        report.rows += file.record_count();
        match self.read_file(file).await {
            Ok((bytes, rows)) => {
                report.bytes += bytes;
                if bytes != file.file_size_in_bytes() {
                    report.add(format!(
                        "{} has {bytes} bytes, its manifest says {}",
                        file.file_path(),
                        file.file_size_in_bytes()
                    ));
                }
                if rows.is_some_and(|rows| rows != file.record_count()) {
                    report.add(format!(
                        "{} has {} rows, its manifest says {}",
                        file.file_path(),
                        rows.unwrap_or_default(),
                        file.record_count()
                    ));
                }
            }
            Err(error) => report.add(error),
        }
    }

    /// Bytes of a file, all of them read; rows too when it is Parquet.
    async fn read_file(&self, file: &DataFile) -> Result<(u64, Option<u64>)> {
        let path = self.storage().path(file.file_path())?;
        let bytes = read_through(self.objects(), &path).await?;
        if file.file_format() != DataFileFormat::Parquet {
            return Ok((bytes, None));
        }
        let failed = |e: parquet::errors::ParquetError| {
            Error::data("bad_parquet", "failed to read the footer of a data file")
                .with_source(e)
                .with_context("file", &path)
        };
        let mut reader = CheckedFile::new(Arc::clone(self.objects()), path.clone(), bytes);
        let footer = reader.footer().await.map_err(failed)?;
        let rows = footer.file_metadata().num_rows();
        Ok((bytes, u64::try_from(rows).ok()))
    }
}

async fn read_through(objects: &Arc<dyn ObjectStore>, path: &Path) -> Result<u64> {
    let failed = |e| from_objects("read a file of a table", path, e);
    let object = objects.get(path).await.map_err(failed)?;
    let mut stream = object.into_stream();
    let mut bytes = 0;
    while let Some(piece) = stream.try_next().await.map_err(failed)? {
        bytes += piece.len() as u64;
    }
    Ok(bytes)
}
