//! CSV as Postgres writes it: null is nothing between the commas, an empty text is `""`. Lines end with `\n`.

use std::io::{self, Write};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The line with the names of the columns.
pub(super) fn write_header(out: &mut impl Write, schema: &SchemaRef) -> io::Result<()> {
    for (at, field) in schema.fields().iter().enumerate() {
        separate(out, at)?;
        write_text(out, field.name())?;
    }
    out.write_all(b"\n")
}

/// One line for each row.
pub(super) fn write_rows(out: &mut impl Write, batch: &RecordBatch) -> Result<(), ArrowError> {
    let options = FormatOptions::default();
    let columns = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<Vec<_>, _>>()?;
    let mut cell = String::new();
    for row in 0..batch.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            separate(out, at)?;
            if batch.column(at).is_valid(row) {
                cell.clear();
                column.value(row).write(&mut cell)?;
                write_text(out, &cell)?;
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn separate(out: &mut impl Write, at: usize) -> io::Result<()> {
    if at > 0 { out.write_all(b",") } else { Ok(()) }
}

fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    let needs_quotes = text.is_empty() || text.contains([',', '"', '\n', '\r']);
    if !needs_quotes {
        return out.write_all(text.as_bytes());
    }
    out.write_all(b"\"")?;
    out.write_all(text.replace('"', "\"\"").as_bytes())?;
    out.write_all(b"\"")
}
