//! CSV as RFC 4180 has it, with `\n`: null is an empty field, an empty text is `""`, nested values are JSON.

use std::borrow::Cow;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use forebay_core::{Error, Result};

use super::instant::shown;
use super::json::{NullFields, write_json_lines};

/// CSV with or without a guard for spreadsheets.
#[derive(Debug, Clone, Copy)]
pub struct Csv {
    /// Whether texts that a spreadsheet would run are escaped with a `'`, and those that begin with `'`, so that it can be
    /// removed again.
    pub guard_formulas: bool,
}

/// First characters that make a text a formula, and that of the guard.
const GUARDED: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

impl Csv {
    /// The names of the columns.
    pub fn header(self, schema: &Schema, out: &mut Vec<u8>) {
        for (column, field) in schema.fields().iter().enumerate() {
            separate(column, out);
            self.text(field.name(), out);
        }
        out.push(b'\n');
    }

    /// The rows of a batch.
    ///
    /// Errors: `Unsupported` for maps whose keys are lists or objects, `Data` for a value that has no text.
    pub fn rows(self, records: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let arrays: Vec<ArrayRef> = records
            .columns()
            .iter()
            .map(shown)
            .collect::<std::result::Result<_, _>>()
            .map_err(failed)?;
        let options = FormatOptions::default().with_display_error(false);
        let cells = arrays
            .iter()
            .zip(records.columns())
            .map(|(array, column)| Cells::new(array, is_text(column.data_type()), &options))
            .collect::<Result<Vec<_>>>()?;
        let mut text = String::new();
        for row in 0..records.num_rows() {
            for (column, (cells, array)) in cells.iter().zip(&arrays).enumerate() {
                separate(column, out);
                // A column without a type has no mask of its nulls.
                if array.is_null(row) || array.data_type().is_null() {
                    continue;
                }
                text.clear();
                cells.show(row, &mut text)?;
                match cells {
                    Cells::Plain(_) => quoted(&text, "", out),
                    _ => self.text(&text, out),
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn text(self, text: &str, out: &mut Vec<u8>) {
        let is_guarded = self.guard_formulas && text.starts_with(GUARDED);
        quoted(text, if is_guarded { "'" } else { "" }, out);
    }
}

fn separate(column: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(if column > 0 { b"," } else { b"" });
}

/// Quotes where the text would be parsed as another one without.
fn quoted(text: &str, before: &str, out: &mut Vec<u8>) {
    let needs_quotes = text.is_empty() || text.contains(['"', ',', '\n', '\r']);
    let (quote, text) = match needs_quotes {
        true => ("\"", Cow::Owned(text.replace('"', "\"\""))),
        false => ("", Cow::Borrowed(text)),
    };
    for part in [quote, before, &text, quote] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The values of a column as text.
enum Cells<'a> {
    /// Numbers, times and bytes: a leading `-` does not make them a formula.
    Plain(ArrayFormatter<'a>),
    Text(ArrayFormatter<'a>),
    /// One JSON value a row.
    Nested(Vec<String>),
}

impl<'a> Cells<'a> {
    /// `array` is the displayed form of a column, which `is_text` or something else.
    fn new(array: &'a ArrayRef, is_text: bool, options: &'a FormatOptions<'a>) -> Result<Self> {
        if array.data_type().is_nested() {
            return nested(array).map(Self::Nested).map_err(failed);
        }
        let formatter = ArrayFormatter::try_new(array, options).map_err(failed)?;
        Ok(match is_text {
            true => Self::Text(formatter),
            false => Self::Plain(formatter),
        })
    }

    fn show(&self, row: usize, out: &mut String) -> Result<()> {
        match self {
            Self::Plain(formatter) | Self::Text(formatter) => {
                write!(out, "{}", formatter.value(row)).map_err(|_| no_text())
            }
            Self::Nested(texts) => {
                out.push_str(&texts[row]);
                Ok(())
            }
        }
    }
}

/// The error for a value without a text, such as a time of day beyond 24 hours: it must not be printed as one.
pub fn no_text() -> Error {
    Error::data("no_text", "a value cannot be shown as text")
        .with_hint("leave it out, or repair the rows: a time of day is between 00:00 and 24:00")
}

/// Errors: `Data` when a value of the column has no text.
pub fn check_shown(column: &ArrayRef) -> Result<()> {
    let options = FormatOptions::default().with_display_error(false);
    let formatter = ArrayFormatter::try_new(column, &options).map_err(failed)?;
    let mut text = String::new();
    for row in 0..column.len() {
        text.clear();
        write!(text, "{}", formatter.value(row)).map_err(|_| no_text())?;
    }
    Ok(())
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, value) => is_text(value),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        _ => false,
    }
}

/// Each value as JSON: the rows of a batch with only this column, without the name.
fn nested(array: &ArrayRef) -> std::result::Result<Vec<String>, ArrowError> {
    let records = RecordBatch::try_from_iter([("v", ArrayRef::clone(array))])?;
    let mut lines = Vec::new();
    write_json_lines(&records, NullFields::Omitted, &mut lines)?;
    let text = String::from_utf8_lossy(&lines);
    let value = |line: &str| {
        line.strip_prefix("{\"v\":")
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap_or_default()
            .to_owned()
    };
    Ok(text.lines().map(value).collect())
}

fn failed(error: ArrowError) -> Error {
    Error::unsupported("no_csv", "rows with these columns cannot be written as CSV")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Float64Array, ListArray, StringArray, Time64MicrosecondArray,
        TimestampMicrosecondArray,
    };
    use arrow::compute::cast;
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn a_time_that_no_clock_shows_is_an_error() {
        let times: ArrayRef = Arc::new(Time64MicrosecondArray::from(vec![86_400_000_000]));
        let records = RecordBatch::try_from_iter([("t", times)]).unwrap();
        let csv = Csv {
            guard_formulas: false,
        };
        let mut out = Vec::new();
        assert_eq!(csv.rows(&records, &mut out).unwrap_err().code(), "no_text");
    }

    fn rows(column: ArrayRef, guard_formulas: bool) -> String {
        let records = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let mut out = Vec::new();
        Csv { guard_formulas }.rows(&records, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_value_has_a_text_of_its_own() {
        let floats = vec![f64::NAN, f64::NEG_INFINITY, -0.0];
        assert_eq!(
            rows(Arc::new(Float64Array::from(floats)), true),
            "NaN\n-inf\n-0.0\n"
        );
        let bytes = BinaryArray::from(vec![Some(&b""[..]), None, Some(b"\x01")]);
        assert_eq!(rows(Arc::new(bytes), true), "\"\"\n\n01\n");
        let far = TimestampMicrosecondArray::from(vec![i64::MAX]);
        assert_eq!(rows(Arc::new(far), true), "+294247-01-10T04:00:54.775807\n");
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["=1", "a,b"]));
        let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(rows(cast(&texts, &kind).unwrap(), true), "'=1\n\"a,b\"\n");
    }

    #[test]
    fn csv_tells_nothing_from_empty_and_guards_formulas() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
        ]);
        let records = RecordBatch::try_from_iter([
            (
                "s",
                Arc::new(StringArray::from(vec![Some(""), None, Some("-a\"b\n")])) as ArrayRef,
            ),
            ("d", Arc::new(Float64Array::from(vec![-1.5, 2.0, 1e300]))),
            (
                "t",
                Arc::new(TimestampMicrosecondArray::from(vec![0, 1, 2]).with_timezone("+00:00")),
            ),
            ("l", Arc::new(list)),
        ])
        .unwrap();
        let show = |guard_formulas| {
            let csv = Csv { guard_formulas };
            let mut out = Vec::new();
            csv.header(records.schema_ref(), &mut out);
            csv.rows(&records, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            show(true),
            "s,d,t,l\n\"\",-1.5,1970-01-01T00:00:00Z,\"[1,null]\"\n,2.0,1970-01-01T00:00:00.000001Z,\n\"'-a\"\"b\n\",1e300,1970-01-01T00:00:00.000002Z,[]\n"
        );
        assert!(show(false).contains("\"-a\"\"b\n\""));
        let texts = Arc::new(StringArray::from(vec!["=x", "'=x", "x'"]));
        assert_eq!(rows(texts, true), "'=x\n''=x\nx'\n");
    }
}
