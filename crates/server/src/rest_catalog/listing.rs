//! Pages of names. A token is the last name of the page before.

use serde_json::{Map, Value};

use super::call::CatalogCall;

/// Names of one page; a client that asks for no pages gets all.
const PAGE_MAX: usize = 1_000;

/// A page of ordered names, each as the protocol has it, under `key`.
pub(super) fn page(
    call: &CatalogCall,
    key: &str,
    names: impl Iterator<Item = String>,
    shown: impl Fn(&str) -> Value,
) -> Value {
    let wants_pages = call.parameter("pageToken").is_some() || call.parameter("pageSize").is_some();
    let size = call
        .parameter("pageSize")
        .and_then(|size| size.parse().ok());
    let size = match wants_pages {
        true => size.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX),
        false => usize::MAX,
    };
    let after = call.parameter("pageToken").unwrap_or_default();
    let mut rest = names.filter(|name| name.as_str() > after).peekable();
    let mut listed = Vec::new();
    let mut last = None;
    while listed.len() < size {
        let Some(name) = rest.next() else { break };
        listed.push(shown(&name));
        last = Some(name);
    }
    let mut answer = Map::from_iter([(key.to_owned(), Value::Array(listed))]);
    let next = last.filter(|_| rest.peek().is_some());
    answer.insert("next-page-token".to_owned(), next.into());
    Value::Object(answer)
}
