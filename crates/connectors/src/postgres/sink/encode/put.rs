//! Single values in COPY format. A value that its column would round or cut is rejected here, because the server does
//! either without an error.

use arrow::buffer::OffsetBuffer;
use arrow::datatypes::i256;
use bytes::{BufMut, BytesMut};

use super::column::Column;
use super::{Misfit, number, time};
use crate::postgres::types::{IntervalFields, TextLimit};

/// Whole numbers go to any column of numbers that can hold them.
pub(super) enum Whole {
    Int2,
    Int4,
    Int8,
    Float8,
    /// The scale of the column, when it is negative.
    Numeric(Option<i16>),
}

pub(super) fn put_whole(value: i128, whole: &Whole, out: &mut BytesMut) -> Result<(), Misfit> {
    let too_large = || {
        Misfit::new(
            "number_out_of_range",
            "the number is out of the column's range",
        )
    };
    match whole {
        Whole::Int2 => out.put_i16(i16::try_from(value).map_err(|_| too_large())?),
        Whole::Int4 => out.put_i32(i32::try_from(value).map_err(|_| too_large())?),
        Whole::Int8 => out.put_i64(i64::try_from(value).map_err(|_| too_large())?),
        Whole::Numeric(keeps) => {
            if let Some(keeps) = *keeps {
                number::check_scale(number::is_kept_128(value, 0, keeps), keeps)?;
            }
            number::put_128(value, 0, out);
        }
        Whole::Float8 => {
            let double = value as f64;
            if double as i128 != value {
                return Err(Misfit::new(
                    "number_not_exact",
                    "a double would round the number",
                ));
            }
            out.put_f64(double);
        }
    }
    Ok(())
}

pub(super) fn put_large(
    value: i256,
    scale: u32,
    keeps: Option<i16>,
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    if let Some(keeps) = keeps {
        number::check_scale(number::is_kept_256(value, scale, keeps), keeps)?;
    }
    let negative = value.is_negative();
    let magnitude = if negative {
        value.wrapping_neg()
    } else {
        value
    };
    number::put(magnitude, negative, scale, out);
    Ok(())
}

/// Postgres cuts blanks after the last character that fits, without an error.
pub(super) fn check_length(text: &str, limit: Option<TextLimit>) -> Result<(), Misfit> {
    let (is_short, most, unit) = match limit {
        None => return Ok(()),
        Some(TextLimit::Bytes(most)) => (text.len() <= most as usize, most, "bytes"),
        Some(TextLimit::Characters(most)) => {
            let is_short = text.len() <= most as usize || text.chars().count() <= most as usize;
            (is_short, most, "characters")
        }
    };
    if is_short {
        return Ok(());
    }
    let reason = format!("the text has more than the {most} {unit} of the column");
    Err(Misfit::new("text_too_long", reason))
}

pub(super) fn put_span(
    span: time::Span,
    fields: IntervalFields,
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    time::check_fields(span, fields)?;
    out.put_i64(span.micros);
    out.put_i32(span.days);
    out.put_i32(span.months);
    Ok(())
}

pub(super) fn put_text(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return Err(Misfit::new(
            "nul_in_text",
            "the text contains a NUL character, which Postgres does not allow",
        ));
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

pub(super) fn put_uuid(text: &str, out: &mut BytesMut) -> Result<(), Misfit> {
    let parsed = uuid::Uuid::try_parse(text);
    let parsed = parsed.map_err(|_| Misfit::new("bad_value", "not a valid UUID"))?;
    out.put_slice(parsed.as_bytes());
    Ok(())
}

/// Dimensions, whether there are nulls, the elements' type; then of the one dimension length and first index.
pub(super) fn put_list(
    offsets: &OffsetBuffer<i64>,
    elements: &Column,
    oid: u32,
    row: usize,
    out: &mut BytesMut,
) -> Result<(), Misfit> {
    let first = offsets[row] as usize;
    let last = offsets[row + 1] as usize;
    let nulls = (first..last).any(|at| elements.is_null(at));
    out.put_i32(i32::from(last > first));
    out.put_i32(i32::from(nulls));
    out.put_u32(oid);
    if last > first {
        let too_long = |_| Misfit::new("value_too_large", "too many elements for an array");
        out.put_i32(i32::try_from(last - first).map_err(too_long)?);
        out.put_i32(1);
    }
    for at in first..last {
        if elements.is_null(at) {
            out.put_i32(-1);
            continue;
        }
        let begin = out.len();
        out.put_i32(0);
        elements.put(at, out)?;
        let length = (out.len() - begin - 4) as u32;
        out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
