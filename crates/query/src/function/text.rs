//! Functions of text: `replace`, which the engine lets insert for an empty search text, `string_to_array`, which it lets make an item of
//! an empty text, and `levenshtein`, which it lets run for hours.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use forebay_core::Error;

use super::{ScalarDefinition, wrong_arguments};
use crate::error::external;

/// Most pairs of characters that one `levenshtein` compares, some seconds of work.
const PAIRS_MAX: u64 = 1_000_000_000;

/// `replace(text, from, to)`; an empty `from` is found nowhere.
pub(crate) fn replace() -> ScalarDefinition {
    let text = |_: &[DataType]| Ok(DataType::Utf8);
    let texts = |types: &[DataType]| texts("replace", 3, types);
    ScalarDefinition::new("replace", text, texts, |args| {
        let [texts, from, to] = [0, 1, 2].map(|at| args[at].as_string::<i32>());
        let rows = texts.iter().zip(from).zip(to).map(|row| match row {
            ((Some(text), Some("")), Some(_)) => Some(text.to_owned()),
            ((Some(text), Some(from)), Some(to)) => Some(text.replace(from, to)),
            _ => None,
        });
        Ok(Arc::new(rows.collect::<StringArray>()) as ArrayRef)
    })
}

/// `levenshtein(a, b)`, the number of characters to insert, delete or replace.
pub(crate) fn levenshtein() -> ScalarDefinition {
    let number = |_: &[DataType]| Ok(DataType::Int32);
    let texts = |types: &[DataType]| texts("levenshtein", 2, types);
    ScalarDefinition::new("levenshtein", number, texts, |args| {
        let [one, other] = [0, 1].map(|at| args[at].as_string::<i32>());
        let rows = one.iter().zip(other).map(|row| match row {
            (Some(one), Some(other)) => distance(one, other).map(Some),
            _ => Ok(None),
        });
        Ok(Arc::new(rows.collect::<Result<Int32Array>>()?) as ArrayRef)
    })
}

/// `string_to_array(text, delimiter[, null])`: an empty text has no items, a null delimiter is between all characters.
pub(crate) fn string_to_array() -> ScalarDefinition {
    let list = |_: &[DataType]| {
        let item = Field::new_list_field(DataType::Utf8, true);
        Ok(DataType::List(Arc::new(item)))
    };
    let types = |types: &[DataType]| texts("string_to_array", types.len().clamp(2, 3), types);
    ScalarDefinition::new("string_to_array", list, types, split).with_alias("string_to_list")
}

fn split(args: &[ArrayRef]) -> Result<ArrayRef> {
    let [texts, delimiters] = [0, 1].map(|at| args[at].as_string::<i32>());
    let nulls = args.get(2).map(|nulls| nulls.as_string::<i32>());
    let mut made = ListBuilder::new(StringBuilder::new());
    for row in 0..texts.len() {
        if texts.is_null(row) {
            made.append_null();
            continue;
        }
        let text = texts.value(row);
        let null = nulls.and_then(|nulls| nulls.is_valid(row).then(|| nulls.value(row)));
        let mut push = |item: &str| {
            made.values()
                .append_option((null != Some(item)).then_some(item));
        };
        match delimiters.is_valid(row).then(|| delimiters.value(row)) {
            _ if text.is_empty() => {}
            Some("") => push(text),
            Some(delimiter) => text.split(delimiter).for_each(push),
            None => text
                .split("")
                .filter(|item| !item.is_empty())
                .for_each(push),
        }
        made.append(true);
    }
    Ok(Arc::new(made.finish()))
}

fn texts(name: &str, count: usize, types: &[DataType]) -> Result<Vec<DataType>> {
    let is_text = |kind: &DataType| kind.is_string() || *kind == DataType::Null;
    match types.len() == count && types.iter().all(is_text) {
        true => Ok(vec![DataType::Utf8; count]),
        false => Err(wrong_arguments(name, &format!("{count} texts"), types)),
    }
}

fn distance(one: &str, other: &str) -> Result<i32> {
    let other: Vec<char> = other.chars().collect();
    let rows = one.chars().count();
    let pairs = (rows as u64).saturating_mul(other.len() as u64);
    if pairs > PAIRS_MAX {
        return Err(too_long(pairs));
    }
    let mut costs: Vec<i32> = (0..).take(other.len() + 1).collect();
    for (left, row) in one.chars().zip(1..) {
        let mut diagonal = std::mem::replace(&mut costs[0], row);
        for (at, right) in other.iter().enumerate() {
            let replaced = diagonal + i32::from(left != *right);
            diagonal = costs[at + 1];
            costs[at + 1] = replaced.min(diagonal + 1).min(costs[at] + 1);
        }
    }
    Ok(costs[other.len()])
}

fn too_long(pairs: u64) -> datafusion::common::DataFusionError {
    let message = format!(
        "a value makes the statement fail: levenshtein() would compare {pairs} pairs of characters, more than {PAIRS_MAX}"
    );
    let error = Error::data("sql_value_too_large", message);
    external(error.with_hint("compare the beginning: levenshtein(left(a, 1000), left(b, 1000))"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_bounded() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("é", "e", 1),
            ("ab", "ba", 2),
        ] {
            assert_eq!(distance(one, other).unwrap(), expected, "{one} {other}");
        }
        let long = "a".repeat(200_000);
        assert!(distance(&long, &long).is_err());
    }
}
