//! Validates pages, and proves the end of a pass.
//!
//! A page that differs in form from earlier pages, or that lacks a required next page, fails the run, and the next run
//! resumes at that page. An unreadable value is never treated as the end.

use bytes::Bytes;
use forebay_core::{Error, Result};
use reqwest::header::HeaderMap;

use super::body::{Outline, Shape};
use super::config::{Config, Paginate};
use super::end::{EndRule, Truth};
use super::exchange::{Answer, NO_CONTENT};
use super::next_sign::NextSign;
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
    /// `end_field_unreadable`, `next_page_unreadable`, `bad_next_url`: when the response is not a page. `more_pages` when it
    /// is not the only one, and `paginate` says nothing.
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
            facts.more = readable_more(outline.more)?;
            facts.token = readable("paginate.cursor.path", &outline.token)?;
            next = readable("paginate.next.path", &outline.next)?;
            let has_next = facts.token.is_some() || next.is_some();
            facts.is_last = self.is_last(&config, outline, has_next);
            let counts = matches!(paginate, Some(Paginate::Page(_) | Paginate::Offset(_)));
            let has_end_field = config.end.fields().next().is_some();
            if counts && outline.count == 0 && has_end_field && !outline.names_end && !facts.is_last
            {
                return Err(end_field_missing(&self.shown(outline)));
            }
        }
        let link = paginate::link_next(&answer.headers).filter(|link| !link.is_empty());
        facts.has_link = link.is_some();
        if let Some(Paginate::LinkHeader(_)) = paginate {
            next = link;
        }
        if paginate.is_none() {
            refuse_more_pages(facts.has_link, similar.as_ref())?;
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
        if let Some(field) = &outline.unreadable_end {
            return Err(end_field_unreadable(field, &self.shown(outline)));
        }
        // A page after one without the field shows that its absence is not the end.
        let is_later = self.page() > 1 && outline.count > 0;
        let is_named = self.progress.end_seen || outline.names_end;
        if outline.lacks_end && is_later && !is_named {
            return Err(end_field_missing(&self.shown(outline)));
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
        self.progress.end_seen |= outline.names_end;
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

    /// Whether a rule marks the page as the last. `has_next` is whether it names a next one.
    fn is_last(&self, config: &Config, outline: &Outline, has_next: bool) -> bool {
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
        // The path to a field that no page has had may be misspelled: only the next page shows it.
        let is_absence_proof = self.progress.end_seen || is_empty || !counts && !has_next;
        outline.is_last
            || outline.lacks_end && is_absence_proof
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
    /// `next_page_missing` when a page without a next one does not prove that it is the last. `end_field_missing` when no
    /// page has had a field that `end` names.
    pub(super) fn check_last(
        &self,
        config: &Config,
        outline: Option<&Outline>,
        facts: &Facts,
    ) -> Result<()> {
        let can_be_absent = outline.is_some_and(|outline| outline.lacks_end);
        let has_end_field = config.end.fields().next().is_some();
        let is_named = self.progress.end_seen || !self.progress.records_seen;
        if let (true, false, false, Some(outline)) =
            (has_end_field, is_named, can_be_absent, outline)
        {
            return Err(end_field_missing(&self.shown(outline)));
        }
        let place = match &config.paginate {
            Some(Paginate::Cursor(cursor)) => format!("`paginate.cursor.path: {}`", cursor.path),
            Some(Paginate::Next(next)) => format!("`paginate.next.path: {}`", next.path),
            Some(Paginate::LinkHeader(_)) => "the header `Link`".to_owned(),
            Some(Paginate::Page(_) | Paginate::Offset(_) | Paginate::SinglePage) | None => {
                return Ok(());
            }
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
        let is_link = matches!(config.paginate, Some(Paginate::LinkHeader(_)));
        let similar = outline.similar.as_ref();
        if let Some(sign) = next_sign(
            facts.has_link,
            similar.filter(|sign| sign.is_sure || !is_link),
        ) {
            let message = format!("nothing at {place}, but {} a next page", sign.place);
            let hint = format!(
                "write `paginate: {}`, or `end: no_next` if that does not lead to the next page",
                sign.paginate()
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

fn readable_more(more: Option<Truth>) -> Result<Option<bool>> {
    match more {
        None | Some(Truth::Unknown) => Ok(None),
        Some(Truth::True) => Ok(Some(true)),
        Some(Truth::False) => Ok(Some(false)),
        Some(Truth::Unreadable) => {
            let message = "the value at `paginate.cursor.more` is neither true nor false";
            let hint = "write the path of a boolean such as `has_more`, or remove `more`";
            Err(Error::data("next_page_unreadable", message).with_hint(hint))
        }
    }
}

/// A next page as a message shows it.
struct ShownSign {
    place: String,
    paginate: Option<String>,
}

impl ShownSign {
    fn paginate(&self) -> &str {
        self.paginate.as_deref().unwrap_or("{page: {param: page}}")
    }
}

fn next_sign(has_link: bool, sign: Option<&NextSign>) -> Option<ShownSign> {
    if has_link {
        return Some(ShownSign {
            place: "the header `Link` has".to_owned(),
            paginate: Some("{link_header: {}}".to_owned()),
        });
    }
    sign.map(|sign| ShownSign {
        place: format!("the field `{}` is a sign of", sign.path),
        paginate: sign.paginate.clone(),
    })
}

/// Without `paginate` one response is all there is; many servers say in it that there are others.
///
/// Errors: `Config` `more_pages`, with the guess in the context `paginate`.
fn refuse_more_pages(has_link: bool, similar: Option<&NextSign>) -> Result<()> {
    if let Some(sign) = similar.filter(|sign| !has_link && !sign.is_sure) {
        tracing::warn!(
            field = sign.path,
            "the response has a field that looks like the next page, and only this page is loaded: set `paginate`; `paginate: none` \
             says that it is the only one"
        );
        return Ok(());
    }
    let Some(sign) = next_sign(has_link, similar) else {
        return Ok(());
    };
    let message = format!(
        "the response is one page of several, and the source has no `paginate`: {} a next page",
        sign.place
    );
    let error = Error::config("more_pages", message).with_hint(format!(
        "write `paginate: {}` under `http`, or `paginate: none` to load only this page",
        sign.paginate()
    ));
    Err(match sign.paginate {
        Some(paginate) => error.with_context("paginate", paginate),
        None => error,
    })
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
    let message = format!("no field that `end` names is on the page; it begins with {excerpt}");
    Error::data("end_field_missing", message).with_hint(
        "correct `field`, the path from the top of the body; if only empty pages lack it, add `empty_page` to the list under `end`",
    )
}

fn end_field_unreadable(field: &str, excerpt: &str) -> Error {
    let message = format!(
        "`end` compares `{field}` with true or false, and it is neither; the page begins with {excerpt}"
    );
    Error::data("end_field_unreadable", message)
        .with_hint("write the value that the field has on the last page after `is:`")
}
