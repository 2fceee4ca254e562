//! One file being written, under a hidden name until it is whole.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use forebay_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{FileFormat, FileSinkConfig};
use crate::text::{Csv, NullFields, no_json, write_json_lines};

/// A row group is closed when it holds this much.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Names tried before giving up: that many files a folder may hold.
const NUMBER_MAX: u32 = 99_999_999;

/// A file that has no name yet. Dropping it removes it.
pub(super) struct Part {
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
    pub(super) fn create(
        folder: &Path,
        schema: &SchemaRef,
        config: &FileSinkConfig,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| failed(error, folder))?;
        let (hidden, file) = hidden(folder)?;
        let (extension, body) = match config.format {
            FileFormat::Parquet => ("parquet", parquet(file, schema, &hidden)?),
            FileFormat::Ndjson => ("ndjson", Body::Ndjson(BufWriter::new(file))),
            FileFormat::Csv => {
                let (csv, mut header) = (
                    Csv {
                        guard_formulas: config.guard_formulas,
                    },
                    Vec::new(),
                );
                csv.header(schema, &mut header);
                let mut file = BufWriter::new(file);
                file.write_all(&header)
                    .map_err(|error| failed(error, &hidden))?;
                ("csv", Body::Csv(csv, file))
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            hidden,
            extension,
            schema: SchemaRef::clone(schema),
            body: Some(body),
        })
    }

    /// Whether rows of this schema belong into this file.
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

    /// Makes the file durable and gives it the next free name.
    pub(super) fn publish(mut self) -> Result<()> {
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
        self.name()?;
        let folders = self.folder.ancestors().take(2);
        folders
            .filter(|folder| !folder.as_os_str().is_empty())
            .try_for_each(|folder| {
                File::open(folder)
                    .and_then(|folder| folder.sync_all())
                    .map_err(|error| failed(error, folder))
            })
    }

    /// A hard link never replaces a file that another process named meanwhile.
    fn name(&self) -> Result<()> {
        for number in last_number(&self.folder)? + 1..=NUMBER_MAX {
            let path = self
                .folder
                .join(format!("part-{number:08}.{}", self.extension));
            match std::fs::hard_link(&self.hidden, &path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error, &path)),
            }
        }
        Err(
            Error::config("folder_full", format!("the folder has {NUMBER_MAX} files"))
                .with_context("folder", self.folder.display()),
        )
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // What stays behind is hidden and belongs to nobody.
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

/// A new file under a name that no other process has.
fn hidden(folder: &Path) -> Result<(PathBuf, File)> {
    for number in 0..=NUMBER_MAX {
        let path = folder.join(format!(".part-{}-{number}.tmp", std::process::id()));
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

/// The highest number of a file in the folder, of any format.
fn last_number(folder: &Path) -> Result<u32> {
    let mut last = 0;
    for entry in std::fs::read_dir(folder).map_err(|error| failed(error, folder))? {
        let name = entry.map_err(|error| failed(error, folder))?.file_name();
        let name = name.to_string_lossy();
        let number = name
            .strip_prefix("part-")
            .and_then(|rest| rest.split('.').next()?.parse().ok());
        last = last.max(number.unwrap_or(0));
    }
    Ok(last.min(NUMBER_MAX))
}

fn failed(error: std::io::Error, path: &Path) -> Error {
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
