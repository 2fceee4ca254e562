//! Finds the records of a document: their positions in its text, without parsing them.
//!
//! A document is one record (an object), or a list of them, or has them at a path. The text around the records is returned
//! as the envelope, for the caller to check; the records themselves are checked when they are parsed.

use std::ops::Range;

use serde::de::IgnoredAny;

use super::spans;
use super::walk::Refusal;

/// Refusals of this many elements that cannot be records refuse the whole document.
const SCALARS_MAX: usize = 10_000;

/// Where the records are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) records: Vec<Range<usize>>,
    /// The value that holds the records; the rest of the document is the envelope.
    pub(super) holder: Range<usize>,
}

/// The records of `document`; `path` leads to them through objects.
pub(super) fn find(document: &[u8], path: &[String], records_max: usize) -> Result<Found, Refusal> {
    let cursor = Cursor { text: document };
    let mut holder = cursor.value(cursor.blank(0))?;
    let behind = cursor.blank(holder.end);
    if behind != document.len() {
        return Err(trailing(document, &holder, behind));
    }
    for key in path {
        holder = cursor.member(&holder, key)?;
    }
    let records = match document[holder.start] {
        b'[' => cursor.elements(&holder, records_max)?,
        b'n' if !path.is_empty() => Vec::new(),
        _ => vec![holder.clone()],
    };
    Ok(Found { records, holder })
}

/// Why there is something behind the first value: text that begins with no JSON value is not JSON at all.
fn trailing(document: &[u8], first: &Range<usize>, behind: usize) -> Refusal {
    let is_list = matches!(document[behind], b'{' | b'[');
    let is_csv = looks_like_csv(document);
    let reason = match is_list {
        _ if !(is_csv || is_json(&document[first.clone()])) => {
            return broken("the text does not begin with a value", first.start);
        }
        true if document[first.clone()].contains(&b'\n') => {
            "the document has more than one JSON value, each over several lines: write one value per line before it is loaded, as with `jq -c .`"
        }
        true => {
            "the document has more than one JSON value: set `lines: true` if each line is a record"
        }
        false if is_csv => LOOKS_LIKE_CSV,
        false => "trailing text after the JSON document",
    };
    Refusal::at("trailing_data", reason, behind)
}

fn is_json(text: &[u8]) -> bool {
    // Objects and lists are only checked for their ends here: the parser reports what is wrong inside.
    matches!(text.first(), Some(b'{' | b'[')) || serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// Why text of columns is not JSON.
pub(super) const LOOKS_LIKE_CSV: &str =
    "the text looks like CSV, not JSON: set `extract: {csv: {}}`";

/// Whether the first line is no object or list and has columns, and the second one, if any, as many.
pub(super) fn looks_like_csv(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().unwrap_or_default();
    let second = lines.next().filter(|line| !line.is_empty());
    let has_columns = |separator: u8| {
        let count = |line: &[u8]| line.iter().filter(|byte| **byte == separator).count();
        count(first) > 0 && second.is_none_or(|second| count(second) == count(first))
    };
    !matches!(first.first(), Some(b'{' | b'[')) && b",;\t|".iter().any(|byte| has_columns(*byte))
}

struct Cursor<'a> {
    text: &'a [u8],
}

fn broken(what: &str, at: usize) -> Refusal {
    Refusal::at("bad_json", format!("not JSON: {what}"), at)
}

impl Cursor<'_> {
    /// The next position that is not white space.
    fn blank(&self, at: usize) -> usize {
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        at + self.text[at.min(self.text.len())..]
            .iter()
            .take_while(is_blank)
            .count()
    }

    /// The value that starts at `at`, of any content.
    fn value(&self, at: usize) -> Result<Range<usize>, Refusal> {
        let end = match self.text.get(at) {
            None => return Err(broken("the text ends where a value should be", at)),
            Some(b'{' | b'[') => spans::container_end(self.text, at)
                .ok_or_else(|| broken("an object or list is not closed", self.text.len()))?,
            Some(b'"') => spans::string_end(self.text, at),
            Some(b'}' | b']' | b',' | b':') => return Err(broken("a value is missing", at)),
            Some(_) => spans::atom_end(self.text, at),
        };
        Ok(at..end)
    }

    /// Behind a value in a container: the start of the next entry, or `None` when the container is closed.
    fn next(&self, at: usize, close: u8) -> Result<Option<usize>, Refusal> {
        let at = self.blank(at);
        match self.text.get(at) {
            Some(b',') => Ok(Some(self.blank(at + 1))),
            Some(byte) if *byte == close => Ok(None),
            _ => Err(broken("a comma or closing bracket is missing", at)),
        }
    }

    fn elements(
        &self,
        list: &Range<usize>,
        records_max: usize,
    ) -> Result<Vec<Range<usize>>, Refusal> {
        let mut records = Vec::new();
        let mut scalars = 0;
        let first = self.blank(list.start + 1);
        let mut at = (self.text.get(first) != Some(&b']')).then_some(first);
        while let Some(start) = at {
            let record = self.value(start)?;
            at = self.next(record.end, b']')?;
            scalars += usize::from(self.text[start] != b'{');
            records.push(record);
            if records.len() > records_max {
                return Err(Refusal::at(
                    "too_many_elements",
                    format!(
                        "the document has more than {records_max} records: raise `limits.children`"
                    ),
                    start,
                ));
            }
            if scalars > SCALARS_MAX {
                return Err(Refusal::at(
                    "not_an_object",
                    format!("more than {SCALARS_MAX} elements are not objects"),
                    start,
                ));
            }
        }
        Ok(records)
    }

    /// The value of `key` in the object at `holder`.
    fn member(&self, holder: &Range<usize>, key: &str) -> Result<Range<usize>, Refusal> {
        let not_found = || {
            Refusal::at(
                "records_not_found",
                format!("key `{key}` not found on the path to the records"),
                holder.start,
            )
        };
        if self.text[holder.start] != b'{' {
            return Err(not_found());
        }
        let first = self.blank(holder.start + 1);
        let mut at = (self.text.get(first) != Some(&b'}')).then_some(first);
        let mut found = None;
        while let Some(start) = at {
            if self.text.get(start) != Some(&b'"') {
                return Err(broken("a key is missing", start));
            }
            let name = self.value(start)?;
            let colon = self.blank(name.end);
            if self.text.get(colon) != Some(&b':') {
                return Err(broken("a colon is missing", colon));
            }
            let value = self.value(self.blank(colon + 1))?;
            at = self.next(value.end, b'}')?;
            if is_key(&self.text[name], key) && found.replace(value).is_some() {
                return Err(Refusal::at(
                    "duplicate_key",
                    format!("duplicate key {key:?} in an object"),
                    start,
                ));
            }
        }
        found.ok_or_else(not_found)
    }
}

