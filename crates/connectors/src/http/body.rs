//! The outline of a body: its records and the values that control the pass.
//!
//! The body itself is never changed: the raw zone keeps it as received. The outline locates the records and the values
//! that control the pass; validating records is the extractor's work.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use bytes::Bytes;
use forebay_core::unit::Size;
use forebay_core::{Error, PayloadHead, Result};
use reqwest::header::HeaderMap;

use super::config::{Config, Paginate};
use super::cursor::{self, Format, Identity, Mark};
use super::end::{FieldRule, Truth};
use super::json::{self, Fault, Path};
use super::next_sign::{self, NextSign};
use super::paginate::NextValue;
use super::said::{lone_object_says_error, says_error};
use super::text::{
    COVERED_BYTES_MAX, check_expansion, compression, expand, html, lower_content_type, not_json,
    unreadable,
};
use forebay_config::SecretCover;
use forebay_formats::framing::Framing;
use forebay_formats::json::detect;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The values to find in each body.
#[derive(Debug)]
pub(super) struct Plan {
    records: Path,
    names_records: bool,
    token: Option<Path>,
    more: Option<Path>,
    next: Option<Path>,
    ends: Vec<FieldPlan>,
    errors: Vec<FieldPlan>,
    cursor: Option<CursorPlan>,
    key: Option<Path>,
    /// Records are identified.
    identifies: bool,
    counts: bool,
    links: bool,
    pages: bool,
    /// A next page is searched for, since nothing declares that there is none.
    is_undeclared: bool,
    /// Records are JSON: every body is checked for an error in place of them.
    is_json: bool,
    framing: Framing,
    expanded_max: Size,
    records_max: u64,
    pub(super) cover: SecretCover,
}

#[derive(Debug)]
struct FieldPlan {
    path: Path,
    rule: FieldRule,
}

#[derive(Debug)]
struct CursorPlan {
    field: Path,
    format: Format,
}

/// One record of a page: its identity and its cursor value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) identity: Identity,
    /// Its identity in positions of version 1; without a key that of its content.
    pub(super) legacy: Identity,
    pub(super) mark: Option<Mark>,
}

/// The kind of value at the path of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Missing,
    Null,
    List,
    Object,
    Scalar,
}

/// The values found in one scan of a body.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) shape: Shape,
    /// Records on the page.
    pub(super) count: u64,
    /// The records, if they are identified or have a cursor.
    pub(super) records: Vec<Record>,
    /// Hash of the records' bytes; `None` without records.
    pub(super) digest: Option<u64>,
    /// Why no record has a readable cursor value.
    pub(super) cursor_fault: Option<Error>,
    /// Records that have no key, although the others have one.
    pub(super) keyless: u64,
    /// The page has records, but none has the key.
    pub(super) lacks_key: bool,
    pub(super) token: NextValue,
    /// The value at `paginate.cursor.more`, where there is one.
    pub(super) more: Option<Truth>,
    pub(super) next: NextValue,
    /// A rule of `end` on a field matches.
    pub(super) is_last: bool,
    /// The body has a field that `end` names.
    pub(super) names_end: bool,
    /// A field that `end` compares with null is absent.
    pub(super) lacks_end: bool,
    /// A field that `end` compares with true or false, and that is neither.
    pub(super) unreadable_end: Option<String>,
    /// A field marks this as an error: one of `errors`, or a field with a usual name on a page without records.
    pub(super) is_error: bool,
    /// A field that looks like the next page, when `paginate` finds none in the body or there is no `paginate`.
    pub(super) similar: Option<NextSign>,
    /// The beginning of the body.
    pub(super) beginning: Vec<u8>,
}

/// Counts and identifies records.
#[derive(Default)]
struct Tally {
    count: u64,
    records: Vec<Record>,
    span: Option<Range<usize>>,
    /// A record has the cursor's field, even if null.
    has_null: bool,
    /// A record has the key.
    has_key: bool,
    wrong: Option<Option<Range<usize>>>,
    /// How often each record without a key is on the page.
    equals: HashMap<Identity, u32>,
}

