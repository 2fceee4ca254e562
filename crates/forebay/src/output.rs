//! Data on stdout, in the format that the user chose.
//!
//! Every command that reads gives its answer as Arrow batches through [`Writer`], so all of them have the same formats.
//! Formats other than `table` and `markdown` stream: memory does not grow with the answer. A reader that closes the pipe
//! (`forebay sql … | head`) ends the answer with [`OUTPUT_CLOSED`], which is a success.

mod terminal;
pub(crate) mod visible;

use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use clap::ValueEnum;
use forebay_core::{Error, Result};
use forebay_formats::text::{Csv, NullFields, json_writer, no_text};

pub(crate) use terminal::Layout;
use terminal::TABLE_ROWS_MAX;
use visible::{JsonEscaper, visible_text};

/// Code of the error when the reader has closed stdout: not a failure.
pub(crate) const OUTPUT_CLOSED: &str = "output_closed";

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
    is_closed: Arc<AtomicBool>,
}

type Out<W> = BufWriter<Pipe<W>>;

enum Kind<W: Write> {
    Json(arrow::json::ArrayWriter<Out<W>>),
    Ndjson(arrow::json::LineDelimitedWriter<Out<W>>),
    Csv {
        out: Out<W>,
        to_terminal: bool,
        has_header: bool,
    },
    Table {
        out: Out<W>,
        layout: Layout,
        kept: Vec<RecordBatch>,
    },
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W, format: Format, schema: SchemaRef) -> Self {
        Self::with_layout(out, format, Layout::grid(), schema)
    }

    /// [`Self::new`] with the layout of `table` chosen.
    pub(crate) fn with_layout(out: W, format: Format, layout: Layout, schema: SchemaRef) -> Self {
        let is_closed = Arc::new(AtomicBool::new(false));
        let is_json = matches!(format, Format::Json | Format::Ndjson);
        let out = BufWriter::new(Pipe {
            out,
            is_closed: is_closed.clone(),
            escaper: (is_json && layout.is_on_terminal()).then(JsonEscaper::default),
        });
        let json = json_writer(NullFields::Written);
        let kind = match format {
            Format::Json => Kind::Json(json.build(out)),
            Format::Ndjson => Kind::Ndjson(json.build(out)),
            Format::Csv => Kind::Csv {
                out,
                to_terminal: layout.is_on_terminal(),
                has_header: false,
            },
            Format::Table | Format::Markdown => Kind::Table {
                out,
                layout: if format == Format::Markdown {
                    Layout::Markdown
                } else {
                    layout
                },
                kept: Vec::new(),
            },
        };
        Self {
            schema,
            rows: 0,
            kind,
            is_closed,
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let written = self.write_batch(batch);
        written.map_err(|error| self.closed_or(error))
    }

    fn write_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let before = self.rows;
        self.rows += batch.num_rows();
        match &mut self.kind {
            Kind::Json(writer) => writer.write(batch).map_err(unwritten),
            Kind::Ndjson(writer) => writer.write(batch).map_err(unwritten),
            Kind::Csv {
                out,
                to_terminal,
                has_header,
            } => {
                let mut text = Vec::new();
                if !std::mem::replace(has_header, true) {
                    CSV.header(&self.schema, &mut text);
                }
                CSV.rows(batch, &mut text)?;
                write_csv(&text, *to_terminal, out).map_err(failed)?;
                out.flush().map_err(failed)
            }
            Kind::Table { kept, .. } => {
                let room = TABLE_ROWS_MAX.saturating_sub(before).min(batch.num_rows());
                if room > 0 {
                    kept.push(with_shown_instants(&batch.slice(0, room))?);
                }
                Ok(())
            }
        }
    }

    /// Ends the answer; returns how many rows there were.
    pub(crate) fn finish(self) -> Result<usize> {
        let rows = self.rows;
        let is_closed = self.is_closed.clone();
        match self.write_end() {
            Ok(()) => Ok(rows),
            Err(_) if is_closed.load(Ordering::Relaxed) => Err(closed()),
            Err(error) => Err(error),
        }
    }

    fn write_end(self) -> Result<()> {
        let mut out = match self.kind {
            Kind::Json(mut writer) => {
                writer.finish().map_err(failed)?;
                let mut out = writer.into_inner();
                writeln!(out).map_err(failed)?;
                out
            }
            Kind::Ndjson(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.into_inner()
            }
            Kind::Csv {
                mut out,
                to_terminal,
                has_header,
            } => {
                if !has_header {
                    let mut text = Vec::new();
                    CSV.header(&self.schema, &mut text);
                    write_csv(&text, to_terminal, &mut out).map_err(failed)?;
                }
                out
            }
            Kind::Table {
                mut out,
                layout,
                kept,
            } => {
                write_rows(&mut out, &self.schema, &kept, layout)?;
                let more = self.rows.saturating_sub(TABLE_ROWS_MAX);
                if more > 0 {
                    writeln!(out, "… and {more} more rows: `--format csv` or `\\format csv` in the shell shows all")
                        .map_err(failed)?;
                }
                out
            }
        };
        out.flush().map_err(failed)
    }

    fn closed_or(&self, error: Error) -> Error {
        if self.is_closed.load(Ordering::Relaxed) {
            return closed();
        }
        error
    }
}

