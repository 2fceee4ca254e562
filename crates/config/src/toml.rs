//! TOML to a document: for settings, which share the checks of a pipeline file.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{Key, Node, Value};
use crate::place::SourceText;
use crate::{Diagnostic, Diagnostics, Document, Span};

pub(super) fn read(path: &str, text: &str) -> Result<Document, Diagnostics> {
    let source = Arc::new(SourceText::new(path, text));
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let node = Arc::new(node(table.span(), map(table.get_ref())));
        return Ok(Document {
            source,
            node,
            path: String::new(),
        });
    }
    let found = errors.iter().map(|error| {
        let span = error.span().map(span).unwrap_or_default();
        Diagnostic {
            code: "bad_toml",
            place: source.place(span),
            message: error.message().to_owned(),
            help: None,
            snippet: source.snippet(span),
        }
    });
    Err(Diagnostics(found.collect()).sorted())
}

fn span(range: Range<usize>) -> Span {
    Span {
        start: range.start,
        end: range.end,
    }
}

fn node(range: Range<usize>, value: Value) -> Node {
    Node::new(span(range), value)
}

/// Tables come sorted or in file order as the crate is built: here they are always in file order.
fn map(table: &DeTable<'_>) -> Value {
    let mut entries: Vec<(Key, Arc<Node>)> = table
        .iter()
        .map(|(key, value)| {
            let key = Key {
                name: key.get_ref().to_string(),
                span: span(key.span()),
            };
            (key, Arc::new(convert(value)))
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.span.start);
    Value::Map(entries)
}

fn convert(value: &Spanned<DeValue<'_>>) -> Node {
    let converted = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(
                |_| Value::String(number.as_str().to_owned()),
                Value::Integer,
            ),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::Float),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(at) => Value::String(at.to_string()),
        DeValue::Array(elements) => Value::List(
            elements
                .iter()
                .map(|element| Arc::new(convert(element)))
                .collect(),
        ),
        DeValue::Table(table) => map(table),
    };
    node(value.span(), converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_types_and_places() {
        let text =
            "[server]\nport = 8_080\nratio = 0.5\non = true\nat = 2026-01-01\ntags = ['a', 'b']\n";
        let document = read("forebay.toml", text).expect("it is TOML");
        let server = document.get("server").expect("a table");
        assert_eq!(server.keys(), ["port", "ratio", "on", "at", "tags"]);
        assert_eq!(
            server.get("port").and_then(|port| port.parse::<u16>().ok()),
            Some(8080)
        );
        assert_eq!(
            server
                .get("ratio")
                .map(|ratio| ratio.place().to_string())
                .as_deref(),
            Some("forebay.toml:3:9")
        );
        assert_eq!(
            server.get("tags").map(|tags| tags.elements().len()),
            Some(2)
        );
    }

    #[test]
    fn every_fault_of_the_syntax_is_reported() {
        let found = read("forebay.toml", "a = \nb = 1\nc = [1,\n").expect_err("it is not TOML");
        assert!(found.0.len() >= 2, "{found}");
        assert_eq!((found.0[0].place.line, found.0[0].code), (1, "bad_toml"));
    }
}
