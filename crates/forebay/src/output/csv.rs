//! CSV as RFC 4180 has it, with `\n`: null is an empty field, an empty text is `""`.

use std::io::{Error, Result, Write};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// The names of the columns.
pub(super) fn write_header(schema: &Schema, out: &mut impl Write) -> Result<()> {
    let names = schema.fields().iter().map(|field| Some(field.name()));
    write_record(names, out)
}

/// The rows of a batch of flat columns.
pub(super) fn write_rows(batch: &RecordBatch, out: &mut impl Write) -> Result<()> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter();
    let columns = columns.map(|column| ArrayFormatter::try_new(column, &options));
    let columns = columns
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(Error::other)?;
    for row in 0..batch.num_rows() {
        let mut fields = Vec::with_capacity(columns.len());
        for (column, formatter) in batch.columns().iter().zip(&columns) {
            let text = match column.is_null(row) {
                true => None,
                false => Some(formatter.value(row).try_to_string().map_err(Error::other)?),
            };
            fields.push(text);
        }
        write_record(fields.iter().map(Option::as_ref), out)?;
    }
    Ok(())
}

fn write_record<'a>(
    fields: impl Iterator<Item = Option<&'a String>>,
    out: &mut impl Write,
) -> Result<()> {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        if let Some(text) = field {
            write_field(text, out)?;
        }
    }
    out.write_all(b"\n")
}

fn write_field(text: &str, out: &mut impl Write) -> Result<()> {
    let is_plain = !text.is_empty() && !text.contains(['"', ',', '\n', '\r']);
    if is_plain {
        return out.write_all(text.as_bytes());
    }
    write!(out, "\"{}\"", text.replace('"', "\"\""))
}
