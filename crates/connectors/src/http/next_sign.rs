//! Signs of a next page in a body: fields outside of the records that lead to it, or that count more than is there.
//!
//! Names and values decide, so a sign is no proof: it refuses to take a page for the last one, and is shown to the person
//! who configures the source. It never chooses the next request of a pass.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Path;

/// Objects on the way to a field.
const DEPTH_MAX: usize = 4;

/// Fields of a body that are read.
const FIELDS_MAX: usize = 1_000;

/// Names of fields that lead to the next page, in lower case and without punctuation.
const NEXT_NAMES: [&str; 23] = [
    "continuation",
    "continuationtoken",
    "lastevaluatedkey",
    "next",
    "nextcontinuationtoken",
    "nextcursor",
    "nextkey",
    "nextlink",
    "nextmarker",
    "nextoffset",
    "nextpage",
    "nextpagecursor",
    "nextpageid",
    "nextpagelink",
    "nextpagetoken",
    "nextpageuri",
    "nextpageurl",
    "nextrecordsurl",
    "nexttoken",
    "nexturi",
    "nexturl",
    "odatanextlink",
    "scrollid",
];

/// Words in names of fields that may lead to the next page.
const NEXT_WORDS: [&str; 6] = [
    "next",
    "cursor",
    "continuation",
    "pagetoken",
    "scrollid",
    "marker",
];

/// Names of fields that are true when there are more pages.
const MORE_NAMES: [&str; 8] = [
    "hasmore",
    "hasmoreitems",
    "hasnext",
    "hasnextpage",
    "incomplete",
    "more",
    "moreavailable",
    "morerecords",
];

/// Names of fields that count pages, and of those that number this one.
const PAGES_NAMES: [&str; 6] = [
    "lastpage",
    "numpages",
    "pagecount",
    "pages",
    "pagestotal",
    "totalpages",
];
const PAGE_NAMES: [&str; 4] = ["currentpage", "page", "pageindex", "pagenumber"];

/// Names of fields that count all records, that skip some, and that limit a page.
const TOTAL_NAMES: [&str; 7] = [
    "count",
    "recordcount",
    "total",
    "totalcount",
    "totalitems",
    "totalrecords",
    "totalresults",
];
const OFFSET_NAMES: [&str; 4] = ["offset", "skip", "startat", "startindex"];
const LIMIT_NAMES: [&str; 5] = ["limit", "maxresults", "pagesize", "perpage", "size"];

/// A sign of a next page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NextSign {
    /// The field.
    pub(super) path: String,
    /// Whether its name leaves little doubt.
    pub(super) is_sure: bool,
    /// The value of `paginate` that would follow it, as YAML.
    pub(super) paginate: Option<String>,
}

/// A field that is a text, a number or a boolean.
#[derive(Debug, Clone, PartialEq)]
struct Field {
    path: Vec<String>,
    value: Scalar,
}

#[derive(Debug, Clone, PartialEq)]
enum Scalar {
    Text(String),
    Number(u64),
    Flag(bool),
}

/// The fields outside of lists, and the objects in the longest list.
#[derive(Debug, Default)]
struct Frame {
    fields: Vec<Field>,
    listed: u64,
}

/// A sign in `text`, whose records are at the path `records`, or anywhere where that is empty. `count` is how many there are,
/// if that is known.
pub(super) fn find(text: &[u8], records: &Path, count: Option<u64>) -> Option<NextSign> {
    let frame = RefCell::new(Frame::default());
    let probe = FrameProbe {
        path: Vec::new(),
        records,
        frame: &frame,
    };
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    // A text that is not JSON all through is reported by the extractor.
    let _ = probe.deserialize(&mut serde_json::Deserializer::from_slice(text));
    let frame = frame.into_inner();
    let is_frame = !records.is_empty() || frame.listed > 0;
    let says_end = frame.flag(&MORE_NAMES) == Some(false);
    if !is_frame || says_end {
        return None;
    }
    frame
        .link(|name| NEXT_NAMES.contains(&name))
        .or_else(|| frame.more())
        .or_else(|| frame.later_pages())
        .or_else(|| frame.later_records(count.filter(|_| !records.is_empty())))
        .or_else(|| {
            let is_similar = |name: &str| NEXT_WORDS.iter().any(|word| name.contains(word));
            let sign = frame.link(is_similar)?;
            Some(NextSign {
                is_sure: false,
                ..sign
            })
        })
}

impl Frame {
    fn named<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Field> {
        let is_named = |field: &&Field| field.names().any(|name| names.contains(&name.as_str()));
        self.fields.iter().filter(is_named)
    }