fn write_rows(
    out: &mut impl Write,
    schema: &SchemaRef,
    kept: &[RecordBatch],
    layout: Layout,
) -> Result<()> {
    let rendered = terminal::render(schema, kept, layout)?;
    if !rendered.text.is_empty() {
        writeln!(out, "{}", rendered.text).map_err(failed)?;
    }
    if rendered.hidden_columns > 0 {
        writeln!(
            out,
            "… and {} more columns: `\\x` in the shell or `--format csv` shows all",
            rendered.hidden_columns
        )
        .map_err(failed)?;
    } else if rendered.is_cut {
        writeln!(
            out,
            "… values are cut to fit: `\\x` in the shell or `--format csv` shows them whole"
        )
        .map_err(failed)?;
    }
    Ok(())
}

/// A terminal is for people, a file for programs: in a file texts of the data stay unchanged.
const CSV: Csv = Csv {
    guard_formulas: false,
};

/// On a terminal control characters are shown escaped; a file has the bytes unchanged.
fn write_csv(text: &[u8], to_terminal: bool, out: &mut impl Write) -> std::io::Result<()> {
    match to_terminal {
        true => out.write_all(visible_text(String::from_utf8_lossy(text)).as_bytes()),
        false => out.write_all(text),
    }
}

/// The batch with the timestamps and dates that Arrow cannot show as text.
fn with_shown_instants(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(forebay_formats::text::shown);
    let columns = columns
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns).map(|(field, column)| {
        let field = field.as_ref().clone();
        field.with_data_type(column.data_type().clone())
    });
    let schema = arrow::datatypes::Schema::new(fields.collect::<Vec<_>>());
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(schema), columns, &options).map_err(failed)
}

/// Remembers that the reader of stdout has closed it, which the error of a format's writer does not show.
struct Pipe<W> {
    out: W,
    is_closed: Arc<AtomicBool>,
    /// Of JSON on a terminal.
    escaper: Option<JsonEscaper>,
}

impl<W: Write> Pipe<W> {
    fn note<T>(&self, done: std::io::Result<T>) -> std::io::Result<T> {
        if let Err(error) = &done
            && error.kind() == std::io::ErrorKind::BrokenPipe
        {
            self.is_closed.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let done = match &mut self.escaper {
            None => self.out.write(bytes),
            Some(escaper) => {
                let text = escaper.escape(bytes);
                let done = self.out.write_all(text.as_bytes());
                done.map(|()| bytes.len())
            }
        };
        self.note(done)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let done = self.out.flush();
        self.note(done)
    }
}

/// Text on stdout, such as a schema or completions. A closed pipe is not a failure.
pub(crate) fn print_text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(closed()),
        written => written.map_err(failed),
    }
}

fn closed() -> Error {
    Error::unavailable(OUTPUT_CLOSED, "the reader of the output closed it")
}

/// A column of text of a list; `None` is null.
pub(crate) fn texts<T>(rows: &[T], get: impl Fn(&T) -> Option<String>) -> ArrayRef {
    Arc::new(StringArray::from_iter(rows.iter().map(get)))
}

/// The columns of a list, each of which may have nulls.
pub(crate) fn list(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let columns = columns.into_iter();
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .map_err(|error| {
            Error::bug("list_batch", "failed to put a list together").with_source(error)
        })
}

/// Prints batches that are at hand to stdout.
pub(crate) fn print(format: Format, schema: SchemaRef, batches: &[RecordBatch]) -> Result<usize> {
    let mut writer = Writer::new(std::io::stdout().lock(), format, schema);
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()
}

