//! JSON, with forms for unsupported values: NaN and infinities are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`, keys
//! of maps that are not text become text (bytes become hex). Everything else is Arrow's own JSON.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
    make_encoder,
};

use forebay_core::Error;

use super::instant::{check_times, shown};

/// Handling of a column without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullFields {
    /// It is `null`.
    Written,
    /// It is left out.
    Omitted,
}

/// Each row as a JSON object on a line of its own.
///
/// Errors: for maps whose keys are lists or objects.
pub fn write_json_lines(
    records: &RecordBatch,
    nulls: NullFields,
    out: impl Write,
) -> Result<(), ArrowError> {
    let mut writer = json_writer(nulls).build::<_, LineDelimited>(out);
    writer.write(records)?;
    writer.finish()
}

/// A writer of JSON in any frame.
pub fn json_writer(nulls: NullFields) -> WriterBuilder {
    WriterBuilder::new()
        .with_explicit_nulls(nulls == NullFields::Written)
        .with_encoder_factory(Arc::new(AnyValue))
}

/// The same for the values of one column.
pub fn encoder_options(nulls: NullFields) -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(nulls == NullFields::Written)
        .with_encoder_factory(Arc::new(AnyValue))
}

/// The error for rows that [`write_json_lines`] cannot write.
pub fn no_json(error: ArrowError) -> Error {
    Error::unsupported(
        "no_json",
        "rows with these columns cannot be written as JSON",
    )
    .with_source(error)
}

/// Encodes values that Arrow's own encoders lose or reject.
#[derive(Debug)]
struct AnyValue;

impl EncoderFactory for AnyValue {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Option<Box<dyn Encoder + 'a>> = match array.data_type() {
            DataType::Float16 => {
                floats(cast(array, &DataType::Float32)?.as_primitive::<Float32Type>())
            }
            DataType::Float32 => floats(array.as_primitive::<Float32Type>()),
            DataType::Float64 => floats(array.as_primitive::<Float64Type>()),
            DataType::Timestamp(..) | DataType::Date32 => instants(array)?,
            DataType::Time32(_) | DataType::Time64(_) => {
                check_times(array)?;
                None
            }
            DataType::Map(..) => Some(Box::new(Pairs::new(field, array, options)?)),
            _ => None,
        };
        Ok(encoder.map(|encoder| NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// `None` where all values are numbers: Arrow's own way is quicker.
fn floats<'a, T>(array: &PrimitiveArray<T>) -> Option<Box<dyn Encoder + 'a>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64> + serde::Serialize,
{
    let is_finite = |value: &T::Native| Into::<f64>::into(*value).is_finite();
    if array.values().iter().all(is_finite) {
        return None;
    }
    Some(Box::new(Floats(array.clone())))
}

struct Floats<T: ArrowPrimitiveType>(PrimitiveArray<T>);

impl<T> Encoder for Floats<T>
where
    T: ArrowPrimitiveType,
    T::Native: Into<f64> + serde::Serialize,
{
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0.value(row);
        let wide: f64 = value.into();
        if wide.is_finite() {
            write_value(&value, out);
        } else if wide.is_nan() {
            out.extend_from_slice(b"\"NaN\"");
        } else if wide > 0.0 {
            out.extend_from_slice(b"\"Infinity\"");
        } else {
            out.extend_from_slice(b"\"-Infinity\"");
        }
    }
}

/// `None` where Arrow can show all of them.
fn instants<'a>(array: &dyn Array) -> Result<Option<Box<dyn Encoder + 'a>>, ArrowError> {
    let texts = shown(&array.slice(0, array.len()))?;
    Ok(texts
        .as_string_opt::<i32>()
        .map(|texts| Box::new(Texts(texts.clone())) as _))
}

struct Texts(StringArray);

impl Encoder for Texts {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        write_value(self.0.value(row), out);
    }
}

/// A map, with every entry: one without a value is `null` where columns are left out, too.
struct Pairs<'a> {
    offsets: OffsetBuffer<i32>,
    keys: StringArray,
    values: NullableEncoder<'a>,
}

impl<'a> Pairs<'a> {
    fn new(
        field: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Self, ArrowError> {
        let map = array.as_map();
        Ok(Self {
            offsets: map.offsets().clone(),
            keys: keys(map.keys())?,
            values: make_encoder(field, map.values(), options)?,
        })
    }
}

impl Encoder for Pairs<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let first = self.offsets[row] as usize;
        let last = self.offsets[row + 1] as usize;
        out.push(b'{');
        for at in first..last {
            if at > first {
                out.push(b',');
            }
            write_value(self.keys.value(at), out);
            out.push(b':');
            match self.values.is_null(at) {
                true => out.extend_from_slice(b"null"),
                false => self.values.encode(at, out),
            }
        }
        out.push(b'}');
    }
}

