//! Rows to files of a folder: Parquet, NDJSON or CSV.
//!
//! ```yaml
//! pipeline: export
//! source:
//!   file: {path: "data/*.csv"}
//! extract:
//!   csv: {}
//! load:
//!   file: {path: out, format: parquet}
//! ```
//!
//! Each commit makes at least one new file `part-00000001.parquet`, `part-00000002.parquet`, …; a child table has a folder of
//! its own. A file is written under a hidden name, flushed, and then given its name, so that a reader never sees half a
//! file. The position is committed after that: a run that is cut off in between writes those rows again in the next file
//! (at least once). An existing file is never changed.

mod part;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use forebay_core::{Batch, Error, Rejected, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::part::Part;
use crate::file::Document;
use crate::load::{Delivered, Sink, SinkContext, SinkKind, Target};

/// `load: {file: …}`.
#[derive(Debug)]
pub struct Kind;

/// Writes files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSinkConfig {
    /// Folder, relative to the project; made when it is not there.
    pub path: String,
    /// What the files hold.
    pub format: FileFormat,
    /// Puts a `'` before texts in CSV that a spreadsheet would run as a formula.
    #[serde(default = "yes")]
    pub guard_formulas: bool,
}

/// What the files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Parquet, compressed with zstd.
    Parquet,
    /// One JSON object a line; columns without a value are left out. What is no number (`NaN`, `Infinity`, `-Infinity`) is a text.
    Ndjson,
    /// With a header; no value is an empty field, an empty text is `""`.
    Csv,
}

fn yes() -> bool {
    true
}

impl SinkKind for Kind {
    fn name(&self) -> &'static str {
        "file"
    }

    fn summary(&self) -> &'static str {
        "rows to Parquet, NDJSON or CSV files"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<FileSinkConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Target>> {
        let file: FileSinkConfig = config.parse()?;
        if file.path.is_empty() || file.path.contains('\0') {
            let place = config.get("path").unwrap_or_else(|| config.clone());
            return Err(place.error("bad_path", "`path` must name a folder"));
        }
        Ok(Box::new(Folder(file)))
    }
}

#[derive(Debug)]
struct Folder(FileSinkConfig);

#[async_trait]
impl Target for Folder {
    fn describe(&self) -> String {
        format!("files in {}", self.0.path)
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(self.files(&context.project)))
    }
}

impl Folder {
    fn files(&self, project: &Path) -> Files {
        Files {
            folder: project.join(&self.0.path),
            config: self.0.clone(),
            parts: BTreeMap::new(),
            full: Vec::new(),
        }
    }
}

/// The files of one commit.
struct Files {
    folder: PathBuf,
    config: FileSinkConfig,
    /// The open file of each table.
    parts: BTreeMap<String, Part>,
    /// Files whose columns are not those of later rows.
    full: Vec<Part>,
}

impl Files {
    fn take(&mut self, batch: &Batch) -> Result<()> {
        if batch.records.num_rows() == 0 {
            return Ok(());
        }
        let schema = batch.records.schema();
        if self
            .parts
            .get(&batch.child)
            .is_some_and(|part| !part.holds(&schema))
        {
            self.full.extend(self.parts.remove(&batch.child));
        }
        if !self.parts.contains_key(&batch.child) {
            let folder = if batch.child.is_empty() {
                self.folder.clone()
            } else {
                self.folder.join(&batch.child)
            };
            let part = Part::create(&folder, &schema, &self.config)?;
            self.parts.insert(batch.child.clone(), part);
        }
        match self.parts.get_mut(&batch.child) {
            Some(part) => part.write(&batch.records),
            None => Err(Error::bug("no_part", "a file was just opened")),
        }
    }

    fn publish(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.full)
            .into_iter()
            .chain(std::mem::take(&mut self.parts).into_values());
        parts.into_iter().try_for_each(Part::publish)
    }
}

/// Writing and flushing takes long: not on a thread of the runtime.
async fn blocking(
    files: &mut Files,
    work: impl FnOnce(&mut Files) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (folder, config) = (files.folder.clone(), files.config.clone());
    let empty = Files {
        folder,
        config,
        parts: BTreeMap::new(),
        full: Vec::new(),
    };
    let mut taken = std::mem::replace(files, empty);
    let (taken, done) = tokio::task::spawn_blocking(move || {
        let done = work(&mut taken);
        (taken, done)
    })
    .await
    .map_err(|error| Error::bug("file_task", "writing a file panicked").with_source(error))?;
    *files = taken;
    done
}

