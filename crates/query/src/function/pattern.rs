//! Patterns of `LIKE … ESCAPE` and `SIMILAR TO`, converted to patterns of the engine: `LIKE` with `\`, and regular expressions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};
use crate::function::strftime::{STRFTIME_FORMAT, strftime};

/// `like_escape(pattern, escape)`: the pattern with `\` as its escape character.
pub(crate) fn like_escape() -> ScalarDefinition {
    ScalarDefinition::new("like_escape", returns, coerces, |args| {
        each(args, escaped_like)
    })
}

/// `similar_pattern(pattern, escape)`: the regular expression of a pattern of `SIMILAR TO`.
pub(crate) fn similar_pattern() -> ScalarDefinition {
    ScalarDefinition::new("similar_pattern", returns, coerces, |args| {
        each(args, regular)
    })
}

/// `strftime_format(format)`: a format of `to_char` and its siblings as one of strftime.
pub(crate) fn strftime_format() -> ScalarDefinition {
    let one = |types: &[DataType]| Ok(vec![DataType::Utf8; types.len()]);
    ScalarDefinition::new(STRFTIME_FORMAT, returns, one, |args| {
        let formats = args[0].as_string::<i32>().iter();
        let made = formats.map(|format| format.map(strftime).transpose().map_err(execution));
        Ok(Arc::new(made.collect::<Result<StringArray>>()?))
    })
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let is_text = |kind: &DataType| kind.is_string() || *kind == DataType::Null;
    match types {
        [pattern, escape] if is_text(pattern) && is_text(escape) => {
            Ok(vec![DataType::Utf8, DataType::Utf8])
        }
        _ => Err(wrong_arguments("LIKE", "text", types)),
    }
}

fn returns(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn each(args: &[ArrayRef], convert: fn(&str, Option<char>) -> Result<String>) -> Result<ArrayRef> {
    let patterns = args[0].as_string::<i32>();
    let escapes = args[1].as_string::<i32>();
    let rows = (0..patterns.len()).map(|row| {
        if patterns.is_null(row) || escapes.is_null(row) {
            return Ok(None);
        }
        let mut escape = escapes.value(row).chars();
        let first = escape.next();
        if escape.next().is_some() {
            return Err(execution("ESCAPE takes one character"));
        }
        convert(patterns.value(row), first).map(Some)
    });
    let converted: StringArray = rows.collect::<Result<_>>()?;
    Ok(Arc::new(converted))
}

fn ends_with_escape() -> datafusion::common::DataFusionError {
    execution("a LIKE pattern must not end with its escape character")
}

fn escaped_like(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut made = String::with_capacity(pattern.len() + 8);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            let literal = chars.next().ok_or_else(ends_with_escape)?;
            if matches!(literal, '%' | '_' | '\\') {
                made.push('\\');
            }
            made.push(literal);
        } else {
            if c == '\\' {
                made.push('\\');
            }
            made.push(c);
        }
    }
    Ok(made)
}

/// `%`, `_`, `|`, `*`, `+`, `?`, `{m,n}`, `( )` and `[ ]` are special in SQL; all else is plain.
fn regular(pattern: &str, escape: Option<char>) -> Result<String> {
    let mut made = String::with_capacity(pattern.len() + 16);
    made.push_str("^(?s:");
    let mut chars = pattern.chars();
    let mut in_brackets = false;
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            push_plain(&mut made, chars.next().ok_or_else(ends_with_escape)?);
            continue;
        }
        match c {
            ']' if in_brackets => {
                in_brackets = false;
                made.push(c);
            }
            '\\' | '&' | '~' | '[' if in_brackets => push_plain(&mut made, c),
            _ if in_brackets => made.push(c),
            '[' => {
                in_brackets = true;
                made.push(c);
            }
            '%' => made.push_str(".*"),
            '_' => made.push('.'),
            '|' | '*' | '+' | '?' | '{' | '}' | ',' | '(' | ')' => made.push(c),
            other => push_plain(&mut made, other),
        }
    }
    made.push_str(")$");
    Ok(made)
}

fn push_plain(made: &mut String, c: char) {
    if c.is_ascii_punctuation() {
        made.push('\\');
    }
    made.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_like() {
        let like = |pattern, escape| escaped_like(pattern, escape).map_err(|e| e.to_string());
        assert_eq!(like("a!%b!!%", Some('!')), Ok("a\\%b!%".to_owned()));
        assert_eq!(like("a\\b_", Some('!')), Ok("a\\\\b_".to_owned()));
        assert_eq!(like("a\\%", None), Ok("a\\\\%".to_owned()));
        assert!(like("a!", Some('!')).is_err());
    }

    #[test]
    fn similar_patterns_match_the_whole_text() {
        assert_eq!(regular("a.%", Some('\\')).unwrap(), "^(?s:a\\..*)$");
        assert_eq!(regular("(a|b)_[^x]", None).unwrap(), "^(?s:(a|b).[^x])$");
    }
}
