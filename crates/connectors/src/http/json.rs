//! The outline of a JSON text: locates the records and a few named values, without parsing anything else.
//!
//! A page must be scanned for the next request, the number of its records and their cursor values; the extractor parses
//! it properly later. So this scanner only follows strings and brackets: no tree, no numbers (a number of any length
//! passes untouched), no allocation per record. It never validates a record.

use std::ops::Range;

use memchr::memchr2;

/// Nesting that is followed without allocation; each level beyond it takes one bit.
const DEPTH_USUAL: usize = 1_024;

/// A key with a dot in it, which begins so: `@odata.nextLink`.
const DOTTED_KEY: &str = "@odata";

/// A path of keys from the root: `data.items`. The empty path is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) fn new(text: &str) -> Self {
        let mut keys: Vec<String> = Vec::new();
        for key in text.split('.').filter(|key| !key.is_empty()) {
            match keys.last_mut() {
                Some(last) if last == DOTTED_KEY => *last = format!("{last}.{key}"),
                _ => keys.push(key.to_owned()),
            }
        }
        Self(keys)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it consists of these keys.
    pub(super) fn is(&self, keys: &[String]) -> bool {
        self.0 == keys
    }
}

/// Why a text has no outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The text ends inside a value.
    Ended,
    /// The byte at this offset is invalid.
    Unexpected(usize),
}

/// Finds the values at `paths` in one JSON text; of a duplicate key the last one counts.
///
/// # Errors
/// [`Fault`] when the text is not one JSON value from its first byte to its last.
pub(super) fn find(text: &[u8], paths: &[&Path]) -> Result<Vec<Option<Range<usize>>>, Fault> {
    let mut scan = Scan {
        text,
        paths,
        found: vec![None; paths.len()],
    };
    let all: Vec<usize> = (0..paths.len()).collect();
    let start = scan.space(if text.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    });
    let end = scan.value(start, &all, 0)?;
    match scan.space(end) {
        end if end == text.len() => Ok(scan.found),
        end => Err(Fault::Unexpected(end)),
    }
}

/// The elements of the list at `list`, as returned by [`find`]; a value that is not a list is its own only element.
/// Iterates lazily: a page of many small elements takes no memory.
pub(super) fn elements(text: &[u8], list: Range<usize>) -> Elements<'_> {
    let is_list = text.get(list.start) == Some(&b'[');
    Elements {
        scan: Scan {
            text,
            paths: &[],
            found: Vec::new(),
        },
        at: list.start + usize::from(is_list),
        value: (!is_list).then_some(list),
        is_first: true,
        is_done: false,
    }
}

/// Iterates over the elements of a list.
pub(super) struct Elements<'a> {
    scan: Scan<'a>,
    at: usize,
    /// The only element, when the value is not a list.
    value: Option<Range<usize>>,
    is_first: bool,
    is_done: bool,
}

impl Elements<'_> {
    fn advance(&mut self) -> Result<Option<Range<usize>>, Fault> {
        let at = if self.is_first {
            self.scan.space(self.at)
        } else {
            self.scan.after(self.at, b']')?
        };
        self.is_first = false;
        if self.scan.byte(at)? == b']' {
            return Ok(None);
        }
        let end = self.scan.skip(at)?;
        self.at = end;
        Ok(Some(at..end))
    }
}

impl Iterator for Elements<'_> {
    type Item = Result<Range<usize>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        if let Some(value) = self.value.take() {
            self.is_done = true;
            return Some(Ok(value));
        }
        let element = self.advance().transpose();
        self.is_done = !matches!(element, Some(Ok(_)));
        element
    }
}

/// The text of a string or number token, unescaped; `None` for every other value.
pub(super) fn scalar(token: &[u8]) -> Option<String> {
    match token.first()? {
        b'"' => serde_json::from_slice(token).ok(),
        b'-' | b'0'..=b'9' => std::str::from_utf8(token).ok().map(str::to_owned),
        _ => None,
    }
}

struct Scan<'a> {
    text: &'a [u8],
    paths: &'a [&'a Path],
    found: Vec<Option<Range<usize>>>,
}

