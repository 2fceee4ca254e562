//! Writes rows to files in a folder: Parquet, NDJSON or CSV.
//!
//! ```yaml
#![doc = include_str!("sink.example.yaml")]
//! ```
//!
//! Each commit makes new files, `part-<split>-<commits of the split before it>-<run>-<number>.parquet`; a child table has a
//! folder of its own. A file is written under a hidden name, flushed, and then renamed, so that a reader never sees a partial
//! file. The position is committed after that, so a process that dies in between leaves files of a commit that was not made. The
//! next run of the split recognizes them by their names and removes them before it writes those rows again: rows are in
//! the folder once (`leftovers`). Files of commits that were made, of other runs, pipelines and workspaces are never
//! changed.

mod leftovers;
mod name;
mod part;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Batch, Error, Rejected, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use self::part::Part;
use crate::sink::{Delivered, Sink, SinkContext, SinkKind, Target};
use forebay_config::{Component, Document};

/// `load: {file: …}`.
#[derive(Debug)]
pub struct Kind;

/// Writes files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSinkConfig {
    /// Folder, relative to the project; created when missing.
    pub path: String,
    /// Format of the files.
    pub format: FileFormat,
    /// Escapes texts in CSV that a spreadsheet would run as a formula with a `'`.
    #[serde(default = "yes")]
    pub guard_formulas: bool,
}

/// Format of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Parquet, compressed with zstd.
    Parquet,
    /// One JSON object per line; columns without a value are left out. `NaN`, `Infinity` and `-Infinity` are written as
    /// text.
    Ndjson,
    /// With a header; null is an empty field, an empty text is `""`.
    Csv,
}

fn yes() -> bool {
    true
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "file"
    }

    fn summary(&self) -> &'static str {
        "rows to Parquet, NDJSON or CSV files"
    }

    fn example(&self) -> &'static str {
        include_str!("sink.example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<FileSinkConfig>()
    }
}

impl SinkKind for Kind {
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
        let mut files = self.files(context);
        files.run_blocking(Files::remove_leftovers).await?;
        Ok(Box::new(files))
    }
}

impl Folder {
    fn files(&self, context: SinkContext) -> Files {
        Files::new(Arc::new(Layout {
            folder: context.project.join(&self.0.path),
            config: self.0.clone(),
            context,
        }))
    }
}

/// Where the files of a split are, and how they are named.
struct Layout {
    folder: PathBuf,
    config: FileSinkConfig,
    context: SinkContext,
}

/// The files of one commit.
struct Files {
    layout: Arc<Layout>,
    /// The open file of each table.
    parts: BTreeMap<String, Part>,
    /// Files whose columns differ from those of later rows.
    full: Vec<Part>,
    /// The files that the last commit has made.
    published: Vec<PathBuf>,
}

impl Files {
    fn new(layout: Arc<Layout>) -> Self {
        Self {
            layout,
            parts: BTreeMap::new(),
            full: Vec::new(),
            published: Vec::new(),
        }
    }

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
            let part = Part::create(&self.layout, &batch.child, &schema)?;
            self.parts.insert(batch.child.clone(), part);
        }
        match self.parts.get_mut(&batch.child) {
            Some(part) => part.write(&batch.records),
            None => Err(Error::bug("no_part", "a file was just opened")),
        }
    }

    fn publish(&mut self, sequence: i64) -> Result<()> {
        self.published.clear();
        let parts = std::mem::take(&mut self.full)
            .into_iter()
            .chain(std::mem::take(&mut self.parts).into_values());
        for (part, number) in parts.zip(1..) {
            self.published.push(part.publish(sequence, number)?);
        }
        Ok(())
    }

    fn remove_leftovers(&mut self) -> Result<()> {
        leftovers::remove_leftovers(&self.layout)
    }

    fn remove_published(&mut self) -> Result<()> {
        leftovers::remove_files(&std::mem::take(&mut self.published))
    }

    /// Writing and flushing take long, so they run off the async threads.
    async fn run_blocking(
        &mut self,
        work: impl FnOnce(&mut Files) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let empty = Files::new(Arc::clone(&self.layout));
        let mut taken = std::mem::replace(self, empty);
        let (taken, done) = tokio::task::spawn_blocking(move || {
            let done = work(&mut taken);
            (taken, done)
        })
        .await
        .map_err(|error| Error::bug("file_task", "writing a file panicked").with_source(error))?;
        *self = taken;
        done
    }
}

#[async_trait]
impl Sink for Files {
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>> {
        self.run_blocking(move |files| files.take(&batch)).await?;
        Ok(Vec::new())
    }

    async fn commit(&mut self, sequence: i64, _: Delivered) -> Result<()> {
        self.run_blocking(move |files| files.publish(sequence))
            .await
    }

    async fn withdraw(&mut self) -> Result<()> {
        self.run_blocking(Files::remove_published).await
    }
}

#[cfg(test)]
pub(crate) mod tests;
