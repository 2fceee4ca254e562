//! Rows to standard output, to look at them or to pipe them on.
//!
//! ```yaml
//! pipeline: look
//! source:
//!   file: {path: "data/*.csv"}
//! extract:
//!   csv: {}
//! load:
//!   stdout: {format: table}
//! ```
//!
//! Rows appear as they come, before the commit: after a failure the next run prints those again whose commit was not made
//! (at least once). Rows of a child table carry its name in a first column `_fb_table`.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use forebay_core::{Batch, Error, Rejected, Result};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::file::Document;
use crate::load::{Delivered, Sink, SinkContext, SinkKind, Target};
use crate::text::{Csv, NullFields, no_json, write_json_lines};

/// `load: {stdout: …}`.
#[derive(Debug)]
pub struct Kind;

/// Prints rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StdoutConfig {
    /// How a row is printed.
    pub format: StdoutFormat,
}

/// How a row is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StdoutFormat {
    /// One JSON object a line; columns without a value are left out.
    #[default]
    Ndjson,
    /// With a header, which comes again when the columns change. Texts that a spreadsheet would run as a formula get a `'`.
    Csv,
    /// For people.
    Table,
}

impl SinkKind for Kind {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn summary(&self) -> &'static str {
        "rows to standard output"
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<StdoutConfig>()
    }

    fn build(&self, config: &Document) -> Result<Box<dyn Target>> {
        let config: StdoutConfig = config.parse()?;
        Ok(Box::new(Stdout(config)))
    }
}

#[derive(Debug)]
struct Stdout(StdoutConfig);

#[async_trait]
impl Target for Stdout {
    fn describe(&self) -> String {
        "standard output".to_owned()
    }

    async fn open(&self, _context: SinkContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Printer::new(self.0.format, std::io::stdout())))
    }
}

/// Prints to a writer.
pub(crate) struct Printer<W> {
    format: StdoutFormat,
    out: W,
    csv: Csv,
    /// Of the last CSV rows.
    schema: Option<SchemaRef>,
}

impl<W: Write + Send> Printer<W> {
    pub(crate) fn new(format: StdoutFormat, out: W) -> Self {
        Self {
            format,
            out,
            csv: Csv {
                guard_formulas: true,
            },
            schema: None,
        }
    }

    fn print(&mut self, batch: &Batch) -> Result<()> {
        let records = named(batch)?;
        let mut text = Vec::new();
        match self.format {
            StdoutFormat::Ndjson => {
                write_json_lines(&records, NullFields::Omitted, &mut text).map_err(no_json)?;
            }
            StdoutFormat::Csv => {
                if self.schema.as_ref() != Some(records.schema_ref()) {
                    self.schema = Some(records.schema());
                    self.csv.header(records.schema_ref(), &mut text);
                }
                self.csv.rows(&records, &mut text)?;
            }
            StdoutFormat::Table => {
                let table = pretty_format_batches(&[records]).map_err(|error| {
                    Error::bug("print_failed", "failed to lay rows out as a table")
                        .with_source(error)
                })?;
                text.extend_from_slice(format!("{table}\n").as_bytes());
            }
        }
        self.out.write_all(&text).map_err(closed)
    }
}

#[async_trait]
impl<W: Write + Send> Sink for Printer<W> {
    async fn write(&mut self, batch: Batch) -> Result<Vec<Rejected>> {
        self.print(&batch)?;
        Ok(Vec::new())
    }

    async fn commit(&mut self, _: i64, _: Delivered) -> Result<()> {
        self.out.flush().map_err(closed)
    }
}

/// The rows, with the name of their table when they are of a child.
fn named(batch: &Batch) -> Result<RecordBatch> {
    if batch.child.is_empty() {
        return Ok(batch.records.clone());
    }
    let records = &batch.records;
    let name: ArrayRef = Arc::new(StringArray::from(vec![
        batch.child.as_str();
        records.num_rows()
    ]));
    let mut fields = vec![Arc::new(Field::new("_fb_table", DataType::Utf8, false))];
    fields.extend(records.schema().fields().iter().cloned());
    let columns = std::iter::once(name)
        .chain(records.columns().iter().cloned())
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| {
        Error::bug("print_failed", "failed to name the rows of a child table").with_source(error)
    })
}

fn closed(error: std::io::Error) -> Error {
    Error::unavailable(
        "stdout_closed",
        "failed to print rows: nobody reads them any more",
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::file::tests::{nothing, rows};

    #[tokio::test]
    async fn rows_are_printed_in_each_format() {
        for (format, expected) in [
            (
                StdoutFormat::Ndjson,
                "{\"id\":1,\"note\":\"=1+1\"}\n{\"id\":2}\n{\"_fb_table\":\"items\",\"id\":3,\"note\":\"a,b\"}\n",
            ),
            (
                StdoutFormat::Csv,
                "id,note\n1,'=1+1\n2,\n_fb_table,id,note\nitems,3,\"a,b\"\n",
            ),
            (
                StdoutFormat::Table,
                "+----+------+\n| id | note |\n+----+------+\n| 1  | =1+1 |\n| 2  |      |\n+----+------+\n\
                 +-----------+----+------+\n| _fb_table | id | note |\n+-----------+----+------+\n| items     | 3  | a,b  |\n+-----------+----+------+\n",
            ),
        ] {
            let mut printer = Printer::new(format, Vec::new());
            printer
                .write(Batch::main(rows(&[(1, Some("=1+1")), (2, None)]), None))
                .await
                .unwrap();
            let child = Batch {
                child: "items".to_owned(),
                records: rows(&[(3, Some("a,b"))]),
                origins: None,
            };
            printer.write(child).await.unwrap();
            printer.commit(0, nothing()).await.unwrap();
            assert_eq!(String::from_utf8(printer.out).unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn a_closed_pipe_is_said() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut printer = Printer::new(StdoutFormat::Ndjson, Closed);
        let error = printer
            .write(Batch::main(rows(&[(1, None)]), None))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "stdout_closed");
    }
}