impl Tally {
    /// The identity of a record that has no key: equal records of one page are records of their own.
    fn without_key(&mut self, identity: Identity) -> Identity {
        let count = self.equals.entry(identity).or_default();
        *count += 1;
        match *count {
            1 => identity,
            n => cursor::identity_of_equal(identity, n),
        }
    }
}

impl Plan {
    pub(super) fn new(config: &Config, framing: Framing, is_json: bool) -> Self {
        let mut token = None;
        let mut more = None;
        let mut next = None;
        match &config.paginate {
            Some(Paginate::Cursor(cursor)) => {
                token = Some(Path::new(&cursor.path));
                more = cursor.more.as_deref().map(Path::new);
            }
            Some(Paginate::Next(url)) => next = Some(Path::new(&url.path)),
            _ => {}
        }
        let cursor = config.cursor.as_ref().map(|cursor| CursorPlan {
            field: Path::new(&cursor.field),
            format: cursor.field_format(),
        });
        let field_plan = |rule: &FieldRule| FieldPlan {
            path: Path::new(&rule.field),
            rule: rule.clone(),
        };
        let key = config.key().map(Path::new);
        let paginate = config.paginate.as_ref();
        let is_offset = matches!(paginate, Some(Paginate::Offset(_)));
        let has_records = config.has_pages() || config.records.is_some() || key.is_some();
        Self {
            records: config.records.as_deref().map(Path::new).unwrap_or_default(),
            names_records: config.records.is_some(),
            token,
            more,
            next,
            ends: config.end.fields().map(field_plan).collect(),
            errors: config.errors.0.iter().map(field_plan).collect(),
            identifies: key.is_some() || cursor.is_some() || is_offset,
            cursor,
            key,
            counts: is_offset || matches!(paginate, Some(Paginate::Page(_))),
            links: matches!(paginate, Some(Paginate::LinkHeader(_))),
            pages: config.has_pages(),
            is_undeclared: paginate.is_none(),
            is_json,
            framing,
            expanded_max: config.limits.expanded,
            // A single body is only checked for an error: nothing holds its records.
            records_max: match has_records || config.cursor.is_some() {
                true => config.limits.records,
                false => u64::MAX,
            },
            cover: SecretCover::new(config.secret()),
        }
    }

    /// Whether the pass depends on the content of bodies of this type.
    fn looks_inside(&self, content_type: &str) -> bool {
        let has_fields = !self.ends.is_empty() || !self.errors.is_empty() || self.names_records;
        let names_next = self.token.is_some() || self.next.is_some();
        let is_linked_json = self.links && content_type.contains("json");
        self.is_json || self.counts || names_next || self.identifies || has_fields || is_linked_json
    }

    /// The body as text, or `None` when nothing depends on its content: then it has only been checked. CPU work in
    /// proportion to the body.
    ///
    /// # Errors
    /// `content_encoding`, `body_broken`, `expansion_limit`, `html_page`.
    pub(super) fn expand(&self, headers: &HeaderMap, body: &Bytes) -> Result<Option<Bytes>> {
        let compression = compression(headers)?;
        let content_type = lower_content_type(headers);
        if self.looks_inside(&content_type) {
            return expand(body, compression, self.expanded_max).map(Some);
        }
        if content_type.contains("text/html") {
            return Err(html(body, &self.cover));
        }
        check_expansion(body, compression, self.expanded_max)?;
        Ok(None)
    }

    /// The outline of an expanded body. CPU work in proportion to the body.
    ///
    /// # Errors
    /// `not_json`, `records_limit`.
    pub(super) fn outline(&self, headers: &HeaderMap, text: &Bytes) -> Result<Outline> {
        self.outline_as(&lower_content_type(headers), text)
    }

    /// The outline of a body from the raw zone.
    pub(super) fn outline_of_stored(&self, head: &PayloadHead, body: &Bytes) -> Result<Outline> {
        let content_type = head.content_type.as_deref().unwrap_or_default();
        let text = expand(body, head.compression, self.expanded_max)?;
        self.outline_as(&content_type.to_ascii_lowercase(), &text)
    }

