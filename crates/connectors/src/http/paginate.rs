//! From one page to the next: the next request, the end of the pass, and the guards against a paginator that repeats itself.
//!
//! Pure decisions over the facts of a page; nothing here sends a request.

use std::collections::{HashSet, VecDeque};

use forebay_core::{Error, Result};
use reqwest::header::{HeaderMap, LINK};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::{Config, Paginate};
use super::end::EndRule;

/// Requests that the guard remembers; `pages_max` ends a longer cycle.
const REQUESTS_REMEMBERED: usize = 100_000;

/// Requests whose digests a position keeps, so that a cycle is detected across runs as well.
const REQUESTS_STORED: usize = 32;

/// Names of query parameters for the page size, in lower case.
const SIZE_PARAMS: [&str; 16] = [
    "$top",
    "count",
    "first",
    "items_per_page",
    "itemsperpage",
    "limit",
    "max_results",
    "maxresults",
    "num",
    "page[size]",
    "page_limit",
    "page_size",
    "pagesize",
    "per_page",
    "perpage",
    "size",
];

/// The place of a request in a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum At {
    First,
    Page(u64),
    Offset(u64),
    Token(String),
    Url(String),
    /// Stored in place of a next page whose link contains a credential: it is found again by reading the pages of the pass.
    Again,
}

/// A value in a body that identifies the next page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum NextValue {
    /// The field is absent.
    #[default]
    Absent,
    /// null, false or an empty text.
    Ended,
    Value(String),
    /// A list, an object or true.
    Unreadable,
}

/// Facts of one page about the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// Records on the page.
    pub(super) records: u64,
    pub(super) token: Option<String>,
    pub(super) more: Option<bool>,
    pub(super) next_url: Option<String>,
    /// The response has a `Link` header to a next page.
    pub(super) has_link: bool,
    /// Whether the server has ever returned as many records as requested: only then is a page known to be short.
    pub(super) full_seen: bool,
    /// A rule of `end` marks this page as the last.
    pub(super) is_last: bool,
    /// Records that the next page shares with this one.
    pub(super) overlap: u64,
}

impl At {
    pub(super) fn first(paginate: Option<&Paginate>) -> Self {
        match paginate {
            Some(Paginate::Page(page)) => Self::Page(page.start),
            Some(Paginate::Offset(offset)) => Self::Offset(offset.start),
            Some(
                Paginate::Cursor(_)
                | Paginate::Next(_)
                | Paginate::LinkHeader(_)
                | Paginate::SinglePage,
            )
            | None => Self::First,
        }
    }

    /// Whether a position at this place can belong to this configuration.
    pub(super) fn fits(&self, paginate: Option<&Paginate>) -> bool {
        match paginate {
            None | Some(Paginate::SinglePage) => *self == Self::First,
            Some(Paginate::Page(_)) => matches!(self, Self::Page(_)),
            Some(Paginate::Offset(_)) => matches!(self, Self::Offset(_)),
            Some(Paginate::Cursor(_)) => matches!(self, Self::First | Self::Token(_) | Self::Again),
            Some(Paginate::Next(_) | Paginate::LinkHeader(_)) => {
                matches!(self, Self::First | Self::Url(_) | Self::Again)
            }
        }
    }

    /// Like [`Self::ahead`], with records that both pages share.
    pub(super) fn ahead_sharing(&self, paginate: Option<&Paginate>, overlap: u64) -> Option<Self> {
        match (self, paginate?) {
            (Self::Offset(at), Paginate::Offset(offset)) => at
                .checked_add(step(offset.limit, overlap))
                .map(Self::Offset),
            _ => self.ahead(paginate),
        }
    }

    /// The page after this one, before this one has arrived: only page numbers and offsets are known ahead.
    pub(super) fn ahead(&self, paginate: Option<&Paginate>) -> Option<Self> {
        match (self, paginate?) {
            (Self::Page(page), Paginate::Page(_)) => page.checked_add(1).map(Self::Page),
            (Self::Offset(at), Paginate::Offset(offset)) => {
                at.checked_add(offset.limit).map(Self::Offset)
            }
            _ => None,
        }
    }

