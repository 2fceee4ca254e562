//! A file in progress, under a hidden name until it is complete.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::leftovers::sync_folder;
use super::name::{PartName, TemporaryName};
use super::{FileFormat, Layout};
use forebay_formats::text::{Csv, NullFields, no_json, write_json_lines};

/// A row group is closed when it holds this much.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Most files that a split writes at a time: one for each table and set of columns.
const NUMBER_MAX: u32 = 99_999_999;

/// A file that has no name yet. Dropping it removes it.
pub(super) struct Part {
    layout: Arc<Layout>,
    folder: PathBuf,
    hidden: PathBuf,
    extension: &'static str,
    schema: SchemaRef,
    body: Option<Body>,
}

enum Body {
    Parquet(Box<ArrowWriter<File>>),
    Ndjson(BufWriter<File>),
    Csv(Csv, BufWriter<File>),
}

impl Part {
    /// `child` is the name of a child table; empty for the main table.
    pub(super) fn create(layout: &Arc<Layout>, child: &str, schema: &SchemaRef) -> Result<Self> {
        let folder = match child {
            "" => layout.folder.clone(),
            child => layout.folder.join(child),
        };
        std::fs::create_dir_all(&folder).map_err(|error| failed(error, &folder))?;
        let (hidden, file) = create_hidden(layout, &folder)?;
        let config = &layout.config;
        let (extension, body) = match config.format {
            FileFormat::Parquet => ("parquet", parquet(file, schema, &hidden)?),
            FileFormat::Ndjson => ("ndjson", Body::Ndjson(BufWriter::new(file))),
            FileFormat::Csv => {
                let csv = Csv {
                    guard_formulas: config.guard_formulas,
                };
                let mut header = Vec::new();
                csv.header(schema, &mut header);
                let mut file = BufWriter::new(file);
                file.write_all(&header)
                    .map_err(|error| failed(error, &hidden))?;
                ("csv", Body::Csv(csv, file))
            }
        };
        Ok(Self {
            layout: Arc::clone(layout),
            folder,
            hidden,
            extension,
            schema: SchemaRef::clone(schema),
            body: Some(body),
        })
    }

    /// Whether rows of this schema can be written to this file.
    pub(super) fn holds(&self, schema: &SchemaRef) -> bool {
        self.schema == *schema
    }

    pub(super) fn write(&mut self, records: &RecordBatch) -> Result<()> {
        let mut text = Vec::new();
        let written = match self.body.as_mut() {
            None => return Err(Error::bug("part_closed", "the file is complete")),
            Some(Body::Parquet(writer)) => {
                let written = writer.write(records);
                let large = writer.in_progress_size() >= ROW_GROUP_BYTES;
                let written = written.and_then(|()| if large { writer.flush() } else { Ok(()) });
                return written.map_err(|error| encoding(error, &self.hidden));
            }
            Some(Body::Ndjson(file)) => {
                write_json_lines(records, NullFields::Omitted, &mut text).map_err(no_json)?;
                file.write_all(&text)
            }
            Some(Body::Csv(csv, file)) => {
                csv.rows(records, &mut text)?;
                file.write_all(&text)
            }
        };
        written.map_err(|error| failed(error, &self.hidden))
    }

    /// Makes the file durable under its name, and returns that. A file of this name is one of a commit of this run that was not
    /// made: it is replaced.
    pub(super) fn publish(mut self, sequence: i64, number: u32) -> Result<PathBuf> {
        let file = match self.body.take() {
            None => return Err(Error::bug("part_closed", "the file is complete")),
            Some(Body::Parquet(writer)) => writer
                .into_inner()
                .map_err(|error| encoding(error, &self.hidden))?,
            Some(Body::Ndjson(file) | Body::Csv(_, file)) => file
                .into_inner()
                .map_err(|error| failed(error.into_error(), &self.hidden))?,
        };
        file.sync_all()
            .map_err(|error| failed(error, &self.hidden))?;
        let name = PartName {
            split: self.layout.context.split.clone(),
            sequence,
            run: self.layout.context.run,
            number,
        };
        let path = self.folder.join(format!("{name}.{}", self.extension));
        std::fs::rename(&self.hidden, &path).map_err(|error| failed(error, &path))?;
        self.folder
            .ancestors()
            .take(2)
            .filter(|folder| !folder.as_os_str().is_empty())
            .try_for_each(sync_folder)?;
        Ok(path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A leftover is hidden; the next run of the split removes it. A published file has another name by now.
        let _ = std::fs::remove_file(&self.hidden);
    }
}

fn parquet(file: File, schema: &SchemaRef, path: &Path) -> Result<Body> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("forebay {}", env!("CARGO_PKG_VERSION")))
        .build();
    let writer = ArrowWriter::try_new(file, SchemaRef::clone(schema), Some(properties));
    writer
        .map(|writer| Body::Parquet(Box::new(writer)))
        .map_err(|error| encoding(error, path))
}

/// A new file under a hidden name of its own.
fn create_hidden(layout: &Layout, folder: &Path) -> Result<(PathBuf, File)> {
    for number in 0..=NUMBER_MAX {
        let name = TemporaryName {
            split: layout.context.split.clone(),
            run: layout.context.run,
            number,
        };
        let path = folder.join(name.to_string());
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error, &path)),
        }
    }
    Err(
        Error::unavailable("folder_full", "the folder is full of unfinished files")
            .with_context("folder", folder.display()),
    )
}

pub(super) fn failed(error: std::io::Error, path: &Path) -> Error {
    let what = match error.kind() {
        ErrorKind::PermissionDenied => Error::denied("file_denied", "the file may not be written"),
        _ => Error::unavailable("file_write_failed", "failed to write the file"),
    };
    what.with_source(error).with_context("file", path.display())
}

fn encoding(error: parquet::errors::ParquetError, path: &Path) -> Error {
    Error::unavailable("file_write_failed", "failed to write the Parquet file")
        .with_source(error)
        .with_context("file", path.display())
}