    fn outline_as(&self, content_type: &str, text: &Bytes) -> Result<Outline> {
        if self.are_lines(content_type, text) {
            self.lines(text)
        } else {
            self.document(text)
        }
    }

    fn are_lines(&self, content_type: &str, text: &[u8]) -> bool {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let has_lines = match self.framing {
            // An export without lines has no records; a list of pages has a body for each.
            Framing::Lines => first == Some(&b'{') || first.is_none() && !self.pages,
            Framing::Whole => false,
            Framing::Detected => detect::is_lines_text(text),
        };
        has_lines || detect::is_lines_type(content_type)
    }

    fn document(&self, text: &Bytes) -> Result<Outline> {
        let mut paths = vec![&self.records];
        let optional = [&self.token, &self.more, &self.next];
        paths.extend(optional.into_iter().flatten());
        paths.extend(
            self.ends
                .iter()
                .chain(&self.errors)
                .map(|field| &field.path),
        );
        let mut found = json::find(text, &paths)
            .map_err(|fault| self.not_json(text, fault))?
            .into_iter();
        let list = found.next().flatten();
        let mut value_at = |path: &Option<Path>| {
            let found = path.as_ref().and_then(|_| found.next());
            found.flatten().map(|range| &text[range])
        };
        let token = next_value(value_at(&self.token));
        let more = value_at(&self.more).map(Truth::read);
        let next = next_value(value_at(&self.next));
        let fields: Vec<Option<&[u8]>> =
            found.map(|range| range.map(|range| &text[range])).collect();
        let (ends, errors) = fields.split_at(self.ends.len());
        let shape = shape(list.clone().map(|range| &text[range]));
        let mut tally = Tally::default();
        if let (Some(list), Shape::List | Shape::Object) = (list, shape) {
            for element in json::elements(text, list) {
                let element = element.map_err(|fault| self.not_json(text, fault))?;
                self.tally(text, element, &mut tally)?;
            }
        }
        let lacks_next = matches!((&token, &self.token), (NextValue::Absent, Some(_)))
            || matches!((&next, &self.next), (NextValue::Absent, Some(_)));
        let similar = match lacks_next || self.is_undeclared || self.links {
            true => next_sign::find(text, &self.records, Some(tally.count)),
            false => None,
        };
        let holds = |(field, token): (&FieldPlan, &Option<&[u8]>)| field.rule.matches(*token);
        let is_declared_error = self.errors.iter().zip(errors).any(holds);
        let is_empty = tally.count == 0 && matches!(shape, Shape::List | Shape::Null);
        let is_lone = (self.pages || self.is_json) && !self.names_records && shape == Shape::Object;
        Ok(Outline {
            token,
            more,
            next,
            is_last: self
                .ends
                .iter()
                .zip(ends)
                .any(|(field, token)| token.is_some() && field.rule.matches(*token)),
            names_end: ends.iter().any(Option::is_some),
            lacks_end: self
                .ends
                .iter()
                .zip(ends)
                .any(|(field, token)| token.is_none() && field.rule.matches(None)),
            unreadable_end: self.ends.iter().zip(ends).find_map(|(field, token)| {
                let is_unreadable = field.rule.is_unreadable(*token);
                is_unreadable.then(|| field.rule.field.clone())
            }),
            is_error: is_declared_error
                || (is_empty || shape == Shape::Missing || is_lone && self.pages)
                    && says_error(text)
                || is_lone && lone_object_says_error(text),
            similar,
            ..self.outline_of(text, shape, tally)
        })
    }

