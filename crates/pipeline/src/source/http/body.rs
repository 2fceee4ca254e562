//! A look inside a body: how it is compressed, an expanded copy within bounds, the outline of its records.
//!
//! The body itself is never changed: the raw zone keeps it as it came. The outline says where records and the values
//! that steer the pass lie; judging records is the extractor's work.

use std::io::Read;
use std::ops::Range;

use bytes::Bytes;
use forebay_core::unit::Size;
use forebay_core::{Compression, Error, Result};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};

use super::config::{Config, Paginate};
use super::cursor::{Format, Mark};
use super::json::{self, Fault, Path};
use crate::extract::json::detect;
use crate::source::Framing;

/// A body may expand to this many times its size, once it is larger than [`EXPANSION_FREE`].
const EXPANSION_RATIO_MAX: u64 = 500;

/// Expanding to so many bytes is always allowed.
const EXPANSION_FREE: u64 = 1 << 20;

/// Bytes of a wrong body that a message shows.
const SHOWN_BYTES_MAX: usize = 80;

/// What to look for in each body.
#[derive(Debug)]
pub(super) struct Plan {
    records: Path,
    token: Option<Path>,
    more: Option<Path>,
    next: Option<Path>,
    cursor: Option<Fields>,
    counts: bool,
    framing: Framing,
    expanded_max: Size,
}

#[derive(Debug)]
struct Fields {
    field: Path,
    format: Format,
    key: Option<Path>,
}

/// One record of a page: where it lies and where on the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) at: Range<usize>,
    pub(super) key: Option<Range<usize>>,
    pub(super) cursor: Option<Range<usize>>,
    pub(super) mark: Option<Mark>,
}

/// What a body says, found in one scan.
#[derive(Debug)]
pub(super) struct Outline {
    /// The expanded body that all ranges refer to.
    pub(super) text: Bytes,
    pub(super) records: Vec<Record>,
    /// Whether the path of the records led anywhere.
    pub(super) found: bool,
    pub(super) token: Option<String>,
    pub(super) more: Option<bool>,
    pub(super) next: Option<String>,
}

impl Plan {
    pub(super) fn new(config: &Config, framing: Framing) -> Self {
        let (mut token, mut more, mut next, mut counts) = (None, None, None, false);
        match &config.paginate {
            Some(Paginate::Page(_) | Paginate::Offset(_)) => counts = true,
            Some(Paginate::Cursor(cursor)) => {
                token = Some(Path::new(&cursor.path));
                more = cursor.more.as_deref().map(Path::new);
            }
            Some(Paginate::Next(url)) => next = Some(Path::new(&url.path)),
            Some(Paginate::LinkHeader(_)) | None => {}
        }
        let cursor = config.cursor.as_ref().map(|cursor| Fields {
            field: Path::new(&cursor.field),
            format: cursor.field_format(),
            key: cursor.key.as_deref().map(Path::new),
        });
        let records = config.records.as_deref().map(Path::new).unwrap_or_default();
        Self {
            records,
            token,
            more,
            next,
            cursor,
            counts,
            framing,
            expanded_max: config.limits.expanded,
        }
    }

    /// Whether anything about the pass depends on what bodies say.
    fn looks_inside(&self) -> bool {
        self.counts || self.token.is_some() || self.next.is_some() || self.cursor.is_some()
    }

    /// The outline of a body, or `None` when nothing depends on it. CPU work in proportion to the body.
    ///
    /// # Errors
    /// `not_json`, `html_page`, `content_encoding`, `expansion_limit`.
    pub(super) fn outline(&self, headers: &HeaderMap, body: &Bytes) -> Result<Option<Outline>> {
        let content_type = content_type(headers)
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !self.looks_inside() {
            return if content_type.contains("text/html") {
                Err(html(body))
            } else {
                Ok(None)
            };
        }
        let text = expand(body, compression(headers)?, self.expanded_max)?;
        let outline = if self.are_lines(&content_type, &text) {
            self.lines(text)
        } else {
            self.document(text)
        };
        outline.map(Some)
    }

    fn are_lines(&self, content_type: &str, text: &[u8]) -> bool {
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let has_lines = match self.framing {
            Framing::Lines => first == Some(&b'{'),
            Framing::Whole => false,
            Framing::Detected => detect::is_lines_text(text),
        };
        has_lines || detect::is_lines_type(content_type)
    }

