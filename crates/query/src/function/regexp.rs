//! `regexp_replace` and `regexp_count` as in Postgres: the engine takes `$1` in a replacement for a group and does not know `\&`, and
//! counts no match where a value is null or the pattern is empty.
//!
//! Patterns are those of the engine's library. How much memory they take is bounded elsewhere, by the arguments of a call.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use regex::{Captures, Regex};

use super::{ScalarDefinition, execution, wrong_arguments};

/// Largest number of a group in a replacement: `\1` to `\9`.
const GROUPS_MAX: usize = 10;

/// `regexp_replace(text, pattern, replacement[, flags])`; the flag `g` replaces every match, others are those of the pattern.
pub(crate) fn regexp_replace() -> ScalarDefinition {
    let text = |_: &[DataType]| Ok(DataType::Utf8);
    ScalarDefinition::new("regexp_replace", text, replace_types, |args| {
        let [texts, patterns, replacements] = [0, 1, 2].map(|at| args[at].as_string::<i32>());
        let flags = args.get(3).map(|flags| flags.as_string::<i32>());
        replaced(texts, patterns, replacements, flags)
    })
}

/// `regexp_count(text, pattern[, start[, flags]])`.
pub(crate) fn regexp_count() -> ScalarDefinition {
    let number = |_: &[DataType]| Ok(DataType::Int64);
    ScalarDefinition::new("regexp_count", number, count_types, |args| {
        let [texts, patterns] = [0, 1].map(|at| args[at].as_string::<i32>());
        let starts = args.get(2).map(|starts| starts.as_primitive::<Int64Type>());
        let flags = args.get(3).map(|flags| flags.as_string::<i32>());
        let mut compiled = CompiledPattern::default();
        let rows = (0..texts.len()).map(|row| {
            if args.iter().any(|arg| arg.is_null(row)) {
                return Ok(None);
            }
            let flags = flags.map_or("", |flags| flags.value(row));
            let regex = compiled.of(patterns.value(row), flags)?;
            let start = starts.map_or(1, |starts| starts.value(row));
            let text = from_character(texts.value(row), start)?;
            let count = text.map_or(0, |text| regex.find_iter(text).count());
            Ok(i64::try_from(count).ok())
        });
        Ok(Arc::new(rows.collect::<Result<Int64Array>>()?))
    })
}

/// The text from a character on, counted from 1; `None` beyond its end.
fn from_character(text: &str, start: i64) -> Result<Option<&str>> {
    let before = usize::try_from(start - 1)
        .map_err(|_| execution("regexp_count() starts at character 1 or later"))?;
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    Ok(places.nth(before).map(|at| &text[at..]))
}

fn is_text(kind: &DataType) -> bool {
    kind.is_string() || *kind == DataType::Null
}

fn replace_types(types: &[DataType]) -> Result<Vec<DataType>> {
    match types.len() {
        3 | 4 if types.iter().all(is_text) => Ok(vec![DataType::Utf8; types.len()]),
        _ => Err(wrong_arguments(
            "regexp_replace",
            "a text, a pattern, a replacement and flags",
            types,
        )),
    }
}

fn count_types(types: &[DataType]) -> Result<Vec<DataType>> {
    let kinds = [
        DataType::Utf8,
        DataType::Utf8,
        DataType::Int64,
        DataType::Utf8,
    ];
    let fits = |(given, kind): (&DataType, &DataType)| match kind {
        DataType::Int64 => given.is_integer() || *given == DataType::Null,
        _ => is_text(given),
    };
    match types.len() {
        2..=4 if types.iter().zip(&kinds).all(fits) => Ok(kinds[..types.len()].to_vec()),
        _ => Err(wrong_arguments(
            "regexp_count",
            "a text, a pattern, a start and flags",
            types,
        )),
    }
}