    fn flag(&self, names: &[&str]) -> Option<bool> {
        self.named(names).find_map(|field| match field.value {
            Scalar::Flag(flag) => Some(flag),
            _ => None,
        })
    }

    fn number<'a>(&'a self, names: &'a [&str]) -> Option<(&'a Field, u64)> {
        self.named(names).find_map(|field| match field.value {
            Scalar::Number(number) => Some((field, number)),
            _ => None,
        })
    }

    /// A field whose value is the next page: a link, a token, or a number other than 0.
    fn link(&self, is_next: impl Fn(&str) -> bool) -> Option<NextSign> {
        let leads = |field: &&Field| match &field.value {
            Scalar::Text(text) => !text.is_empty(),
            Scalar::Number(number) => *number > 0,
            Scalar::Flag(_) => false,
        };
        let is_named = |field: &&Field| {
            let mut names = field.names();
            names.any(|name| is_next(&name) && !name.contains("prev"))
        };
        let field = self.fields.iter().filter(leads).find(is_named)?;
        Some(NextSign {
            path: field.shown(),
            is_sure: true,
            paginate: Some(field.paginate()),
        })
    }

    fn more(&self) -> Option<NextSign> {
        let mut flags = self.named(&MORE_NAMES);
        let field = flags.find(|field| field.value == Scalar::Flag(true))?;
        Some(NextSign {
            path: field.shown(),
            is_sure: true,
            paginate: self.counted_pages().or_else(|| self.counted_records()),
        })
    }

    fn later_pages(&self) -> Option<NextSign> {
        let (field, pages) = self.number(&PAGES_NAMES)?;
        let (_, page) = self.number(&PAGE_NAMES)?;
        (pages > page.max(1)).then(|| NextSign {
            path: field.shown(),
            is_sure: true,
            paginate: self.counted_pages(),
        })
    }

    fn later_records(&self, count: Option<u64>) -> Option<NextSign> {
        let count = count.unwrap_or(self.listed);
        let (field, total) = self.number(&TOTAL_NAMES)?;
        let (_, offset) = self.number(&OFFSET_NAMES)?;
        self.number(&LIMIT_NAMES)?;
        (count > 0 && total > offset.saturating_add(count)).then(|| NextSign {
            path: field.shown(),
            is_sure: true,
            paginate: self.counted_records(),
        })
    }

    fn counted_pages(&self) -> Option<String> {
        let (field, page) = self.number(&PAGE_NAMES)?;
        let start = match page {
            0 => ", start: 0",
            _ => "",
        };
        let param = match field.last().to_ascii_lowercase().contains("current") {
            true => "page".to_owned(),
            false => scalar(field.last()),
        };
        Some(format!("{{page: {{param: {param}{start}}}}}"))
    }

    fn counted_records(&self) -> Option<String> {
        let (offset, _) = self.number(&OFFSET_NAMES)?;
        let (limit, size) = self.number(&LIMIT_NAMES)?;
        (size > 0).then(|| {
            format!(
                "{{offset: {{param: {}, limit_param: {}, limit: {size}}}}}",
                scalar(offset.last()),
                scalar(limit.last())
            )
        })
    }
}

impl Field {
    /// Its keys in lower case and without punctuation, the last one first: `next` may hold `href`.
    fn names(&self) -> impl Iterator<Item = String> {
        let bare = |key: &String| {
            let letters = key.chars().filter(|c| c.is_ascii_alphanumeric());
            letters.collect::<String>().to_ascii_lowercase()
        };
        self.path.iter().rev().map(bare)
    }

    fn last(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    fn shown(&self) -> String {
        self.path.join(".")
    }

    fn paginate(&self) -> String {
        let path = scalar(&self.shown());
        match &self.value {
            Scalar::Text(text) if is_link(text) => format!("{{next: {{path: {path}}}}}"),
            _ => format!(
                "{{cursor: {{path: {path}, param: {}}}}}",
                scalar(&self.param())
            ),
        }
    }

    /// The parameter that the API probably expects the token in: `nextPageToken` is sent as `pageToken`.
    fn param(&self) -> String {
        let last = self.last();
        let name = last.strip_prefix("next").unwrap_or(last);
        let name = name.trim_start_matches(['_', '-']);
        let mut letters = name.chars();
        match letters.next() {
            None => "cursor".to_owned(),
            Some(first) => first.to_ascii_lowercase().to_string() + letters.as_str(),
        }
    }
}

fn is_link(text: &str) -> bool {
    ["http://", "https://", "/", "?"]
        .iter()
        .any(|start| text.starts_with(start))
}

/// A plain scalar of YAML, or a quoted one.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    match text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("\"{}\"", text.escape_default()),
    }
}

