//! Validates pages, and proves the end of a pass.
//!
//! A page that differs in form from earlier pages, or that lacks a required next page, fails the run, and the next run
//! resumes at that page. An unreadable value is never treated as the end.

use bytes::Bytes;
use forebay_core::{Error, Result};
use reqwest::header::HeaderMap;

use super::body::{Outline, Shape};
use super::config::{Config, Paginate};
use super::end::EndRule;
use super::exchange::{Answer, NO_CONTENT};
use super::paginate::{self, At, Facts, NextValue};
use super::reader::{self, Fetched, Reader};
use super::retry::{SOURCE_NOT_FOUND, Verdict, verdict};
use super::text::excerpt;

/// The result of probing for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probed {
    Records,
    Nothing,
    Unclear,
}

const RESUMES: &str = "the next run resumes at this page";

impl Reader {
    /// The facts of a page about the pass.
    ///
    /// # Errors
    /// `error_body`, `records_missing`, `key_missing`, `cursor_missing`, `cursor_unreadable`, `end_field_missing`,
    /// `next_page_unreadable`, `bad_next_url`: when the response is not a page.
    pub(super) fn facts(
        &mut self,
        answer: &Answer,
        outline: Option<&mut Outline>,
    ) -> Result<Facts> {
        let config = std::sync::Arc::clone(&self.fetcher.config);
        let paginate = config.paginate.as_ref();
        let mut facts = Facts {
            is_last: verdict(answer.status) != Verdict::Take,
            ..Facts::default()
        };
        let mut next = None;
        let mut similar = None;
        if let Some(outline) = outline {
            similar = outline.similar.clone();
            self.check_page(&config, outline)?;
            self.note_page(&config, outline);
            facts.records = outline.count;
            facts.more = outline.more;
            facts.token = readable("paginate.cursor.path", &outline.token)?;
            next = readable("paginate.next.path", &outline.next)?;
            facts.is_last = self.is_last(&config, outline);
            let counts = matches!(paginate, Some(Paginate::Page(_) | Paginate::Offset(_)));
            let has_end_field = config.end.fields().next().is_some();
            if counts && outline.count == 0 && has_end_field && !outline.names_end && !facts.is_last
            {
                return Err(end_field_missing(&self.shown(outline)));
            }
        }
        if let Some(Paginate::LinkHeader(_)) = paginate {
            next = paginate::link_next(&answer.headers);
        }
        if paginate.is_none() {
            warn_of_next(answer, similar.as_deref());
        }
        facts.full_seen = self.progress.full_seen;
        facts.overlap = self.overlap();
        facts.next_url = next
            .filter(|next| !next.is_empty())
            .map(|next| self.resolve(answer, &next))
            .transpose()?;
        self.progress.next_seen |= facts.token.is_some() || facts.next_url.is_some();
        Ok(facts)
    }

    /// The beginning of a page, for a message.
    fn shown(&self, outline: &Outline) -> String {
        excerpt(&outline.beginning, &self.fetcher.plan.cover)
    }

    fn check_page(&self, config: &Config, outline: &mut Outline) -> Result<()> {
        if outline.is_error {
            return Err(error_body(&self.shown(outline)));
        }
        let may_be_missing = self.page() > 1 && config.end.has(&EndRule::MissingRecords);
        match outline.shape {
            Shape::Missing if may_be_missing => {}
            Shape::Missing => {
                return Err(records_missing(config, "has nothing", &self.shown(outline)));
            }
            Shape::Null if config.records.is_none() => {
                return Err(records_missing(config, "is null", &self.shown(outline)));
            }
            Shape::Scalar => {
                return Err(records_missing(
                    config,
                    "has neither a list nor an object",
                    &self.shown(outline),
                ));
            }
            Shape::Object if self.progress.lists_seen => {
                return Err(records_missing(
                    config,
                    "has an object, but earlier pages have a list,",
                    &self.shown(outline),
                ));
            }
            _ => {}
        }
        if let (true, Some(key)) = (outline.lacks_key, config.key()) {
            return Err(key_missing(key, &self.shown(outline)));
        }
        if self.progress.newest.is_none()
            && let Some(error) = outline.cursor_fault.take()
        {
            return Err(error);
        }
        Ok(())
    }

