//! Rows as text: NDJSON and CSV.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, Schema};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use forebay_core::{Error, Result};

/// One JSON object a line; columns without a value are left out. What is no number is a text: `"NaN"`, `"Infinity"`, `"-Infinity"`.
pub(crate) fn ndjson(records: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
    let mut writer = WriterBuilder::new()
        .with_encoder_factory(Arc::new(NonFinite))
        .build::<_, LineDelimited>(out);
    writer
        .write(records)
        .and_then(|()| writer.finish())
        .map_err(failed)
}

/// Encodes columns that have values which JSON has no number for; a reader must not take them for no value.
#[derive(Debug)]
struct NonFinite;

impl EncoderFactory for NonFinite {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> std::result::Result<Option<NullableEncoder<'a>>, ArrowError> {
        Ok(match array.data_type() {
            DataType::Float32 => floats(array.as_primitive::<Float32Type>()),
            DataType::Float64 => floats(array.as_primitive::<Float64Type>()),
            _ => None,
        })
    }
}

/// `None` where all values are numbers: then the writer's own way is quicker.
fn floats<T>(array: &PrimitiveArray<T>) -> Option<NullableEncoder<'_>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64> + serde::Serialize,
{
    let is_finite = |value: &T::Native| Into::<f64>::into(*value).is_finite();
    if array.values().iter().all(is_finite) {
        return None;
    }
    let encoder = Floats(array.values());
    Some(NullableEncoder::new(
        Box::new(encoder),
        array.nulls().cloned(),
    ))
}

struct Floats<'a, N>(&'a [N]);

impl<N> Encoder for Floats<'_, N>
where
    N: Copy + Into<f64> + serde::Serialize,
{
    fn encode(&mut self, idx: usize, out: &mut Vec<u8>) {
        let value: f64 = self.0[idx].into();
        let text: &[u8] = match value {
            value if value.is_nan() => b"\"NaN\"",
            f64::INFINITY => b"\"Infinity\"",
            f64::NEG_INFINITY => b"\"-Infinity\"",
            _ => {
                // A finite number always has a text, and a vector takes it.
                let _ = serde_json::to_writer(out, &self.0[idx]);
                return;
            }
        };
        out.extend_from_slice(text);
    }
}

/// CSV as RFC 4180 has it, with `\n`. No value is an empty field, an empty text is `""`; nested values are JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Csv {
    /// Whether texts that a spreadsheet would run get a `'` before them.
    pub(crate) guard_formulas: bool,
}

/// First characters that make a text a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

impl Csv {
    pub(crate) fn header(self, schema: &Schema, out: &mut Vec<u8>) {
        for (i, field) in schema.fields().iter().enumerate() {
            self.text(i, field.name(), out);
        }
        out.push(b'\n');
    }

    pub(crate) fn rows(self, records: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let options = FormatOptions::default();
        let cells = records
            .columns()
            .iter()
            .map(|array| Cells::new(array, &options))
            .collect::<Result<Vec<_>>>()?;
        let mut text = String::new();
        for row in 0..records.num_rows() {
            for (i, (cells, array)) in cells.iter().zip(records.columns()).enumerate() {
                if array.is_null(row) {
                    out.extend_from_slice(if i > 0 { b"," } else { b"" });
                    continue;
                }
                text.clear();
                cells.show(row, &mut text)?;
                match cells {
                    Cells::Plain(_) => self.plain(i, &text, out),
                    _ => self.text(i, &text, out),
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }

    /// A number or time, which never needs quotes.
    fn plain(self, column: usize, text: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(if column > 0 { b"," } else { b"" });
        out.extend_from_slice(text.as_bytes());
    }

    fn text(self, column: usize, text: &str, out: &mut Vec<u8>) {
        let guard = self.guard_formulas && text.starts_with(FORMULA);
        let quote = text.is_empty() || text.contains(['"', ',', '\n', '\r']);
        out.extend_from_slice(if column > 0 { b"," } else { b"" });
        out.extend_from_slice(if quote { b"\"" } else { b"" });
        out.extend_from_slice(if guard { b"'" } else { b"" });
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.extend_from_slice(if quote { b"\"" } else { b"" });
    }
}

/// The values of a column as text.
enum Cells<'a> {
    Plain(ArrayFormatter<'a>),
    Text(ArrayFormatter<'a>),
    /// One JSON value a row.
    Nested(Vec<String>),
}

impl<'a> Cells<'a> {
    fn new(array: &'a ArrayRef, options: &'a FormatOptions<'a>) -> Result<Self> {
        if array.data_type().is_nested() {
            return nested(array).map(Self::Nested);
        }
        let formatter = ArrayFormatter::try_new(array, options).map_err(failed)?;
        let text = matches!(
            array.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        );
        Ok(if text {
            Self::Text(formatter)
        } else {
            Self::Plain(formatter)
        })
    }

    fn show(&self, row: usize, out: &mut String) -> Result<()> {
        let done = match self {
            Self::Plain(formatter) | Self::Text(formatter) => {
                write!(out, "{}", formatter.value(row))
            }
            Self::Nested(texts) => out.write_str(&texts[row]),
        };
        done.map_err(|_| Error::bug("encode_failed", "failed to show a value as text"))
    }
}

/// Each value as JSON: the rows of a batch that has only this column, without the name.
fn nested(array: &ArrayRef) -> Result<Vec<String>> {
    let records = RecordBatch::try_from_iter([("v", ArrayRef::clone(array))]).map_err(failed)?;
    let mut lines = Vec::new();
    ndjson(&records, &mut lines)?;
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
    Error::bug("encode_failed", "failed to encode rows").with_source(error)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Float32Array, Float64Array, ListArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn what_is_no_number_is_never_no_value() {
        let values = vec![Some(f64::NAN), Some(1.5), None, Some(f64::NEG_INFINITY)];
        let nested = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(f64::INFINITY), Some(0.1)]),
            None,
            Some(vec![None]),
            Some(vec![Some(2.0)]),
        ]);
        let small = Float32Array::from(vec![0.1, f32::NAN, 3.0, -0.0]);
        let records = RecordBatch::try_from_iter([
            ("d", Arc::new(Float64Array::from(values)) as ArrayRef),
            ("l", Arc::new(nested)),
            ("f", Arc::new(small)),
        ])
        .unwrap();
        let mut out = Vec::new();
        ndjson(&records, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"d\":\"NaN\",\"l\":[\"Infinity\",0.1],\"f\":0.1}\n{\"d\":1.5,\"f\":\"NaN\"}\n{\"l\":[null],\"f\":3.0}\n{\"d\":\"-Infinity\",\"l\":[2.0],\"f\":-0.0}\n"
        );
        let (csv, mut out) = (
            Csv {
                guard_formulas: false,
            },
            Vec::new(),
        );
        csv.rows(&records, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("NaN,\"[\"\"Infinity\"\",0.1]\""), "{text}");
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
            let (csv, mut out) = (Csv { guard_formulas }, Vec::new());
            csv.header(records.schema_ref(), &mut out);
            csv.rows(&records, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            show(true),
            "s,d,t,l\n\"\",-1.5,1970-01-01T00:00:00Z,\"[1,null]\"\n,2.0,1970-01-01T00:00:00.000001Z,\n\"'-a\"\"b\n\",1e300,1970-01-01T00:00:00.000002Z,[]\n"
        );
        assert!(show(false).contains("\"-a\"\"b\n\""));
    }
}
