//! Functions over JSON text, as columns of `type: json` have it.
//!
//! `->` and `json_extract` give JSON, `->>` and `json_extract_string` plain text; a step that is not there gives null. A path is
//! a key, an index (from the end when negative), or `$.a.b[0]`. Numbers keep the digits that they have in the text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use serde_json::value::RawValue;

use super::{ScalarDefinition, execution, wrong_arguments};

/// Steps that one path may have.
const STEPS_MAX: usize = 64;

/// All functions of this module.
pub(crate) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        ScalarDefinition::new("json_extract", text_type, coerces, |args| {
            each(args, |found| Some(found.get().to_owned()))
        })
        .with_alias("json_get")
        .shared(),
        ScalarDefinition::new("json_extract_string", text_type, coerces, |args| {
            each(args, plain_text)
        })
        .with_alias("json_get_str")
        .with_alias("json_extract_path_text")
        .shared(),
        ScalarDefinition::new("json_array_length", count_type, coerces, |args| {
            let lengths: Int64Array = found_rows(args, |found| Ok(length(found)))?;
            Ok(Arc::new(lengths))
        })
        .shared(),
        ScalarDefinition::new("json_typeof", text_type, coerces, |args| {
            each(args, |found| Some(type_name(found).to_owned()))
        })
        .with_alias("json_type")
        .shared(),
        ScalarDefinition::new("json_valid", bool_type, coerces, |args| {
            let texts = args[0].as_string::<i32>();
            let valid: arrow::array::BooleanArray = texts
                .iter()
                .map(|text| text.map(|text| serde_json::from_str::<&RawValue>(text).is_ok()))
                .collect();
            Ok(Arc::new(valid))
        })
        .shared(),
    ]
}

fn text_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn count_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Int64)
}

fn bool_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Boolean)
}

fn coerces(types: &[DataType]) -> Result<Vec<DataType>> {
    let takes = "JSON text and steps, each a key, an index or a path such as '$.a.b[0]'";
    let wrong = || wrong_arguments("a JSON function", takes, types);
    let (json, steps) = types.split_first().ok_or_else(wrong)?;
    if !json.is_string() && *json != DataType::Null || steps.len() > STEPS_MAX {
        return Err(wrong());
    }
    let steps = steps.iter().map(|step| match step {
        kind if kind.is_integer() => Ok(DataType::Int64),
        kind if kind.is_string() => Ok(DataType::Utf8),
        DataType::Null => Ok(DataType::Utf8),
        _ => Err(wrong()),
    });
    [Ok(DataType::Utf8)].into_iter().chain(steps).collect()
}

fn each(args: &[ArrayRef], shown: fn(&RawValue) -> Option<String>) -> Result<ArrayRef> {
    let texts: StringArray = found_rows(args, |found| Ok(shown(found)))?;
    Ok(Arc::new(texts))
}

/// For each row the value at the end of the path, if any.
fn found_rows<T, C: FromIterator<Option<T>>>(
    args: &[ArrayRef],
    with: impl Fn(&RawValue) -> Result<Option<T>>,
) -> Result<C> {
    let texts = args[0].as_string::<i32>();
    let rows = (0..texts.len()).map(|row| {
        if texts.is_null(row) || args.iter().any(|arg| arg.is_null(row)) {
            return Ok(None);
        }
        let text = texts.value(row);
        let mut at: &RawValue = serde_json::from_str(text)
            .map_err(|error| execution(format!("malformed JSON: {error}")))?;
        for step in &args[1..] {
            let next = match step.data_type() {
                DataType::Int64 => item(at, step.as_primitive::<Int64Type>().value(row)),
                _ => along(at, step.as_string::<i32>().value(row))?,
            };
            match next {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        with(at)
    });
    rows.collect()
}

fn along<'a>(at: &'a RawValue, path: &str) -> Result<Option<&'a RawValue>> {
    let Some(rest) = path.strip_prefix('$') else {
        return Ok(member(at, path));
    };
    let mut at = at;
    for step in steps(rest).ok_or_else(|| bad_path(path))? {
        let next = match step {
            PathStep::Key(key) => member(at, key),
            PathStep::Index(index) => item(at, index),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

fn bad_path(path: &str) -> datafusion::common::DataFusionError {
    execution(format!(
        "malformed JSON path '{path}': write it as $.key, $.\"a key\" or $[0]"
    ))
}

#[derive(Debug, PartialEq)]
enum PathStep<'a> {
    Key(&'a str),
    Index(i64),
}

fn steps(path: &str) -> Option<Vec<PathStep<'_>>> {
    let mut made = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if made.len() >= STEPS_MAX {
            return None;
        }
        if let Some(after) = rest.strip_prefix(".\"") {
            let (key, after) = after.split_once('"')?;
            made.push(PathStep::Key(key));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end == 0 {
                return None;
            }
            made.push(PathStep::Key(&after[..end]));
            rest = &after[end..];
        } else {
            let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
            made.push(PathStep::Index(index.trim().parse().ok()?));
            rest = after;
        }
    }
    Some(made)
}

fn member<'a>(at: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    match at.get().as_bytes().first() {
        Some(b'{') => {
            let members: std::collections::HashMap<String, &RawValue> =
                serde_json::from_str(at.get()).ok()?;
            members.get(key).copied()
        }
        Some(b'[') => item(at, key.parse().ok()?),
        _ => None,
    }
}

fn item(at: &RawValue, index: i64) -> Option<&RawValue> {
    if !at.get().starts_with('[') {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(at.get()).ok()?;
    let index = if index < 0 {
        i64::try_from(items.len()).ok()? + index
    } else {
        index
    };
    items.get(usize::try_from(index).ok()?).copied()
}

fn plain_text(found: &RawValue) -> Option<String> {
    match found.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        other => Some(other.to_owned()),
    }
}

fn length(found: &RawValue) -> Option<i64> {
    if !found.get().starts_with('[') {
        return None;
    }
    let items: Vec<&RawValue> = serde_json::from_str(found.get()).ok()?;
    i64::try_from(items.len()).ok()
}

fn type_name(found: &RawValue) -> &'static str {
    match found.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_keys_and_indexes() {
        assert_eq!(
            steps(".a.\"b c\"[-1]"),
            Some(vec![
                PathStep::Key("a"),
                PathStep::Key("b c"),
                PathStep::Index(-1)
            ])
        );
        assert_eq!(steps("a"), None);
        let json: &RawValue = serde_json::from_str(r#"{"a":{"b c":[1,2.50]}}"#).unwrap();
        let found = along(json, "$.a.\"b c\"[-1]").unwrap().unwrap();
        assert_eq!(found.get(), "2.50");
    }
}