/// A value without a text, or an answer that could not be written.
fn unwritten(error: ArrowError) -> Error {
    match error {
        ArrowError::CastError(_) => no_text().with_source(error),
        other => failed(other),
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unavailable("output_failed", "failed to write the answer").with_source(error)
}

fn options() -> FormatOptions<'static> {
    FormatOptions::default()
        .with_null("")
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray, Time64MicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    /// One text column of the given name and values, as a terminal of `width` would get it.
    fn on_terminal(layout: Layout, format: Format, name: &str, values: &[Option<&str>]) -> String {
        let schema = Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, true)]));
        let column: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::with_layout(&mut out, format, layout, schema);
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hostile_values_never_reach_a_terminal_as_control_characters() {
        let hostile = "\x1b]52;c;cm0gLXJmIC8K\x07\x1b[8m\u{9b}2J\u{202e}\r";
        let wide = Layout::Grid { width: Some(200) };
        for (layout, format) in [
            (wide, Format::Table),
            (Layout::Expanded, Format::Table),
            (wide, Format::Markdown),
            (wide, Format::Csv),
        ] {
            let text = on_terminal(layout, format, hostile, &[Some(hostile)]);
            let sent = text
                .chars()
                .filter(|c| (c.is_control() && *c != '\n') || *c == '\u{202e}');
            assert_eq!(sent.count(), 0, "{format:?} {text:?}");
        }
    }

    #[test]
    fn null_is_told_from_empty_text_and_markdown_keeps_its_rows() {
        let grid = Layout::Grid { width: None };
        let table = on_terminal(grid, Format::Table, "a", &[None, Some("")]);
        assert_eq!(table.matches("NULL").count(), 1);
        let csv = on_terminal(grid, Format::Csv, "a", &[None, Some(""), Some("\"")]);
        assert_eq!(csv, "a\n\n\"\"\n\"\"\"\"\n");
        let markdown = on_terminal(grid, Format::Markdown, "a", &[Some("x|y\nz")]);
        assert_eq!(markdown.lines().count(), 3, "{markdown}");
        assert!(markdown.contains("x\\|y\\\\nz"), "{markdown}");
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let long = "x".repeat(500);
        let layout = Layout::Grid { width: Some(60) };
        let table = on_terminal(layout, Format::Table, "a", &[Some(&long)]);
        for line in table.lines().filter(|line| !line.starts_with('…')) {
            assert!(line.chars().count() <= 60, "{line}");
        }
        assert!(table.contains("values are cut to fit"), "{table}");
        let expanded = on_terminal(Layout::Expanded, Format::Table, "a", &[Some(&long)]);
        assert!(expanded.contains(&long));
    }

    /// A reader that goes away after the first bytes.
    struct ClosedReader;

    impl Write for ClosedReader {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_recognised_in_every_format() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Utf8, true)]));
        let column: ArrayRef = Arc::new(StringArray::from(vec!["b"]));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
        for format in Format::value_variants() {
            let mut writer = Writer::new(ClosedReader, *format, schema.clone());
            let done = writer.write(&batch).and_then(|()| writer.finish());
            assert_eq!(done.unwrap_err().code(), OUTPUT_CLOSED, "{format:?}");
        }
    }

    #[test]
    fn a_value_without_a_text_is_an_error_in_every_format() {
        let times: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![86_400_000_000]));
        let batch = RecordBatch::try_from_iter([("t", times)]).unwrap();
        for format in Format::value_variants() {
            let mut out = Vec::new();
            let mut writer = Writer::new(&mut out, *format, batch.schema());
            let done = writer.write(&batch).and_then(|()| writer.finish());
            assert_eq!(done.unwrap_err().code(), "no_text", "{format:?}");
        }
    }

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
            "[{\"id\":1,\"note\":\"a,b\"},{\"id\":20,\"note\":null}]\n"
        );
        assert_eq!(
            shown(Format::Markdown),
            "| id | note |\n|----|------|\n|  1 | a,b  |\n| 20 | NULL |\n"
        );
        insta::assert_snapshot!(shown(Format::Table), @r"
        ┌────┬──────┐
        │ id ┆ note │
        ╞════╪══════╡
        │  1 ┆ a,b  │
        │ 20 ┆ NULL │
        └────┴──────┘
        ");
    }
}
