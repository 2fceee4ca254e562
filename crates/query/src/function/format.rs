//! `format(template, …)` as in Postgres: `%s` is an argument as text, `%I` as a name, `%L` as a quoted literal, `%%` a percent sign.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::Result;

use super::{ScalarDefinition, execution, wrong_arguments};

/// See the module. A width is not supported.
pub(crate) fn format_text() -> ScalarDefinition {
    let text = |_: &[DataType]| Ok(DataType::Utf8);
    let texts = |types: &[DataType]| match types {
        [template, ..] if template.is_string() || *template == DataType::Null => {
            Ok(vec![DataType::Utf8; types.len()])
        }
        _ => Err(wrong_arguments("format", "a text and values", types)),
    };
    ScalarDefinition::new("format", text, texts, |args| {
        let texts: Vec<&StringArray> = args.iter().map(|arg| arg.as_string::<i32>()).collect();
        let mut made = StringBuilder::new();
        let mut buffer = String::new();
        for row in 0..args[0].len() {
            if texts[0].is_null(row) {
                made.append_null();
                continue;
            }
            buffer.clear();
            format_into(&mut buffer, texts[0].value(row), &texts[1..], row)?;
            made.append_value(&buffer);
        }
        Ok(Arc::new(made.finish()) as ArrayRef)
    })
}

fn format_into(
    made: &mut String,
    template: &str,
    values: &[&StringArray],
    row: usize,
) -> Result<()> {
    let mut left = template;
    let mut next = 0;
    while let Some((before, after)) = left.split_once('%') {
        made.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = after.split_at(digits);
        let rest = match (number.parse::<usize>(), rest.strip_prefix('$')) {
            (Ok(number), Some(rest)) => {
                next = number.checked_sub(1).ok_or_else(|| {
                    execution("format() counts arguments from 1: write %1$s for the first")
                })?;
                rest
            }
            _ => after,
        };
        let Some(kind) = rest.chars().next() else {
            return Err(execution("format() ends with a % without a kind"));
        };
        left = &rest[kind.len_utf8()..];
        if kind == '%' {
            made.push('%');
            continue;
        }
        let value = values
            .get(next)
            .ok_or_else(|| execution("format() has fewer arguments than places in its text"))?;
        next += 1;
        push(made, kind, value.is_valid(row).then(|| value.value(row)))?;
    }
    made.push_str(left);
    Ok(())
}

fn push(made: &mut String, kind: char, value: Option<&str>) -> Result<()> {
    match (kind, value) {
        ('s', value) => made.push_str(value.unwrap_or_default()),
        ('L', None) => made.push_str("NULL"),
        ('L', Some(value)) => {
            made.push('\'');
            made.push_str(&value.replace('\'', "''"));
            made.push('\'');
        }
        ('I', Some(value)) => push_name(made, value),
        ('I', None) => return Err(execution("format() cannot write a null as a name")),
        _ => {
            return Err(execution(format!(
                "format() takes %s, %I, %L and %%, each also with a place such as %1$s, not %{kind}"
            )));
        }
    }
    Ok(())
}

/// A name is quoted unless it is written in small letters.
fn push_name(made: &mut String, name: &str) {
    let is_small = |c: char| c.is_ascii_lowercase() || c == '_';
    let is_plain = name.starts_with(is_small)
        && name
            .chars()
            .all(|c| is_small(c) || c.is_ascii_digit() || c == '$');
    if is_plain {
        made.push_str(name);
        return;
    }
    made.push('"');
    made.push_str(&name.replace('"', "\"\""));
    made.push('"');
}