    /// A page before this one that has records if the list has any up to here; only for page numbers and offsets.
    pub(super) fn before(&self, paginate: Option<&Paginate>) -> Option<Self> {
        match (self, paginate?) {
            (Self::Page(page), Paginate::Page(first)) if *page > first.start => {
                Some(Self::Page(page - 1))
            }
            (Self::Offset(at), Paginate::Offset(offset)) if *at > offset.start => {
                let before = at.saturating_sub(offset.limit).max(offset.start);
                Some(Self::Offset(before))
            }
            _ => None,
        }
    }

    /// The page after this one, from the facts of this one; `None` ends the pass.
    ///
    /// An offset advances by the records received and skips none: a server may return fewer than requested.
    pub(super) fn next(&self, paginate: Option<&Paginate>, facts: &Facts) -> Option<Self> {
        match paginate? {
            _ if facts.is_last => None,
            Paginate::SinglePage => None,
            Paginate::Page(_) => self.ahead(paginate),
            Paginate::Offset(offset) => match self {
                // An empty page that does not end the pass: the list continues after it.
                Self::Offset(_) if facts.records == 0 => self.ahead(paginate),
                Self::Offset(at) => at
                    .checked_add(step(facts.records.min(offset.limit), facts.overlap))
                    .map(Self::Offset),
                _ => None,
            },
            Paginate::Cursor(_) if facts.more == Some(false) => None,
            Paginate::Cursor(_) => facts
                .token
                .clone()
                .filter(|token| !token.is_empty())
                .map(Self::Token),
            Paginate::Next(_) | Paginate::LinkHeader(_) => facts
                .next_url
                .clone()
                .filter(|url| !url.is_empty())
                .map(Self::Url),
        }
    }
}

/// The step from one offset to the next. A page of only overlap would lead to itself.
fn step(records: u64, overlap: u64) -> u64 {
    match records.checked_sub(overlap) {
        Some(step) if step > 0 => step,
        _ => records,
    }
}

/// Whether a query parameter of that name sets the page size.
pub(super) fn is_size(name: &str) -> bool {
    SIZE_PARAMS.contains(&name.to_ascii_lowercase().as_str())
}

/// The query parameters of the first request of a pass, from the configuration.
pub(super) fn first_params(config: &Config) -> Vec<(String, String)> {
    let params = config
        .params
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()));
    let of_url = config.base().ok().into_iter().flat_map(|base| {
        let pairs = base.query_pairs().into_owned();
        pairs.collect::<Vec<_>>()
    });
    params.chain(of_url).collect()
}

/// Records of a full page, from the query parameters in the configuration.
pub(super) fn size_asked(config: &Config) -> Option<u64> {
    let params = first_params(config);
    let mut sizes = params.iter().filter(|(name, _)| is_size(name));
    sizes.find_map(|(_, value)| value.parse().ok())
}

/// Records of a full page, when configured.
pub(super) fn page_size(paginate: Option<&Paginate>) -> Option<u64> {
    match paginate? {
        Paginate::Page(page) => page.size,
        Paginate::Offset(offset) => Some(offset.limit),
        _ => None,
    }
}

/// The target of `Link: <…>; rel="next"` (RFC 8288), from one or more headers.
pub(super) fn link_next(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(next_of_link)
}

fn next_of_link(mut text: &str) -> Option<String> {
    while let Some((_, rest)) = text.split_once('<') {
        let (target, rest) = rest.split_once('>')?;
        // Parameters extend to the comma before the next link; a comma inside quotes belongs to its parameter.
        let mut quoted = false;
        let end = rest.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let (params, tail) = rest.split_at(end.unwrap_or(rest.len()));
        if relation(params).is_some_and(is_next) {
            return Some(target.trim().to_owned());
        }
        text = tail;
    }
    None
}