    fn document(&self, text: Bytes) -> Result<Outline> {
        let root = Path::default();
        let paths = [
            Some(&self.records),
            self.token.as_ref(),
            self.more.as_ref(),
            self.next.as_ref(),
        ]
        .map(|path| path.unwrap_or(&root));
        let found = json::find(&text, &paths).map_err(|fault| not_json(&text, fault))?;
        let value = |i: usize, wanted: bool| {
            found[i]
                .clone()
                .filter(|_| wanted)
                .map(|range| &text[range])
        };
        let list = found[0]
            .clone()
            .filter(|list| &text[list.clone()] != b"null");
        let records = match list {
            Some(list) => json::elements(&text, list).map_err(|fault| not_json(&text, fault))?,
            None => Vec::new(),
        };
        Ok(Outline {
            records: self.records(&text, records)?,
            // An empty object says nothing because there is nothing to say.
            found: found[0].is_some() || text.trim_ascii() == b"{}",
            token: value(1, self.token.is_some()).and_then(json::scalar),
            more: value(2, self.more.is_some()).map(|token| token == b"true"),
            next: value(3, self.next.is_some()).and_then(json::scalar),
            text,
        })
    }

    fn lines(&self, text: Bytes) -> Result<Outline> {
        if self.token.is_some() || self.next.is_some() {
            let message =
                "the body is JSON lines, which cannot hold the value that `paginate` looks for";
            return Err(Error::data("not_json", message));
        }
        let mut records = Vec::new();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &text).chain([text.len()]) {
            if !text[start..end].trim_ascii().is_empty() {
                records.push(start..end);
            }
            start = end + 1;
        }
        let records = self.records(&text, records)?;
        Ok(Outline {
            records,
            found: true,
            token: None,
            more: None,
            next: None,
            text,
        })
    }

    fn records(&self, text: &[u8], ranges: Vec<Range<usize>>) -> Result<Vec<Record>> {
        let Some(fields) = &self.cursor else {
            let plain = |at| Record {
                at,
                key: None,
                cursor: None,
                mark: None,
            };
            return Ok(ranges.into_iter().map(plain).collect());
        };
        let key = fields.key.as_ref().unwrap_or(&fields.field);
        let locate = |at: Range<usize>| {
            // A record that is not JSON has no place on the cursor; the extractor will say what is wrong with it.
            let mut found = json::find(&text[at.clone()], &[&fields.field, key])
                .unwrap_or_else(|_| vec![None, None]);
            let shift = |range: Range<usize>| range.start + at.start..range.end + at.start;
            let key = found
                .pop()
                .flatten()
                .map(shift)
                .filter(|_| fields.key.is_some());
            let cursor = found.pop().flatten().map(shift);
            let mark = cursor
                .clone()
                .and_then(|range| fields.format.read(&text[range]));
            Record {
                at,
                key,
                cursor,
                mark,
            }
        };
        let records: Vec<Record> = ranges.into_iter().map(locate).collect();
        match records.first() {
            Some(first) if records.iter().all(|record| record.mark.is_none()) => Err(unreadable(
                fields.format,
                first.cursor.clone().map(|range| &text[range]),
            )),
            _ => Ok(records),
        }
    }
}

/// No record has a cursor value that can be read: the configuration is wrong, and going on would take all of them
/// again with every run.
fn unreadable(format: Format, token: Option<&[u8]>) -> Error {
    let Some(token) = token else {
        return Error::data(
            "cursor_missing",
            "no record of the page has the field that `cursor.field` names",
        )
        .with_hint("the path begins at the record and is written with dots: `properties.updated`");
    };
    let message = format!(
        "`cursor.field` holds {}, which is not {}",
        excerpt(token),
        format.describe()
    );
    let fits = [
        (Format::Rfc3339, "rfc3339"),
        (Format::EpochMillis, "epoch_millis"),
        (Format::EpochSeconds, "epoch_seconds"),
        (Format::Raw, "raw"),
    ];
    let fits: Vec<&str> = fits
        .iter()
        .filter(|(format, _)| format.read(token).is_some())
        .map(|(_, name)| *name)
        .collect();
    let hint = match fits.as_slice() {
        [] => "name a field that holds a time, a text or a whole number".to_owned(),
        fits => format!("write `field_format:` and one of {}", fits.join(", ")),
    };
    Error::data("cursor_unreadable", message).with_hint(hint)
}

/// How the body is compressed, by its headers.
///
/// # Errors
/// `content_encoding` for one that was not asked for.
pub(super) fn compression(headers: &HeaderMap) -> Result<Compression> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match encoding.trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => return Ok(Compression::Gzip),
        "zstd" => return Ok(Compression::Zstd),
        "" | "identity" => {}
        other => {
            return Err(Error::data(
                "content_encoding",
                format!("the server sent `{other}`, asked for gzip or zstd"),
            ));
        }
    }
    Ok(match content_type(headers) {
        Some("application/gzip" | "application/x-gzip") => Compression::Gzip,
        Some("application/zstd") => Compression::Zstd,
        _ => Compression::None,
    })
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
}

