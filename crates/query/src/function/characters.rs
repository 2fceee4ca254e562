//! `lpad`, `rpad`, `translate` and `overlay` by characters, as Postgres and the other functions of text count them: the engine's
//! count clusters of characters, or bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};

/// `lpad(text, length[, fill])`: the text with the filling before it, cut at its end where it is longer.
pub(crate) fn lpad() -> ScalarDefinition {
    let types = |types: &[DataType]| padded_types("lpad", types);
    ScalarDefinition::new("lpad", text_type, types, |args| padded(args, true))
}

/// `rpad(text, length[, fill])`.
pub(crate) fn rpad() -> ScalarDefinition {
    let types = |types: &[DataType]| padded_types("rpad", types);
    ScalarDefinition::new("rpad", text_type, types, |args| padded(args, false))
}

/// `translate(text, from, to)`: each character of `from` becomes that of `to` in its place, or nothing.
pub(crate) fn translate() -> ScalarDefinition {
    ScalarDefinition::new("translate", text_type, translate_types, |args| {
        let [texts, from, to] = [0, 1, 2].map(|at| args[at].as_string::<i32>());
        Ok(Arc::new(translated(texts, from, to)))
    })
}

/// `overlay(text placing new from start [for length])`.
pub(crate) fn overlay() -> ScalarDefinition {
    ScalarDefinition::new("overlay", text_type, overlay_types, overlaid)
}

fn text_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Utf8)
}

/// The kinds, when the given types fit their beginning.
fn fitting(types: &[DataType], kinds: &[DataType], least: usize) -> Option<Vec<DataType>> {
    let fits = |(given, kind): (&DataType, &DataType)| match kind {
        DataType::Int64 => given.is_integer() || *given == DataType::Null,
        _ => given.is_string() || *given == DataType::Null,
    };
    let is_counted = (least..=kinds.len()).contains(&types.len());
    let is_fitting = is_counted && types.iter().zip(kinds).all(fits);
    is_fitting.then(|| kinds[..types.len()].to_vec())
}

fn padded_types(name: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    let kinds = [DataType::Utf8, DataType::Int64, DataType::Utf8];
    fitting(types, &kinds, 2)
        .ok_or_else(|| wrong_arguments(name, "a text, a length and a filling text", types))
}

fn translate_types(types: &[DataType]) -> Result<Vec<DataType>> {
    let kinds = [DataType::Utf8, DataType::Utf8, DataType::Utf8];
    fitting(types, &kinds, 3).ok_or_else(|| wrong_arguments("translate", "3 texts", types))
}

fn overlay_types(types: &[DataType]) -> Result<Vec<DataType>> {
    let kinds = [
        DataType::Utf8,
        DataType::Utf8,
        DataType::Int64,
        DataType::Int64,
    ];
    fitting(types, &kinds, 3)
        .ok_or_else(|| wrong_arguments("overlay", "2 texts, a start and a length", types))
}

fn is_any_null(args: &[ArrayRef], row: usize) -> bool {
    args.iter().any(|arg| arg.is_null(row))
}

fn padded(args: &[ArrayRef], is_left: bool) -> Result<ArrayRef> {
    let texts = args[0].as_string::<i32>();
    let lengths = args[1].as_primitive::<Int64Type>();
    let fills = args.get(2).map(|fills| fills.as_string::<i32>());
    let mut made = StringBuilder::with_capacity(texts.len(), texts.values().len());
    let mut row_text = String::new();
    for row in 0..texts.len() {
        if is_any_null(args, row) {
            made.append_null();
            continue;
        }
        let length = usize::try_from(lengths.value(row)).unwrap_or(0);
        let fill = fills.map_or(" ", |fills| fills.value(row));
        row_text.clear();
        pad_into(&mut row_text, texts.value(row), length, fill, is_left);
        made.append_value(&row_text);
    }
    Ok(Arc::new(made.finish()))
}

fn pad_into(made: &mut String, text: &str, length: usize, fill: &str, is_left: bool) {
    let own = text.chars().count();
    let kept = &text[..byte_of(text, length)];
    let filling = fill.chars().cycle().take(length.saturating_sub(own));
    match is_left {
        true => {
            made.extend(filling);
            made.push_str(kept);
        }
        false => {
            made.push_str(kept);
            made.extend(filling);
        }
    }
}

/// The byte at which a character begins, counted from 0; the end of the text beyond its last one.
fn byte_of(text: &str, character: usize) -> usize {
    if text.is_ascii() {
        return character.min(text.len());
    }
    let place = text.char_indices().nth(character);
    place.map_or(text.len(), |(at, _)| at)
}

fn translated(texts: &StringArray, from: &StringArray, to: &StringArray) -> StringArray {
    let mut made = StringBuilder::with_capacity(texts.len(), texts.values().len());
    let mut row_text = String::new();
    for row in 0..texts.len() {
        if [texts, from, to].iter().any(|arg| arg.is_null(row)) {
            made.append_null();
            continue;
        }
        let from = from.value(row);
        let to = to.value(row);
        row_text.clear();
        for c in texts.value(row).chars() {
            match from.chars().position(|own| own == c) {
                Some(at) => row_text.extend(to.chars().nth(at)),
                None => row_text.push(c),
            }
        }
        made.append_value(&row_text);
    }
    made.finish()
}

/// Errors: for a start before the first character.
fn overlaid(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, news] = [0, 1].map(|at| args[at].as_string::<i32>());
    let starts = args[2].as_primitive::<Int64Type>();
    let lengths = args
        .get(3)
        .map(|lengths| lengths.as_primitive::<Int64Type>());
    let mut made = StringBuilder::with_capacity(texts.len(), texts.values().len());
    let mut row_text = String::new();
    for row in 0..texts.len() {
        if is_any_null(args, row) {
            made.append_null();
            continue;
        }
        let text = texts.value(row);
        let new = news.value(row);
        let start = usize::try_from(starts.value(row)).unwrap_or(0);
        let Some(before) = start.checked_sub(1) else {
            return Err(execution("overlay() starts at character 1 or later"));
        };
        let after = match lengths {
            // A negative length repeats what is before the start.
            Some(lengths) => signed(before).saturating_add(lengths.value(row)),
            None => signed(before).saturating_add(signed(new.chars().count())),
        };
        let after = usize::try_from(after).unwrap_or(0);
        row_text.clear();
        row_text.push_str(&text[..byte_of(text, before)]);
        row_text.push_str(new);
        row_text.push_str(&text[byte_of(text, after)..]);
        made.append_value(&row_text);
    }
    Ok(Arc::new(made.finish()))
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_padded_by_characters() {
        for (text, length, fill, left, right) in [
            ("hi", 5, "xy", "xyxhi", "hixyx"),
            ("hello", 2, "xy", "he", "he"),
            ("é", 3, " ", "  é", "é  "),
            ("e\u{301}", 3, "-", "-e\u{301}", "e\u{301}-"),
            ("ab", 5, "", "ab", "ab"),
            ("ab", 0, "x", "", ""),
        ] {
            let padded = |is_left| {
                let mut made = String::new();
                pad_into(&mut made, text, length, fill, is_left);
                made
            };
            assert_eq!(padded(true), left, "{text}");
            assert_eq!(padded(false), right, "{text}");
        }
    }
}