/// The value of the first `rel` among the parameters of a link: the others do not count (RFC 8288, 3.3).
fn relation(mut params: &str) -> Option<&str> {
    while !params.is_empty() {
        let mut quoted = false;
        // A semicolon inside quotes belongs to its parameter.
        let end = params.find(|c| {
            quoted ^= c == '"';
            c == ';' && !quoted
        });
        let (param, rest) = params.split_at(end.unwrap_or(params.len()));
        if let Some((name, value)) = param.split_once('=')
            && name.trim().eq_ignore_ascii_case("rel")
        {
            return Some(value);
        }
        params = rest.strip_prefix(';').unwrap_or_default();
    }
    None
}

fn is_next(value: &str) -> bool {
    let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
    relations.any(|relation| relation.eq_ignore_ascii_case("next"))
}

/// Remembers the last requests of a pass, and the last page.
#[derive(Debug, Default)]
pub(super) struct Guard {
    seen: HashSet<[u8; 16]>,
    order: VecDeque<[u8; 16]>,
}

impl Guard {
    /// A guard that knows the requests of earlier runs.
    pub(super) fn after(stored: &[String]) -> Self {
        let mut guard = Self::default();
        for digest in stored
            .iter()
            .filter_map(|text| hex::decode(text).ok()?.try_into().ok())
        {
            guard.remember(digest);
        }
        guard
    }

    /// # Errors
    /// `pagination_repeats` when the same request was made before in this pass.
    pub(super) fn request(&mut self, url: &str, page: u64) -> Result<()> {
        let digest = Sha256::digest(url.as_bytes());
        let digest: [u8; 16] = std::array::from_fn(|i| digest[i]);
        if !self.remember(digest) {
            return Err(repeats(page, "requests a page that was read before"));
        }
        Ok(())
    }