/// Notes the fields of an object, and passes over its lists.
struct FrameProbe<'a> {
    path: Vec<String>,
    records: &'a Path,
    frame: &'a RefCell<Frame>,
}

impl FrameProbe<'_> {
    fn note(self, value: Scalar) {
        let mut frame = self.frame.borrow_mut();
        if frame.fields.len() < FIELDS_MAX && !self.path.is_empty() {
            frame.fields.push(Field {
                path: self.path,
                value,
            });
        }
    }
}

impl<'de> DeserializeSeed<'de> for FrameProbe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FrameProbe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let mut path = self.path.clone();
            path.push(key);
            if path.len() > DEPTH_MAX || self.records.is(&path) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            map.next_value_seed(FrameProbe {
                path,
                records: self.records,
                frame: self.frame,
            })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut objects = 0;
        while let Some(is_object) = list.next_element_seed(IsObject)? {
            objects += u64::from(is_object);
        }
        let mut frame = self.frame.borrow_mut();
        if !self.path.is_empty() {
            frame.listed = frame.listed.max(objects);
        }
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.note(Scalar::Flag(value));
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.note(Scalar::Number(value));
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.note(Scalar::Text(value.to_owned()));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Whether a value is an object.
struct IsObject;

impl<'de> DeserializeSeed<'de> for IsObject {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for IsObject {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign(text: &str, records: &str) -> Option<(String, bool, Option<String>)> {
        let sign = find(text.as_bytes(), &Path::new(records), Some(2))?;
        Some((sign.path, sign.is_sure, sign.paginate))
    }

    #[test]
    fn a_next_page_is_known_by_its_name() {
        let sure =
            |path: &str, paginate: &str| Some((path.to_owned(), true, Some(paginate.to_owned())));
        for (text, expected) in [
            (
                r#"{"next": "https://h/q?page=2", "rows": [{"next": "no"}]}"#,
                sure("next", "{next: {path: next}}"),
            ),
            (
                r#"{"rows": [{}], "links": {"next": {"href": "/q?p=2"}}}"#,
                sure("links.next.href", "{next: {path: links.next.href}}"),
            ),
            (
                r#"{"rows": [{}], "nextPageToken": "a1"}"#,
                sure(
                    "nextPageToken",
                    "{cursor: {path: nextPageToken, param: pageToken}}",
                ),
            ),
            (
                r#"{"rows": [{}], "meta": {"next_offset": 200}}"#,
                sure(
                    "meta.next_offset",
                    "{cursor: {path: meta.next_offset, param: offset}}",
                ),
            ),
            (
                r#"{"@odata.nextLink": "https://h/q", "rows": [{}]}"#,
                sure("@odata.nextLink", r#"{next: {path: "@odata.nextLink"}}"#),
            ),
            (
                r#"{"rows": [{}], "page": 1, "total_pages": 9}"#,
                sure("total_pages", "{page: {param: page}}"),
            ),
            (
                r#"{"rows": [{}, {}], "total": 7, "offset": 0, "limit": 2}"#,
                sure(
                    "total",
                    "{offset: {param: offset, limit_param: limit, limit: 2}}",
                ),
            ),
            (
                r#"{"rows": [{}], "has_more": true}"#,
                Some(("has_more".to_owned(), true, None)),
            ),
            (
                r#"{"rows": [{}], "cursor": "x"}"#,
                Some((
                    "cursor".to_owned(),
                    false,
                    Some("{cursor: {path: cursor, param: cursor}}".to_owned()),
                )),
            ),
            (r#"{"rows": [{}], "next": null, "next_offset": 0}"#, None),
            (r#"{"rows": [{}], "has_more": false, "cursor": "x"}"#, None),
            (r#"{"rows": [{}], "page": 9, "total_pages": 9}"#, None),
            (
                r#"{"rows": [{}, {}], "total": 2, "offset": 0, "limit": 2}"#,
                None,
            ),
            (r#"{"rows": [{}], "total": 99}"#, None),
            (r#"{"rows": [{}], "previous": "/q?page=1"}"#, None),
            (r#"[{"next": "/q"}]"#, None),
        ] {
            assert_eq!(sign(text, "rows"), expected, "{text}");
            assert_eq!(sign(text, ""), expected, "{text}");
        }
        // A record of its own.
        assert_eq!(sign(r#"{"id": 1, "next": "/q", "tags": ["x"]}"#, ""), None);
        assert_eq!(
            sign(r#"{"data": {"next": "/q"}, "next": ""}"#, "data"),
            None
        );
    }
}