/// Whether the text of a string, with its quotes, equals `key`.
fn is_key(text: &[u8], key: &str) -> bool {
    if text.contains(&b'\\') {
        return serde_json::from_slice::<String>(text).is_ok_and(|name| name == key);
    }
    text.get(1..text.len().saturating_sub(1)) == Some(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, path: &[&str], expected: Result<&[&str], &str>) {
        let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
        let found = find(document.as_bytes(), &path, 100);
        let found = found.map(|found| {
            found
                .records
                .into_iter()
                .map(|place| &document[place])
                .collect::<Vec<_>>()
        });
        assert_eq!(
            found.as_deref().map_err(|refusal| refusal.code),
            expected,
            "{document}"
        );
    }

    #[test]
    fn records_are_the_document_its_elements_or_those_at_a_path() {
        check(r#" {"a":1} "#, &[], Ok(&[r#"{"a":1}"#]));
        check(
            r#"[{"a":"]"}, {"b":[1,{}]} ,3]"#,
            &[],
            Ok(&[r#"{"a":"]"}"#, r#"{"b":[1,{}]}"#, "3"]),
        );
        check(
            r#"{"x":{"y":[{"a":1}],"z":2}}"#,
            &["x", "y"],
            Ok(&[r#"{"a":1}"#]),
        );
        check(r#"{"x\u0079":{"a":1}}"#, &["xy"], Ok(&[r#"{"a":1}"#]));
        check("[]", &[], Ok(&[]));
        check(r#"{"x":null}"#, &["x"], Ok(&[]));
        check(r#"{"x":[]}"#, &["x"], Ok(&[]));
    }

    #[test]
    fn text_of_columns_is_named() {
        for (text, is_csv) in [
            ("id,name\n1,a\n", true),
            ("id;name\n1;a\n", true),
            ("id\tname\n1\ta\n", true),
            ("1,2\n3,4\n", true),
            ("{\"a\":1} x, y", false),
        ] {
            let refusal = find(text.as_bytes(), &[], 100).unwrap_err();
            assert_eq!(refusal.code, "trailing_data", "{text}");
            let reason = &refusal.reason;
            assert_eq!(
                reason.contains("looks like CSV"),
                is_csv,
                "{text}: {reason}"
            );
        }
    }

    #[test]
    fn several_documents_are_told_from_lines() {
        for (text, remedy) in [
            ("{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n", "`jq -c .`"),
            ("[\n1\n]\n[2]", "`jq -c .`"),
            ("{\"a\":1}\n{\"a\":2}", "`lines: true`"),
        ] {
            let refusal = find(text.as_bytes(), &[], 100).unwrap_err();
            assert_eq!(refusal.code, "trailing_data", "{text}");
            assert!(refusal.reason.contains(remedy), "{}", refusal.reason);
        }
    }

    #[test]
    fn text_that_begins_with_no_value_is_not_json() {
        for text in [
            "not json",
            "nonsense here",
            "// c\n{\"a\":1}",
            "//\n{\"a\":1}",
            "id name\n1 a\n",
            "INFO started, ready\nWARN slow\n",
        ] {
            check(text, &[], Err("bad_json"));
        }
        check("1 2", &[], Err("trailing_data"));
    }

    #[test]
    fn what_is_not_a_document_is_refused_whole() {
        check(r#"[{"a":1}"#, &[], Err("bad_json"));
        check(r#"[{"a":1},]"#, &[], Err("bad_json"));
        check(r#"[{"a":1} {"a":2}]"#, &[], Err("bad_json"));
        check(r#"[1]]"#, &[], Err("trailing_data"));
        check("", &[], Err("bad_json"));
        check(r#"{"x":1}"#, &["y"], Err("records_not_found"));
        check(r#"[1]"#, &["y"], Err("records_not_found"));
        check(r#"{"x":[],"x":[1]}"#, &["x"], Err("duplicate_key"));
        check(
            &format!("[{}1]", "1,".repeat(200)),
            &[],
            Err("too_many_elements"),
        );
    }
}