/// A copy that can be read; the body itself when it is not compressed.
fn expand(body: &Bytes, compression: Compression, max: Size) -> Result<Bytes> {
    let broken = |error: std::io::Error| {
        Error::data("body_broken", "failed to expand the body").with_source(error)
    };
    let bytes_max = max
        .0
        .min(EXPANSION_FREE.max(body.len() as u64 * EXPANSION_RATIO_MAX));
    let decoder: Box<dyn Read + '_> = match compression {
        Compression::None => return Ok(body.clone()),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(body.as_ref())),
        Compression::Zstd => {
            Box::new(zstd::stream::read::Decoder::new(body.as_ref()).map_err(broken)?)
        }
    };
    let mut text = Vec::new();
    decoder
        .take(bytes_max + 1)
        .read_to_end(&mut text)
        .map_err(broken)?;
    if text.len() as u64 > bytes_max {
        let message = format!(
            "a body of {} bytes expands to more than {bytes_max}",
            body.len()
        );
        return Err(Error::data("expansion_limit", message)
            .with_hint("if such pages are right, raise `limits.expanded`"));
    }
    Ok(Bytes::from(text))
}

fn html(body: &[u8]) -> Error {
    Error::data(
        "html_page",
        format!("the server answered with a web page: {}", excerpt(body)),
    )
    .with_hint("open the URL in a browser: a login page, or the wrong address?")
}

fn not_json(text: &[u8], fault: Fault) -> Error {
    let what = match fault {
        Fault::Ended => "ends in the middle".to_owned(),
        Fault::Unexpected(at) => format!("breaks off at byte {at}"),
        Fault::Deep => format!("is nested deeper than {} levels", json::DEPTH_MAX),
    };
    let error = Error::data(
        "not_json",
        format!(
            "the body is not JSON: it {what}; it begins with {}",
            excerpt(text)
        ),
    );
    if text.trim_ascii_start().starts_with(b"<") {
        return error.with_hint("this is a web page or XML: a login page, or the wrong address?");
    }
    error.with_hint("a paginated source must answer with JSON")
}

/// The beginning of a body, quoted, so that nothing in it can act on a terminal.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let dots = if cut.len() < bytes.len() { "…" } else { "" };
    format!("{:?}{dots}", String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(extra: serde_json::Value) -> Plan {
        let mut config = json!({"url": "http://a.example/"});
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Plan::new(&serde_json::from_value(config).unwrap(), Framing::Whole)
    }

    fn outline(plan: &Plan, text: &str) -> Result<Outline> {
        plan.outline(&HeaderMap::new(), &Bytes::copy_from_slice(text.as_bytes()))
            .map(Option::unwrap)
    }

    #[test]
    fn a_page_says_how_many_records_it_has_and_where_they_stand() {
        let plan = plan(json!({
            "records": "d.items", "paginate": {"cursor": {"path": "meta.next", "param": "c", "more": "meta.more"}},
            "cursor": {"field": "at", "param": "since", "format": "epoch_seconds", "key": "id"}
        }));
        let text = r#"{"d": {"items": [{"id": 7, "at": 2}, {"at": null}]}, "meta": {"next": 55, "more": true}}"#;
        let page = outline(&plan, text).unwrap();
        assert_eq!(
            (page.token.as_deref(), page.more, page.found),
            (Some("55"), Some(true), true)
        );
        assert_eq!(page.records[0].mark, Some(Mark::Number(2_000_000)));
        assert_eq!(&text[page.records[0].key.clone().unwrap()], "7");
        assert_eq!(page.records[1].mark, None);
        assert!(!outline(&plan, r#"{"d": 1}"#).unwrap().found);
        assert!(
            outline(&plan, r#"{"d": {"items": null}}"#)
                .unwrap()
                .records
                .is_empty()
        );
    }

    #[test]
    fn a_wrong_cursor_field_is_told_with_the_right_one() {
        let plan = plan(json!({"cursor": {"field": "at", "param": "since"}}));
        let error = outline(&plan, r#"[{"at": 1767225600000}]"#).unwrap_err();
        assert_eq!(error.code(), "cursor_unreadable");
        assert_eq!(
            error.hint(),
            Some("write `field_format:` and one of epoch_millis, epoch_seconds, raw")
        );
        assert_eq!(
            outline(&plan, r#"[{"et": 1}]"#).unwrap_err().code(),
            "cursor_missing"
        );
        assert!(outline(&plan, "[]").unwrap().records.is_empty());
    }

    #[test]
    fn lines_are_records_where_the_server_or_the_extractor_says_so() {
        let mut plan = plan(json!({"paginate": {"page": {"param": "p"}}}));
        let text = "{\"a\":1}\n\n{\"a\":2}\r\n{\"a\":3}";
        assert_eq!(outline(&plan, text).unwrap_err().code(), "not_json");
        plan.framing = Framing::Lines;
        assert_eq!(outline(&plan, text).unwrap().records.len(), 3);
        assert_eq!(outline(&plan, "").unwrap_err().code(), "not_json");
    }

    #[test]
    fn what_is_shown_of_a_wrong_body_cannot_act_on_a_terminal() {
        let error = outline(
            &plan(json!({"paginate": {"page": {"param": "p"}}})),
            "<html>\u{1b}[2J",
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the body is not JSON: it breaks off at byte 0; it begins with "<html>\u{1b}[2J""#
        );
    }
}