fn replaced(
    texts: &StringArray,
    patterns: &StringArray,
    replacements: &StringArray,
    flags: Option<&StringArray>,
) -> Result<ArrayRef> {
    let mut compiled = CompiledPattern::default();
    let mut made = StringBuilder::with_capacity(texts.len(), texts.values().len());
    let mut buffer = String::new();
    for row in 0..texts.len() {
        let arrays = [texts, patterns, replacements];
        if arrays.into_iter().chain(flags).any(|arg| arg.is_null(row)) {
            made.append_null();
            continue;
        }
        let flags = flags.map_or("", |flags| flags.value(row));
        let regex = compiled.of(patterns.value(row), flags)?;
        let count = if flags.contains('g') { usize::MAX } else { 1 };
        buffer.clear();
        replace_into(
            &mut buffer,
            texts.value(row),
            regex,
            replacements.value(row),
            count,
        );
        made.append_value(&buffer);
    }
    Ok(Arc::new(made.finish()))
}

fn replace_into(made: &mut String, text: &str, regex: &Regex, replacement: &str, count: usize) {
    let mut end = 0;
    for groups in regex.captures_iter(text).take(count) {
        let Some(found) = groups.get(0) else { continue };
        made.push_str(&text[end..found.start()]);
        expand_into(made, replacement, &groups);
        end = found.end();
    }
    made.push_str(&text[end..]);
}

/// `\1` to `\9` are groups, `\&` is all that was found, `\\` a backslash; everything else, also `$1`, is text.
fn expand_into(made: &mut String, replacement: &str, groups: &Captures<'_>) {
    let mut left = replacement;
    while let Some((before, after)) = left.split_once('\\') {
        made.push_str(before);
        let next = after.as_bytes().first().copied();
        let group = match next {
            Some(digit @ b'1'..=b'9') => Some(usize::from(digit - b'0')),
            Some(b'&') => Some(0),
            _ => None,
        };
        if let Some(group) = group.filter(|group| *group < GROUPS_MAX) {
            made.push_str(groups.get(group).map_or("", |found| found.as_str()));
            left = &after[1..];
            continue;
        }
        made.push('\\');
        left = match next {
            Some(b'\\') => &after[1..],
            _ => after,
        };
    }
    made.push_str(left);
}

/// The pattern of the last row, which mostly is that of the next one.
#[derive(Default)]
struct CompiledPattern(Option<(String, String, Regex)>);

impl CompiledPattern {
    fn of(&mut self, pattern: &str, flags: &str) -> Result<&Regex> {
        let is_known = |(known, known_flags, _): &(String, String, Regex)| {
            known == pattern && known_flags == flags
        };
        if !self.0.as_ref().is_some_and(is_known) {
            let regex = compile(pattern, flags)?;
            self.0 = Some((pattern.to_owned(), flags.to_owned(), regex));
        }
        match &self.0 {
            Some((_, _, regex)) => Ok(regex),
            None => Err(execution("a pattern was not compiled")),
        }
    }
}

/// Flags as the engine takes them, in front of the pattern.
fn compile(pattern: &str, flags: &str) -> Result<Regex> {
    let flags = flags.replace('g', "");
    let compiled = match flags.is_empty() {
        true => Regex::new(pattern),
        false => Regex::new(&format!("(?{flags}){pattern}")),
    };
    compiled.map_err(|error| datafusion::common::DataFusionError::External(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_those_of_postgres() {
        for (replacement, expected) in [
            ("<\\1>", "x<b>y"),
            ("<\\&>", "x<abc>y"),
            ("$1 ${1} $0", "x$1 ${1} $0y"),
            ("\\\\1", "x\\1y"),
            ("\\0\\z", "x\\0\\zy"),
            ("\\12", "xb2y"),
            ("\\3-", "x-y"),
            ("end\\", "xend\\y"),
            ("", "xy"),
        ] {
            let regex = compile("a(b)c", "").unwrap();
            let mut made = String::new();
            replace_into(&mut made, "xabcy", &regex, replacement, 1);
            assert_eq!(made, expected, "{replacement}");
        }
    }
}
