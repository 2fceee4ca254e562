//! Pages of names. A token is the last name of the page before.

use forebay_core::{Error, Ident, Result};
use serde_json::{Map, Value};

use super::call::CatalogCall;

/// Names of one page; a client that asks for no pages gets all.
const PAGE_MAX: usize = 1_000;

/// The page that a client asks for.
pub(super) struct PageRequest {
    /// The last name of the page before; empty for the first page.
    pub(super) after: String,
    /// Names of the page; `usize::MAX` without pages.
    size: usize,
}

impl PageRequest {
    /// Errors: `Data` `bad_page`.
    pub(super) fn of(call: &CatalogCall) -> Result<Self> {
        let size = call.parameter("pageSize");
        let token = call.parameter("pageToken");
        let wants_pages = size.is_some() || call.has_parameter("pageToken");
        let size = size.map(page_size).transpose()?;
        Ok(Self {
            after: token.map(page_token).transpose()?.unwrap_or_default(),
            size: match wants_pages {
                true => size.unwrap_or(PAGE_MAX),
                false => usize::MAX,
            },
        })
    }

    /// One name more than the page has, which says whether there is another.
    pub(super) fn limit(&self) -> usize {
        self.size.saturating_add(1)
    }

    /// The page of ordered names after [`Self::after`], each as the protocol has it, under `key`.
    pub(super) fn page(
        &self,
        key: &str,
        mut names: Vec<String>,
        shown: impl Fn(&str) -> Value,
    ) -> Value {
        let has_more = names.len() > self.size;
        names.truncate(self.size);
        let listed = names.iter().map(|name| shown(name)).collect();
        let mut answer = Map::from_iter([(key.to_owned(), Value::Array(listed))]);
        let next = names.pop().filter(|_| has_more);
        answer.insert("next-page-token".to_owned(), next.into());
        Value::Object(answer)
    }
}

fn page_size(text: &str) -> Result<usize> {
    let size: Option<u32> = text.parse().ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| {
        let what = format!(
            "pageSize is a whole number from 1 on, not {}",
            crate::answer::shorten(text)
        );
        Error::data("bad_page", what)
    })?;
    Ok(usize::try_from(size).unwrap_or(PAGE_MAX).min(PAGE_MAX))
}

fn page_token(text: &str) -> Result<String> {
    let token: Ident = text.parse().map_err(|_| {
        let text = crate::answer::shorten(text);
        let what = format!("the page token {text} was not given by this server");
        Error::data("bad_page", what).with_hint("list from the first page on")
    })?;
    Ok(token.to_string())
}