/// Keys as text.
///
/// Errors: for keys that are lists or objects.
fn keys(keys: &ArrayRef) -> Result<StringArray, ArrowError> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match keys.data_type() {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            let bytes = cast(keys, &DataType::Binary)?;
            let texts = bytes.as_binary::<i32>().iter();
            Ok(texts
                .map(|key| key.map(|key| -> String { hex(key) }))
                .collect())
        }
        _ => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let texts = cast_with_options(&shown(keys)?, &DataType::Utf8, &options)?;
            Ok(texts.as_string::<i32>().clone())
        }
    }
}

fn write_value(value: &(impl serde::Serialize + ?Sized), out: &mut Vec<u8>) {
    // A finite number or a text always has a form, and a vector takes it.
    let _ = serde_json::to_writer(out, value);
}

/// Each row as one JSON object, with its nulls.
pub fn rows_as_json(records: &RecordBatch) -> forebay_core::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    write_json_lines(records, NullFields::Written, &mut lines).map_err(no_json)?;
    // A newline inside a string is escaped, so each line is a row.
    Ok(lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Float32Array, Float64Array, Int32Array, Int32Builder, ListArray, MapBuilder, StringBuilder,
        StructArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Field;

    use super::*;

    fn lines(columns: Vec<(&str, ArrayRef)>, nulls: NullFields) -> Vec<String> {
        let records = RecordBatch::try_from_iter(columns).unwrap();
        let mut out = Vec::new();
        write_json_lines(&records, nulls, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(str::to_owned).collect()
    }

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
        let half = cast(&small, &DataType::Float16).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("d", Arc::new(Float64Array::from(values))),
            ("l", Arc::new(nested)),
            ("f", Arc::new(small)),
            ("h", half.slice(1, 1)),
        ];
        let last = columns[3].1.clone();
        assert_eq!(
            lines(columns[..3].to_vec(), NullFields::Omitted),
            [
                r#"{"d":"NaN","l":["Infinity",0.1],"f":0.1}"#,
                r#"{"d":1.5,"f":"NaN"}"#,
                r#"{"l":[null],"f":3.0}"#,
                r#"{"d":"-Infinity","l":[2.0],"f":-0.0}"#
            ]
        );
        assert_eq!(
            lines(vec![("h", last)], NullFields::Omitted),
            [r#"{"h":"NaN"}"#]
        );
    }

    #[test]
    fn maps_have_any_keys_and_all_of_their_entries() {
        let mut builder = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        builder.keys().append_slice(&[7, 8]);
        builder.values().append_value("x");
        builder.values().append_null();
        builder.append(true).unwrap();
        builder.append(false).unwrap();
        let map: ArrayRef = Arc::new(builder.finish());
        let inner = StructArray::from(vec![(
            Arc::new(Field::new("m", map.data_type().clone(), true)),
            map.clone(),
        )]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("map", map),
            ("inner", Arc::new(inner)),
            ("n", Arc::new(Int32Array::from(vec![1, 2]))),
        ];
        assert_eq!(
            lines(columns.clone(), NullFields::Written),
            [
                r#"{"map":{"7":"x","8":null},"inner":{"m":{"7":"x","8":null}},"n":1}"#,
                r#"{"map":null,"inner":{"m":null},"n":2}"#
            ]
        );
        assert_eq!(
            lines(columns, NullFields::Omitted),
            [
                r#"{"map":{"7":"x","8":null},"inner":{"m":{"7":"x","8":null}},"n":1}"#,
                r#"{"inner":{},"n":2}"#
            ]
        );
    }

    #[test]
    fn a_time_that_no_clock_shows_is_an_error_at_any_depth() {
        let write = |column: ArrayRef| {
            let records = RecordBatch::try_from_iter([("t", column)]).unwrap();
            write_json_lines(&records, NullFields::Written, Vec::new())
        };
        let times = Time64MicrosecondArray::from(vec![Some(0), Some(86_400_000_000), None]);
        assert!(write(Arc::new(times.slice(2, 1))).is_ok());
        assert!(write(Arc::new(times.slice(0, 1))).is_ok());
        let field = Arc::new(Field::new("t", times.data_type().clone(), true));
        let inner = StructArray::from(vec![(field, Arc::new(times.clone()) as ArrayRef)]);
        for column in [Arc::new(times) as ArrayRef, Arc::new(inner)] {
            let error = write(column).unwrap_err();
            assert!(
                error.to_string().contains("between 00:00 and 24:00"),
                "{error}"
            );
        }
    }

    #[test]
    fn times_beyond_arrow_have_a_text_at_any_depth() {
        let far = TimestampMicrosecondArray::from(vec![i64::MAX, 0]).with_timezone("+00:00");
        let field = Arc::new(Field::new("t", far.data_type().clone(), true));
        let inner = StructArray::from(vec![(field, Arc::new(far) as ArrayRef)]);
        assert_eq!(
            lines(vec![("s", Arc::new(inner))], NullFields::Written),
            [
                r#"{"s":{"t":"+294247-01-10T04:00:54.775807Z"}}"#,
                r#"{"s":{"t":"1970-01-01T00:00:00Z"}}"#
            ]
        );
    }
}