impl Scan<'_> {
    fn byte(&self, at: usize) -> Result<u8, Fault> {
        self.text.get(at).copied().ok_or(Fault::Ended)
    }

    fn space(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r'))
            .count()
    }

    /// Skips a comma to the next member, or stops at `close`.
    fn after(&self, end: usize, close: u8) -> Result<usize, Fault> {
        let at = self.space(end);
        match self.byte(at)? {
            b',' => Ok(self.space(at + 1)),
            byte if byte == close => Ok(at),
            _ => Err(Fault::Unexpected(at)),
        }
    }

    /// Scans a value on `live` paths, of which `depth` keys are matched. Recursion is as deep as the longest path.
    fn value(&mut self, at: usize, live: &[usize], depth: usize) -> Result<usize, Fault> {
        let deeper = live.iter().any(|path| self.paths[*path].0.len() > depth);
        let end = if deeper && self.byte(at)? == b'{' {
            self.object(at, live, depth)?
        } else {
            self.skip(at)?
        };
        for &path in live
            .iter()
            .filter(|path| self.paths[**path].0.len() == depth)
        {
            self.found[path] = Some(at..end);
        }
        Ok(end)
    }

    fn object(&mut self, open: usize, live: &[usize], depth: usize) -> Result<usize, Fault> {
        let mut at = self.space(open + 1);
        while self.byte(at)? != b'}' {
            if self.byte(at)? != b'"' {
                return Err(Fault::Unexpected(at));
            }
            let key = at..self.string(at)?;
            let colon = self.space(key.end);
            if self.byte(colon)? != b':' {
                return Err(Fault::Unexpected(colon));
            }
            let live: Vec<usize> = live
                .iter()
                .copied()
                .filter(|path| self.matches(*path, depth, key.clone()))
                .collect();
            let value = self.space(colon + 1);
            let end = if live.is_empty() {
                self.skip(value)?
            } else {
                self.value(value, &live, depth + 1)?
            };
            at = self.after(end, b'}')?;
        }
        Ok(at + 1)
    }

    fn matches(&self, path: usize, depth: usize, key: Range<usize>) -> bool {
        let Some(wanted) = self.paths[path].0.get(depth) else {
            return false;
        };
        let raw = &self.text[key.start + 1..key.end - 1];
        if memchr::memchr(b'\\', raw).is_none() {
            return raw == wanted.as_bytes();
        }
        serde_json::from_slice::<String>(&self.text[key]).is_ok_and(|key| key == *wanted)
    }

    /// The end of the string that opens at `at`.
    fn string(&self, at: usize) -> Result<usize, Fault> {
        let mut at = at + 1;
        loop {
            let rest = self.text.get(at..).ok_or(Fault::Ended)?;
            at += memchr2(b'"', b'\\', rest).ok_or(Fault::Ended)?;
            if self.text[at] == b'"' {
                return Ok(at + 1);
            }
            at += 2;
        }
    }

    /// The end of the value that begins at `at`.
    fn skip(&self, at: usize) -> Result<usize, Fault> {
        match self.byte(at)? {
            b'"' => self.string(at),
            b'{' | b'[' => self.brackets(at),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let rest = &self.text[at..];
                let ends = |b: &u8| {
                    matches!(
                        b,
                        b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | b':' | b'"'
                    )
                };
                Ok(at + rest.iter().position(ends).unwrap_or(rest.len()))
            }
            _ => Err(Fault::Unexpected(at)),
        }
    }

    fn brackets(&self, open: usize) -> Result<usize, Fault> {
        let mut levels = Levels::default();
        let mut at = open;
        loop {
            match self.byte(at)? {
                b'"' => {
                    at = self.string(at)?;
                    continue;
                }
                byte @ (b'{' | b'[') => levels.open(byte == b'['),
                byte @ (b'}' | b']') => {
                    if levels.close() != (byte == b']') {
                        return Err(Fault::Unexpected(at));
                    }
                    if levels.depth == 0 {
                        return Ok(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

/// Which of the open brackets are lists, one bit each. Bounded by the bytes of the text, which the body limits bound.
#[derive(Default)]
struct Levels {
    depth: usize,
    usual: [u64; DEPTH_USUAL / 64],
    deeper: Vec<u64>,
}

impl Levels {
    fn word(&mut self) -> &mut u64 {
        let at = self.depth / 64;
        match at.checked_sub(self.usual.len()) {
            None => &mut self.usual[at],
            Some(at) => {
                if at == self.deeper.len() {
                    self.deeper.push(0);
                }
                &mut self.deeper[at]
            }
        }
    }

    fn open(&mut self, is_list: bool) {
        let bit = 1 << (self.depth % 64);
        let word = self.word();
        *word &= !bit;
        *word |= bit * u64::from(is_list);
        self.depth += 1;
    }

    /// Whether the closed bracket is a list.
    fn close(&mut self) -> bool {
        self.depth -= 1;
        let shift = self.depth % 64;
        *self.word() >> shift & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn at<'a>(text: &'a str, path: &str) -> Option<&'a str> {
        find(text.as_bytes(), &[&Path::new(path)])
            .unwrap()
            .remove(0)
            .map(|range| &text[range])
    }

    #[test]
    fn values_are_found_by_path() {
        let text = r#" {"a": {"b": [1, {"c": "}]"}], "n": 123456789012345678901234567890}, "x\u0079": null, "a2": 1} "#;
        assert_eq!(at(text, "a.n"), Some("123456789012345678901234567890"));
        assert_eq!(at(text, "a.b"), Some(r#"[1, {"c": "}]"}]"#));
        assert_eq!(at(text, "xy"), Some("null"));
        assert_eq!(at(text, "a.b.c"), None);
        assert_eq!(at(text, ""), Some(text.trim()));
        assert_eq!(at("\u{feff}{\"a\":1}", "a"), Some("1"));
        assert_eq!(at(r#"{"a":1,"a":2}"#, "a"), Some("2"));
        let link = r#"{"m": {"@odata.nextLink": {"h": "/q"}}}"#;
        assert_eq!(at(link, "m.@odata.nextLink.h"), Some("\"/q\""));
    }

    #[test]
    fn what_is_not_one_json_value_is_a_fault() {
        let depth = DEPTH_USUAL + 130;
        let deep = "[".repeat(depth);
        let crossed = format!("{deep}{}}}", "]".repeat(100));
        for (text, fault) in [
            ("", Fault::Ended),
            ("<html>", Fault::Unexpected(0)),
            (r#"{"a": [1, 2"#, Fault::Ended),
            (r#"{"a": "x"#, Fault::Ended),
            (r#"{"a": "x\"#, Fault::Ended),
            ("{} {}", Fault::Unexpected(3)),
            ("[1}", Fault::Unexpected(2)),
            (r#"{"a" 1}"#, Fault::Unexpected(5)),
            ("{1: 2}", Fault::Unexpected(1)),
            (deep.as_str(), Fault::Ended),
            (crossed.as_str(), Fault::Unexpected(depth + 100)),
        ] {
            assert_eq!(
                find(text.as_bytes(), &[&Path::new("a")]),
                Err(fault),
                "{text:.20}"
            );
        }
    }

    #[test]
    fn a_value_of_any_depth_is_passed_over() {
        let levels = 200_000;
        let deep = format!("{}1{}", "[{\"k\":".repeat(levels), "}]".repeat(levels));
        let text = format!("{{\"a\":[{deep},{{\"b\":2}}],\"next\":\"x\"}}");
        assert_eq!(at(&text, "next"), Some("\"x\""));
        let list = at(&text, "a").unwrap();
        let records = elements(list.as_bytes(), 0..list.len());
        let records: Vec<&str> = records.map(|range| &list[range.unwrap()]).collect();
        assert_eq!(records, [deep.as_str(), "{\"b\":2}"]);
    }

    #[test]
    fn elements_are_the_records() {
        let count = |text: &str| {
            elements(text.as_bytes(), 0..text.len())
                .map(Result::unwrap)
                .count()
        };
        assert_eq!(count("[]"), 0);
        assert_eq!(count("[ 1 , [2,3], {\"a\":[]}, \"]\" ]"), 4);
        assert_eq!(count("{\"a\":1}"), 1);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-c\"\\\\\\[\\]{}:, \n\u{e9}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-c\"\\\\]{0,2}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_outline_agrees_with_a_real_parser(value in json(), pretty: bool, cut in 0.0..1.0_f64) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { value_text(&value) }.unwrap();
            // The parser rounds some floats, so both sides must.
            let value: Value = serde_json::from_str(&text).unwrap();
            for path in ["", "a", "b.a", "c.b.a"] {
                let wanted = path.split('.').filter(|k| !k.is_empty()).try_fold(&value, |v, key| v.get(key));
                let found = find(text.as_bytes(), &[&Path::new(path)]).unwrap().remove(0);
                let parsed = found.clone().map(|range| serde_json::from_str::<Value>(&text[range]).unwrap());
                prop_assert_eq!(parsed.as_ref(), wanted);
                let (Some(Value::Array(list)), Some(range)) = (wanted, found) else { continue };
                let records = elements(text.as_bytes(), range).map(Result::unwrap);
                let records: Vec<Value> = records.map(|r| serde_json::from_str(&text[r]).unwrap()).collect();
                prop_assert_eq!(&records, list);
            }
            // A text truncated inside its brackets is never accepted as complete.
            let cut = (text.len() as f64 * cut) as usize;
            if value.is_array() || value.is_object() {
                prop_assert!(find(&text.as_bytes()[..cut], &[]).is_err());
            }
        }
    }

    fn value_text(value: &Value) -> serde_json::Result<String> {
        serde_json::to_string(value)
    }
}