    fn remember(&mut self, digest: [u8; 16]) -> bool {
        if !self.seen.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > REQUESTS_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// The newest requests before the next one, for a position.
    pub(super) fn stored(&self) -> Vec<String> {
        let before_newest = self.order.len().saturating_sub(1);
        let from = before_newest.saturating_sub(REQUESTS_STORED);
        let digests = self.order.range(from..before_newest);
        digests.map(hex::encode).collect()
    }
}

/// The error for a paginator that loops; `page` counts from 1.
pub(super) fn repeats(page: u64, what: &str) -> Error {
    Error::data(
        "pagination_repeats",
        format!("page {page} of the pass {what}"),
    )
}

/// What to do about a paginator that loops.
pub(super) fn repeat_hint(config: &Config) -> String {
    let (check, end) = match &config.paginate {
        Some(Paginate::Cursor(_)) => (
            "check `paginate.cursor`: is `param` spelled as the server expects it, and does `path` lead to the token of the next page?",
            "the last page of the API names its own token",
        ),
        Some(Paginate::Next(_)) => (
            "check `paginate.next.path`: does it lead to the link to the next page?",
            "the last page of the API links to itself",
        ),
        Some(Paginate::LinkHeader(_)) => (
            "check the header `Link` of the API: do its links lead in a circle?",
            "the last page of the API links to itself",
        ),
        Some(Paginate::Page(_) | Paginate::Offset(_) | Paginate::SinglePage) | None => (
            "check `paginate`: is the parameter spelled as the server expects it?",
            "the API answers a page behind the last one with the last",
        ),
    };
    match config.end.has(&EndRule::RepeatedPage) {
        true => check.to_owned(),
        false => format!("{check} If {end}, set `end: repeated_page`"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::{Offset, PageNumber, Token};
    use super::*;

    fn offset(limit: u64) -> Paginate {
        Paginate::Offset(Offset {
            param: "o".to_owned(),
            start: 0,
            limit_param: None,
            limit,
            overlap: None,
            stable: false,
        })
    }

    fn facts(records: u64, full_seen: bool) -> Facts {
        Facts {
            records,
            full_seen,
            ..Facts::default()
        }
    }

    #[test]
    fn a_short_page_does_not_end_a_pass() {
        let paginate = Some(&offset(100)).cloned();
        let paginate = paginate.as_ref();
        for (at, records, next) in [
            (0, 100, 100),
            (100, 99, 199),
            (0, 30, 30),
            (0, 150, 100),
            (30, 0, 130),
        ] {
            assert_eq!(
                At::Offset(at).next(paginate, &facts(records, true)),
                Some(At::Offset(next)),
                "{records} records at {at}"
            );
        }
        let last = Facts {
            is_last: true,
            ..facts(0, true)
        };
        assert_eq!(At::Offset(30).next(paginate, &last), None);
        let page = Paginate::Page(PageNumber {
            param: "p".to_owned(),
            start: 1,
            size_param: None,
            size: Some(5),
            stable: false,
        });
        assert_eq!(
            At::Page(1).next(Some(&page), &facts(1, true)),
            Some(At::Page(2))
        );
        assert_eq!(At::Page(u64::MAX).next(Some(&page), &facts(1, false)), None);
    }

    #[test]
    fn a_guard_knows_the_requests_of_the_run_before() {
        let mut guard = Guard::default();
        for url in ["a", "b", "c"] {
            guard.request(url, 1).unwrap();
        }
        let mut resumed = Guard::after(&guard.stored());
        assert!(
            resumed.request("c", 3).is_ok(),
            "it is the one to resume at"
        );
        assert!(resumed.request("a", 4).is_err());
        assert!(resumed.request("b", 4).is_err());
    }

    #[test]
    fn a_token_ends_a_pass_when_it_is_missing_or_nothing_more_comes() {
        let token = Paginate::Cursor(Token {
            path: "c".to_owned(),
            param: "c".to_owned(),
            more: None,
            stable: None,
        });
        let next = |token: Option<&str>, more| Facts {
            token: token.map(str::to_owned),
            more,
            ..facts(1, false)
        };
        let of = |facts: &Facts| At::First.next(Some(&token), facts);
        assert_eq!(of(&next(Some("a"), None)), Some(At::Token("a".to_owned())));
        assert_eq!(
            of(&next(Some("a"), Some(true))),
            Some(At::Token("a".to_owned()))
        );
        assert_eq!(of(&next(Some("a"), Some(false))), None);
        assert_eq!(of(&next(Some(""), None)), None);
        assert_eq!(of(&next(None, Some(true))), None);
    }

    #[test]
    fn the_next_link_is_found_among_others() {
        for (header, expected) in [
            (
                r#"<https://a/?p=2>; rel="next", <https://a/?p=9>; rel="last""#,
                Some("https://a/?p=2"),
            ),
            (
                r#"<https://a/?p=1>; rel=prev, </x?p=3>; title="a, b"; rel=next"#,
                Some("/x?p=3"),
            ),
            (
                r#"<https://a/?q=a,b>; rel="last next""#,
                Some("https://a/?q=a,b"),
            ),
            (r#"<https://a/>; rel="nextish""#, None),
            (r#"<https://a/>; rel="last"; title="x; rel=next""#, None),
            (
                r#"<https://a/>; title="x; rel=next"; rel=last, <https://b/>; rel=next"#,
                Some("https://b/"),
            ),
            (r#"<https://a/>; rel="first"; rel="next""#, None),
            ("<https://a/", None),
            ("", None),
        ] {
            assert_eq!(next_of_link(header).as_deref(), expected, "{header}");
        }
    }

    #[test]
    fn the_guard_remembers_a_bounded_number_of_requests() {
        let mut guard = Guard::default();
        for n in 0..=REQUESTS_REMEMBERED as u64 {
            guard.request(&n.to_string(), n).unwrap();
        }
        assert_eq!(guard.seen.len(), REQUESTS_REMEMBERED);
        assert_eq!(
            guard.request("7", 1).map_err(|e| e.code()),
            Err("pagination_repeats")
        );
        assert!(guard.request("0", 1).is_ok(), "the oldest was forgotten");
    }
}