    fn lines(&self, text: &Bytes) -> Result<Outline> {
        if self.token.is_some() || self.next.is_some() {
            let message =
                "the body is JSON lines, which cannot contain the value that `paginate` needs";
            return Err(Error::data("not_json", message));
        }
        let mut tally = Tally::default();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', text).chain([text.len()]) {
            if !text[start..end].trim_ascii().is_empty() {
                self.tally(text, start..end, &mut tally)?;
            }
            start = end + 1;
        }
        Ok(self.outline_of(text, Shape::List, tally))
    }

    fn outline_of(&self, text: &Bytes, shape: Shape, tally: Tally) -> Outline {
        let digest = tally.span.clone().map(|span| {
            let mut hash = DefaultHasher::new();
            hash.write(&text[span]);
            hash.finish()
        });
        Outline {
            shape,
            count: tally.count,
            digest,
            cursor_fault: self.cursor_fault(text, &tally),
            keyless: match self.key {
                Some(_) => tally.equals.values().map(|count| u64::from(*count)).sum(),
                None => 0,
            },
            lacks_key: self.key.is_some() && tally.count > 0 && !tally.has_key,
            records: tally.records,
            token: NextValue::Absent,
            more: None,
            next: NextValue::Absent,
            is_last: false,
            names_end: false,
            lacks_end: false,
            unreadable_end: None,
            is_error: false,
            similar: None,
            // One byte more than is shown, so that a truncated excerpt is marked as such.
            beginning: text[..text.len().min(COVERED_BYTES_MAX + 1)].to_vec(),
        }
    }

    fn tally(&self, text: &[u8], at: Range<usize>, tally: &mut Tally) -> Result<()> {
        tally.count += 1;
        if tally.count > self.records_max {
            let message = format!("the page has more than {} records", self.records_max);
            let hint = "request smaller pages, or raise `limits.records`";
            return Err(Error::data("records_limit", message).with_hint(hint));
        }
        let start = tally.span.as_ref().map_or(at.start, |span| span.start);
        tally.span = Some(start..at.end);
        if self.identifies {
            let record = self.record(text, at, tally);
            tally.records.push(record);
        }
        Ok(())
    }

    fn record(&self, text: &[u8], at: Range<usize>, tally: &mut Tally) -> Record {
        let record = &text[at.clone()];
        let field = self.cursor.as_ref().map(|cursor| &cursor.field);
        let paths: Vec<&Path> = field.into_iter().chain(&self.key).collect();
        // A record that is not JSON has no cursor value; the extractor reports its error.
        let found = json::find(record, &paths).unwrap_or_default();
        let mut found = found.into_iter();
        let field = field.and_then(|_| found.next()).flatten();
        let key = found.next().flatten().map(|range| &record[range]);
        tally.has_key |= key.is_some();
        let token = field.clone().map(|range| &record[range]);
        let format = self.cursor.as_ref().map(|cursor| cursor.format);
        let mark = format.and_then(|format| format.read(token?));
        if format.is_some() && mark.is_none() {
            tally.has_null |= token == Some(b"null");
            let place = field.map(|range| range.start + at.start..range.end + at.start);
            tally.wrong.get_or_insert(place);
        }
        let legacy = key.map(|key| cursor::legacy_identity(key, token));
        let key = key.filter(|key| *key != b"null");
        let content = cursor::identity(record, key);
        let identity = match key {
            Some(_) => content,
            None => tally.without_key(content),
        };
        Record {
            identity,
            legacy: legacy.unwrap_or(content),
            mark,
        }
    }

    fn cursor_fault(&self, text: &[u8], tally: &Tally) -> Option<Error> {
        let format = self.cursor.as_ref()?.format;
        let is_readable = tally.records.iter().any(|record| record.mark.is_some());
        if is_readable || tally.has_null {
            return None;
        }
        let wrong = tally.wrong.as_ref()?;
        let token = wrong.clone().map(|range| &text[range]);
        Some(unreadable(format, token, &self.cover))
    }

    fn not_json(&self, text: &[u8], fault: Fault) -> Error {
        not_json(text, fault, &self.cover)
    }
}

fn shape(token: Option<&[u8]>) -> Shape {
    match token.map(|token| token.first().copied()) {
        None => Shape::Missing,
        Some(Some(b'[')) => Shape::List,
        Some(Some(b'{')) => Shape::Object,
        _ if token == Some(b"null") => Shape::Null,
        _ => Shape::Scalar,
    }
}

fn next_value(token: Option<&[u8]>) -> NextValue {
    match token {
        None => NextValue::Absent,
        Some(b"null" | b"false" | b"\"\"") => NextValue::Ended,
        Some(token) => json::scalar(token).map_or(NextValue::Unreadable, NextValue::Value),
    }
}

#[cfg(test)]
mod tests;
