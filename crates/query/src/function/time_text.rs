//! Texts as times of day: the engine takes a text without a `:` for a number of its smallest unit. Instants as texts: the engine's
//! `to_char` takes those with a zone to nanoseconds, which end at the year 2262.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;

use super::retyped::retyped;
use super::{ScalarDefinition, execution};

/// Characters of a wrong text that a message shows.
const SHOWN_MAX: usize = 100;

/// The text, when it is written as a time. Errors: for other text.
pub(crate) fn time_text() -> ScalarDefinition {
    ScalarDefinition::new("time_text", text_type, text_types, |args| {
        let texts = args[0].as_string::<i32>();
        match texts.iter().flatten().find(|text| !is_time(text)) {
            None => Ok(Arc::clone(&args[0])),
            Some(text) => {
                let shown: String = text.chars().take(SHOWN_MAX).collect();
                Err(execution(format!(
                    "Cannot cast string '{shown}' to value of time type"
                )))
            }
        }
    })
}

/// The same, with null for other text.
pub(crate) fn try_time_text() -> ScalarDefinition {
    ScalarDefinition::new("try_time_text", text_type, text_types, |args| {
        let texts = args[0].as_string::<i32>().iter();
        let times = texts.map(|text| text.filter(|text| is_time(text)));
        Ok(Arc::new(times.collect::<StringArray>()) as ArrayRef)
    })
}

/// `to_char` of instants in microseconds; other functions as they are.
pub(crate) fn of_instants(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.name() {
        "to_char" => retyped(function, |_, types| {
            Ok(match types {
                [
                    DataType::Timestamp(TimeUnit::Microsecond, Some(zone)),
                    format,
                ] if format.is_string() => {
                    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some(zone.clone()));
                    Some(vec![instant, DataType::Utf8])
                }
                _ => None,
            })
        }),
        _ => function,
    }
}

fn is_time(text: &str) -> bool {
    text.contains(':')
}

fn text_type(_: &[DataType]) -> Result<DataType> {
    Ok(DataType::Utf8)
}

fn text_types(types: &[DataType]) -> Result<Vec<DataType>> {
    Ok(vec![DataType::Utf8; types.len()])
}