    fn note_page(&mut self, config: &Config, outline: &Outline) {
        let size = paginate::page_size(config.paginate.as_ref());
        self.progress.records_seen |= outline.count > 0;
        self.progress.lists_seen |= outline.shape == Shape::List;
        self.progress.full_seen |= size.is_some_and(|size| outline.count >= size);
    }

    /// A page that is not found proves the end when the page before it exists, and neither this page nor the one after
    /// it does. Otherwise returns the error.
    pub(super) async fn prove_end(&mut self, at: &At, error: Error) -> Result<Fetched> {
        let paginate = self.fetcher.config.paginate.as_ref();
        let (Some(before), Some(behind)) = (at.before(paginate), at.ahead(paginate)) else {
            return Err(error);
        };
        let is_proven = self.fetcher.config.end.0.is_empty()
            && self.progress.records_seen
            && self.probe(&before).await == Probed::Records
            && self.probe(at).await == Probed::Nothing
            && self.probe(&behind).await == Probed::Nothing;
        if !is_proven {
            return Err(error);
        }
        tracing::debug!(page = self.page(), "no page found after the last one");
        let url = self.page_url(at)?;
        let answer = Answer {
            status: NO_CONTENT,
            headers: HeaderMap::new(),
            url,
            body: Bytes::new(),
            text: None,
            received_at: self.fetcher.context.clock.now(),
        };
        Ok(Fetched {
            answer,
            outline: None,
        })
    }

    /// Requests a page only to check whether it exists.
    async fn probe(&mut self, at: &At) -> Probed {
        let Ok(url) = self.page_url(at) else {
            return Probed::Unclear;
        };
        let mut answer = match self.fetcher.get(&url, self.page()).await {
            Ok(answer) => answer,
            Err(error) if error.code() == SOURCE_NOT_FOUND => return Probed::Nothing,
            Err(_) => return Probed::Unclear,
        };
        if verdict(answer.status) != Verdict::Take {
            return Probed::Nothing;
        }
        match reader::outline(&self.fetcher, &mut answer).await {
            Ok(Some(outline)) if outline.count > 0 && !outline.is_error => Probed::Records,
            _ => Probed::Unclear,
        }
    }

    /// Whether a rule marks the page as the last.
    fn is_last(&self, config: &Config, outline: &Outline) -> bool {
        let counts = matches!(
            config.paginate,
            Some(Paginate::Page(_) | Paginate::Offset(_))
        );
        let is_empty = outline.count == 0;
        let empty_ends =
            config.end.has(&EndRule::EmptyPage) || (counts && config.end.ends_at_empty_page());
        let size = full_size(config);
        let is_full_known = self.progress.full_seen || !counts;
        let is_short = is_full_known && size.is_some_and(|size| outline.count < size);
        outline.is_last
            || outline.shape == Shape::Missing
            || (is_empty && empty_ends)
            || (is_short && config.end.has(&EndRule::ShortPage))
    }

    /// A next link, absolute, checked and without the key.
    fn resolve(&self, answer: &Answer, next: &str) -> Result<String> {
        let url = answer.url.join(next).map_err(|error| {
            Error::data(
                "bad_next_url",
                format!("the link to the next page is not a URL: {error}"),
            )
        })?;
        if answer.url.scheme() == "https" && url.scheme() == "http" {
            return Err(Error::denied(
                "redirect_refused",
                "the next link leads from https to http",
            ));
        }
        self.fetcher.check_address(&url)?;
        Ok(self.fetcher.requests.without_key(&url).into())
    }

