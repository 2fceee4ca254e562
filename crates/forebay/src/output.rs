//! Data on stdout, in the format that the user chose.
//!
//! Every command that reads gives its answer as Arrow batches through [`Writer`], so all of them have the same formats.
//! Formats other than `table` and `markdown` stream: memory does not grow with the answer.

use std::io::{BufWriter, Write};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use forebay_core::{Error, Result};

/// Rows that `table` shows; the rest is counted. Other formats give all.
const TABLE_ROWS_MAX: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns for people; at most 1,000 rows.
    #[default]
    Table,
    /// One JSON array.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated with a header.
    Csv,
    /// A Markdown table.
    Markdown,
}

/// Writes batches of one schema.
pub(crate) struct Writer<W: Write> {
    schema: SchemaRef,
    rows: usize,
    kind: Kind<W>,
}

enum Kind<W: Write> {
    Json(arrow::json::ArrayWriter<BufWriter<W>>),
    Ndjson(arrow::json::LineDelimitedWriter<BufWriter<W>>),
    Csv(Box<arrow::csv::Writer<BufWriter<W>>>),
    Table {
        out: BufWriter<W>,
        markdown: bool,
        kept: Vec<RecordBatch>,
    },
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W, format: Format, schema: SchemaRef) -> Self {
        let out = BufWriter::new(out);
        let json = || arrow::json::WriterBuilder::new().with_explicit_nulls(true);
        let kind = match format {
            Format::Json => Kind::Json(json().build(out)),
            Format::Ndjson => Kind::Ndjson(json().build(out)),
            Format::Csv => Kind::Csv(Box::new(
                arrow::csv::WriterBuilder::new()
                    .with_header(true)
                    .build(out),
            )),
            Format::Table | Format::Markdown => Kind::Table {
                out,
                markdown: format == Format::Markdown,
                kept: Vec::new(),
            },
        };
        Self {
            schema,
            rows: 0,
            kind,
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let before = self.rows;
        self.rows += batch.num_rows();
        match &mut self.kind {
            Kind::Json(writer) => writer.write(batch).map_err(failed),
            Kind::Ndjson(writer) => writer.write(batch).map_err(failed),
            Kind::Csv(writer) => writer.write(&as_text(batch)?).map_err(failed),
            Kind::Table { kept, .. } => {
                let room = TABLE_ROWS_MAX.saturating_sub(before).min(batch.num_rows());
                if room > 0 {
                    kept.push(batch.slice(0, room));
                }
                Ok(())
            }
        }
    }

    /// Ends the answer; returns how many rows there were.
    pub(crate) fn finish(self) -> Result<usize> {
        let mut out = match self.kind {
            Kind::Json(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner()
            }
            Kind::Ndjson(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner()
            }
            Kind::Csv(mut writer) => {
                if self.rows == 0 {
                    writer
                        .write(&RecordBatch::new_empty(text_schema(&self.schema)))
                        .map_err(failed)?;
                }
                writer.into_inner()
            }
            Kind::Table {
                mut out,
                markdown,
                kept,
            } => {
                let table = table(&self.schema, &kept, markdown)?;
                let note = self.rows.saturating_sub(TABLE_ROWS_MAX);
                writeln!(out, "{table}").map_err(failed)?;
                if note > 0 {
                    writeln!(
                        out,
                        "… and {note} more rows; `--format csv` or `ndjson` gives all"
                    )
                    .map_err(failed)?;
                }
                out
            }
        };
        out.flush().map_err(failed)?;
        Ok(self.rows)
    }
}

/// Prints batches that are at hand to stdout.
pub(crate) fn print(format: Format, schema: SchemaRef, batches: &[RecordBatch]) -> Result<usize> {
    let mut writer = Writer::new(std::io::stdout().lock(), format, schema);
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("output_failed", "failed to write the answer").with_source(error)
}

fn options() -> FormatOptions<'static> {
    FormatOptions::default()
        .with_null("")
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"))
}

fn table(schema: &SchemaRef, batches: &[RecordBatch], markdown: bool) -> Result<Table> {
    let mut table = Table::new();
    table.load_preset(if markdown {
        presets::ASCII_MARKDOWN
    } else {
        presets::UTF8_FULL_CONDENSED
    });
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(schema.fields().iter().map(|field| field.name()));
    for (n, field) in schema.fields().iter().enumerate() {
        if field.data_type().is_numeric()
            && let Some(column) = table.column_mut(n)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for batch in batches {
        let options = options();
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(failed)?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().map(|column| column.value(row).to_string()));
        }
    }
    Ok(table)
}

/// CSV has no nesting: lists and structs become their JSON-like text.
fn as_text(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = text_schema(&batch.schema());
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(column.clone())
            } else {
                text_column(column)
            }
        });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<_>>>()?).map_err(failed)
}

fn text_schema(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let field = field.as_ref().clone();
        if field.data_type().is_nested() || field.data_type().is_binary() {
            field
                .with_data_type(arrow::datatypes::DataType::Utf8)
                .with_nullable(true)
        } else {
            field
        }
    });
    std::sync::Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>()))
}

fn text_column(column: &ArrayRef) -> Result<ArrayRef> {
    let options = options();
    let formatter = ArrayFormatter::try_new(column, &options).map_err(failed)?;
    let values = (0..column.len()).map(|row| {
        column
            .is_valid(row)
            .then(|| formatter.value(row).to_string())
    });
    Ok(std::sync::Arc::new(arrow::array::StringArray::from_iter(
        values,
    )))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn shown(format: Format) -> String {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("note", DataType::Utf8, true),
        ]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![1, 20])),
            Arc::new(StringArray::from(vec![Some("a,b"), None])),
        ];
        let batch = RecordBatch::try_new(schema.clone(), columns).unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, format, schema);
        writer.write(&batch).unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_format_is_what_it_says() {
        assert_eq!(shown(Format::Csv), "id,note\n1,\"a,b\"\n20,\n");
        assert_eq!(
            shown(Format::Ndjson),
            "{\"id\":1,\"note\":\"a,b\"}\n{\"id\":20,\"note\":null}\n"
        );
        assert_eq!(
            shown(Format::Json),
            "[{\"id\":1,\"note\":\"a,b\"},{\"id\":20,\"note\":null}]"
        );
        assert_eq!(
            shown(Format::Markdown),
            "| id | note |\n|----|------|\n|  1 | a,b  |\n| 20 |      |\n"
        );
        insta::assert_snapshot!(shown(Format::Table), @r"
        ┌────┬──────┐
        │ id ┆ note │
        ╞════╪══════╡
        │  1 ┆ a,b  │
        │ 20 ┆      │
        └────┴──────┘
        ");
    }
}
