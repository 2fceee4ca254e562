//! Prints rows to standard output, for display or for a pipe.
//!
//! ```yaml
#![doc = include_str!("stdout.example.yaml")]
//! ```
//!
//! Rows are printed before the commit: after a failure the next run prints the uncommitted ones again (at least once). Rows
//! of a child table carry its name in a first column `_fb_table`.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use forebay_core::{Batch, Error, Rejected, Result};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::sink::{Delivered, Sink, SinkContext, SinkKind, Target};
use forebay_config::{Component, Document};
use forebay_formats::text::{Csv, NullFields, check_shown, no_json, shown, write_json_lines};

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
    /// With a header, repeated when the columns change. Texts that a spreadsheet would run as a formula are escaped with a
    /// `'`.
    Csv,
    /// For display.
    Table,
}

impl Component for Kind {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn summary(&self) -> &'static str {
        "rows to standard output"
    }

    fn example(&self) -> &'static str {
        include_str!("stdout.example.yaml")
    }

    fn schema(&self, generator: &mut SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<StdoutConfig>()
    }
}

impl SinkKind for Kind {
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
                let table = table(&records)?;
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

/// The rows as an aligned table.
///
/// Errors: `Data` for a value that has no text.
fn table(records: &RecordBatch) -> Result<String> {
    let failed =
        |error| Error::bug("print_failed", "failed to lay rows out as a table").with_source(error);
    let names = records.schema();
    let names = names.fields().iter().map(|field| field.name());
    let mut columns = Vec::with_capacity(records.num_columns());
    for (name, column) in names.zip(records.columns()) {
        let column = shown(column).map_err(failed)?;
        check_shown(&column)?;
        columns.push((name, column, true));
    }
    let records = RecordBatch::try_from_iter_with_nullable(columns).map_err(failed)?;
    let table = pretty_format_batches(&[records]).map_err(failed)?;
    Ok(table.to_string())
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
        "failed to print rows: the reader of the output is gone",
    )
    .with_source(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Time64MicrosecondArray, TimestampMicrosecondArray};

    use super::*;
    use crate::file::sink::tests::{nothing, rows};

    #[test]
    fn a_table_shows_every_year_and_no_error_as_a_value() {
        let printed =
            |column: ArrayRef| table(&RecordBatch::try_from_iter([("t", column)]).unwrap());
        let far = TimestampMicrosecondArray::from(vec![i64::MAX]);
        let text = printed(Arc::new(far)).unwrap();
        assert!(text.contains("+294247-01-10T04:00:54.775807"), "{text}");
        let times = Time64MicrosecondArray::from(vec![86_400_000_000]);
        let error = printed(Arc::new(times)).unwrap_err();
        assert_eq!(error.code(), "no_text");
    }

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