#[async_trait]
impl Sink for Files {
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>> {
        blocking(self, move |files| files.take(&batch)).await?;
        Ok(Vec::new())
    }

    async fn commit(&mut self, _: i64, _: Delivered) -> Result<()> {
        blocking(self, Files::publish).await
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// What no sink of files looks at.
    pub(crate) fn nothing() -> Delivered {
        Delivered {
            position: forebay_core::Position(serde_json::Value::Null),
            outbox: Vec::new(),
        }
    }

    /// Rows of `id` and `note`.
    pub(crate) fn rows(values: &[(i64, Option<&str>)]) -> RecordBatch {
        let id = values.iter().map(|(id, _)| *id).collect::<Int64Array>();
        let note = values
            .iter()
            .map(|(_, note)| *note)
            .collect::<StringArray>();
        RecordBatch::try_from_iter([("id", Arc::new(id) as ArrayRef), ("note", Arc::new(note))])
            .unwrap()
    }

    fn listed(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn open(project: &Path, format: FileFormat) -> Box<dyn Sink> {
        let config = FileSinkConfig {
            path: "out".to_owned(),
            format,
            guard_formulas: true,
        };
        Box::new(Folder(config).files(project))
    }

    #[tokio::test]
    async fn a_commit_makes_whole_files_and_nothing_before_it() {
        for (format, extension) in [
            (FileFormat::Parquet, "parquet"),
            (FileFormat::Ndjson, "ndjson"),
            (FileFormat::Csv, "csv"),
        ] {
            let project = tempfile::tempdir().unwrap();
            let out = project.path().join("out");
            let mut sink = open(project.path(), format);
            let batch = || Batch::main(rows(&[(1, Some("=x")), (2, None)]), None);
            sink.write(batch()).await.unwrap();
            sink.write(batch()).await.unwrap();
            assert!(listed(&out).iter().all(|name| name.starts_with('.')));
            sink.commit(0, nothing()).await.unwrap();
            assert_eq!(listed(&out), [format!("part-00000001.{extension}")]);
            sink.write(Batch {
                child: "items".to_owned(),
                ..batch()
            })
            .await
            .unwrap();
            sink.write(batch()).await.unwrap();
            drop(sink);
            assert_eq!(
                listed(&out),
                ["items".to_owned(), format!("part-00000001.{extension}")]
            );
            assert_eq!(listed(&out.join("items")), [""; 0]);
            let mut sink = open(project.path(), format);
            sink.write(batch()).await.unwrap();
            sink.commit(0, nothing()).await.unwrap();
            sink.commit(0, nothing()).await.unwrap();
            assert!(out.join(format!("part-00000002.{extension}")).is_file());
            assert_eq!(listed(&out).len(), 3);
        }
    }

    #[tokio::test]
    async fn what_is_written_is_read_back() {
        let project = tempfile::tempdir().unwrap();
        let mut sink = open(project.path(), FileFormat::Parquet);
        let expected = rows(&[(1, Some("a")), (2, None)]);
        sink.write(Batch::main(expected.clone(), None))
            .await
            .unwrap();
        let other =
            RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![7])) as ArrayRef)])
                .unwrap();
        sink.write(Batch::main(other.clone(), None)).await.unwrap();
        sink.commit(0, nothing()).await.unwrap();
        let read = |name: &str| {
            let file = std::fs::File::open(project.path().join("out").join(name)).unwrap();
            ParquetRecordBatchReaderBuilder::try_new(file)
                .unwrap()
                .build()
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
        };
        assert_eq!(read("part-00000001.parquet").columns(), expected.columns());
        assert_eq!(read("part-00000002.parquet").columns(), other.columns());

        let mut sink = open(project.path(), FileFormat::Csv);
        sink.write(Batch::main(rows(&[(1, Some("=x"))]), None))
            .await
            .unwrap();
        sink.commit(0, nothing()).await.unwrap();
        let text = std::fs::read_to_string(project.path().join("out/part-00000003.csv")).unwrap();
        assert_eq!(text, "id,note\n1,'=x\n");
    }
}
