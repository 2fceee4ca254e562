//! JSON of any depth, beyond the nesting limits of other readers.
//!
//! `serde_json` stops at 128 levels. Documents that were written before their depth was bounded are read here: without recursion
//! into a tree, then on a thread with room for the recursion of the types themselves. Never the way for data; it is slow.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Deepest nesting that is read.
const NESTING_MAX: usize = 4_096;

/// Stack of the thread that makes the typed value; a level takes some KiB of it.
const STACK_BYTES: usize = 256 << 20;

/// Objects and lists within each other, at the deepest place.
pub fn nesting(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(text, at).saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
        at += 1;
    }
    deepest
}

/// Reads a value that may be nested up to 4,096 levels.
///
/// Errors: `Data` `bad_json`.
pub fn from_deep<T: DeserializeOwned + Send + 'static>(text: &[u8]) -> Result<T> {
    let text = text.to_vec();
    let read = move || -> Result<T> {
        let value = parse_deep(&text)?;
        serde_json::from_value(value).map_err(|error| bad("wrong shape").with_source(error))
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let reading = thread.spawn(read).map_err(|error| {
        Error::unavailable("no_thread", "failed to start a thread for a deep document")
            .with_source(error)
    })?;
    reading
        .join()
        .unwrap_or_else(|_| Err(bad("its reader failed")))
}

/// A tree of JSON text, made without recursion.
///
/// Errors: `Data` `bad_json`.
pub fn parse_deep(text: &[u8]) -> Result<Value> {
    let mut tree = Tree::default();
    let mut at = skip_blanks(text, 0);
    while at < text.len() {
        at = skip_blanks(text, tree.take(text, at)?);
    }
    tree.done.ok_or_else(|| bad("it is cut off"))
}

fn bad(why: &str) -> Error {
    Error::data(
        "bad_json",
        format!("failed to read a deep JSON document: {why}"),
    )
}

/// An object or list that is not complete yet.
enum Open {
    List(Vec<Value>),
    Object(Map<String, Value>, Option<String>),
}

#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    done: Option<Value>,
    /// A value has come and neither a comma nor a bracket behind it.
    is_complete: bool,
}

impl Tree {
    /// Takes the token at `at`; gives the place behind it.
    fn take(&mut self, text: &[u8], at: usize) -> Result<usize> {
        if self.done.is_some() {
            return Err(bad("something follows its end"));
        }
        match text[at] {
            b'{' => self.begin(Open::Object(Map::new(), None))?,
            b'[' => self.begin(Open::List(Vec::new()))?,
            close @ (b'}' | b']') => self.end(close)?,
            b',' if self.is_complete => self.is_complete = false,
            b':' | b',' => return Err(bad("a separator is out of place")),
            b'"' if self.wants_key() => return self.key(text, at),
            _ => {
                let end = token_end(text, at);
                let scalar = serde_json::from_slice(&text[at..end]);
                self.value(scalar.map_err(|error| bad("a value is broken").with_source(error))?)?;
                return Ok(end);
            }
        }
        Ok(at + 1)
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Object(_, None))) && !self.is_complete
    }

    fn key(&mut self, text: &[u8], at: usize) -> Result<usize> {
        let end = string_end(text, at);
        let name = serde_json::from_slice(&text[at..end])
            .map_err(|error| bad("a key is broken").with_source(error))?;
        if let Some(Open::Object(_, key)) = self.open.last_mut() {
            *key = Some(name);
        }
        let colon = skip_blanks(text, end);
        match text.get(colon) {
            Some(b':') => Ok(colon + 1),
            _ => Err(bad("a key has no value")),
        }
    }

    fn begin(&mut self, open: Open) -> Result<()> {
        if self.open.len() >= NESTING_MAX {
            return Err(bad("it is nested too deep"));
        }
        self.check_place()?;
        self.open.push(open);
        Ok(())
    }

    fn check_place(&self) -> Result<()> {
        if self.is_complete || self.wants_key() {
            return Err(bad("a value is out of place"));
        }
        Ok(())
    }

    fn end(&mut self, close: u8) -> Result<()> {
        let value = match (self.open.pop(), close) {
            (Some(Open::List(values)), b']') => Value::Array(values),
            (Some(Open::Object(members, None)), b'}') => Value::Object(members),
            _ => return Err(bad("a bracket is out of place")),
        };
        self.is_complete = false;
        self.value(value)
    }

    fn value(&mut self, value: Value) -> Result<()> {
        self.check_place()?;
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Open::List(values)) => values.push(value),
            Some(Open::Object(members, key)) => {
                let key = key.take().ok_or_else(|| bad("a value has no key"))?;
                members.insert(key, value);
            }
        }
        self.is_complete = true;
        Ok(())
    }
}

fn skip_blanks(text: &[u8], at: usize) -> usize {
    let blanks = text[at.min(text.len())..]
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace());
    at + blanks.count()
}

/// The place behind the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = text.get(end) {
        match byte {
            b'\\' => end += 2,
            b'"' => return end + 1,
            _ => end += 1,
        }
    }
    text.len()
}

fn token_end(text: &[u8], at: usize) -> usize {
    if text[at] == b'"' {
        return string_end(text, at);
    }
    let rest = text[at..].iter();
    let length = rest
        .take_while(|byte| {
            !matches!(byte, b',' | b':' | b'}' | b']' | b'{' | b'[' | b'"')
                && !byte.is_ascii_whitespace()
        })
        .count();
    at + length.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_reader_reads_what_the_usual_one_reads() {
        for text in [
            r#"{"a": [1, -2.5e3, "x\"]}", null, true, {}], "b": {"c": [[]]}, "": "\u00e9"}"#,
            "[]",
            "12345678901234567890",
            r#""alone""#,
            " [ { } , [ ] ] ",
        ] {
            let usual: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse_deep(text.as_bytes()).unwrap(), usual, "{text}");
        }
        for broken in [
            "",
            "[",
            "[1 2]",
            "{\"a\" 1}",
            "{1: 2}",
            "[1]]",
            "{\"a\":1,",
            "[,1]",
            "{\"a\":}",
            "[1}",
        ] {
            assert!(parse_deep(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn nesting_beyond_the_usual_bound_is_read() {
        let text = format!("{}{}{}", "[".repeat(1_000), "\"[[\"", "]".repeat(1_000));
        assert_eq!(nesting(text.as_bytes()), 1_000);
        assert!(serde_json::from_str::<Value>(&text).is_err());
        let value: Value = from_deep(text.as_bytes()).unwrap();
        assert!(value.is_array());
        let far = "[".repeat(NESTING_MAX + 1);
        assert_eq!(parse_deep(far.as_bytes()).unwrap_err().code(), "bad_json");
    }
}