    /// # Errors
    /// `next_page_missing` when a page without a next one does not prove that it is the last.
    pub(super) fn check_last(
        &self,
        config: &Config,
        outline: Option<&Outline>,
        facts: &Facts,
    ) -> Result<()> {
        let place = match &config.paginate {
            Some(Paginate::Cursor(cursor)) => format!("`paginate.cursor.path: {}`", cursor.path),
            Some(Paginate::Next(next)) => format!("`paginate.next.path: {}`", next.path),
            Some(Paginate::LinkHeader(_)) => "the header `Link`".to_owned(),
            Some(Paginate::Page(_) | Paginate::Offset(_)) | None => return Ok(()),
        };
        let Some(outline) = outline else {
            return Ok(());
        };
        if facts.is_last || facts.more == Some(false) || config.end.has(&EndRule::NoNext) {
            return Ok(());
        }
        if facts.more == Some(true) || config.end.fields().next().is_some() {
            let message = format!(
                "the page is not the last one, but has no next page at {place}; it begins with {}",
                self.shown(outline)
            );
            return Err(Error::data("next_page_missing", message).with_hint(RESUMES));
        }
        let is_ended = [&outline.token, &outline.next].contains(&&NextValue::Ended);
        if is_ended || self.progress.next_seen || outline.count == 0 {
            return Ok(());
        }
        if let Some(similar) = &outline.similar {
            let message = format!("no value at {place}, but there is one at `{similar}`");
            let hint = format!(
                "write `path: {similar}`, or `end: no_next` if that does not lead to the next page"
            );
            return Err(Error::data("next_page_missing", message).with_hint(hint));
        }
        if paginate::size_asked(config).is_some_and(|size| outline.count >= size) {
            let message = format!(
                "a full page of {} records has nothing at {place}; it begins with {}",
                outline.count,
                self.shown(outline)
            );
            let hint = "correct `paginate`; if the last page of the API has no next page, set `end: no_next`";
            return Err(Error::data("next_page_missing", message).with_hint(hint));
        }
        Ok(())
    }
}

/// Records of a full page, when configured.
pub(super) fn full_size(config: &Config) -> Option<u64> {
    paginate::page_size(config.paginate.as_ref()).or_else(|| paginate::size_asked(config))
}

fn readable(key: &str, value: &NextValue) -> Result<Option<String>> {
    match value {
        NextValue::Absent | NextValue::Ended => Ok(None),
        NextValue::Value(text) => Ok(Some(text.clone())),
        NextValue::Unreadable => {
            let message = format!("the value at `{key}` is not a text or a number");
            let hint = "write the path of the value itself, such as `links.next.href`";
            Err(Error::data("next_page_unreadable", message).with_hint(hint))
        }
    }
}

/// Without `paginate` one answer is all there is; many servers say in it where the next one is.
fn warn_of_next(answer: &Answer, similar: Option<&str>) {
    if paginate::link_next(&answer.headers).is_some() {
        tracing::warn!(
            "the answer has a `Link` header to a next page, and only this page is loaded: set `paginate: {{link_header: {{}}}}`"
        );
    } else if let Some(path) = similar {
        tracing::warn!(
            field = path,
            "the answer has a field that looks like the next page, and only this page is loaded: set `paginate`"
        );
    }
}

fn error_body(excerpt: &str) -> Error {
    let message =
        format!("the server returned an error instead of a page: the body begins with {excerpt}");
    Error::data("error_body", message).with_hint(RESUMES)
}

fn records_missing(config: &Config, what: &str, excerpt: &str) -> Error {
    let path = match config.records.as_deref() {
        Some(path) => format!("`records: {path}`"),
        None => "its top".to_owned(),
    };
    let message = format!("the body {what} at {path}; it begins with {excerpt}");
    Error::data("records_missing", message).with_hint(
        "write the path of the list of records, with dots; if the API omits the list after its last page, set `end: missing_records`",
    )
}

fn key_missing(key: &str, excerpt: &str) -> Error {
    let message = format!("no record of the page has the key `{key}`; it begins with {excerpt}");
    Error::data("key_missing", message).with_hint(
        "write the path of the record key, with dots; without `key` records that the list returns twice are loaded twice",
    )
}

fn end_field_missing(excerpt: &str) -> Error {
    let message = format!("an empty page has no field that `end` names; it begins with {excerpt}");
    Error::data("end_field_missing", message)
        .with_hint("correct `field`, or add `empty_page` to the list under `end`")
}
