//! The stream of a request, found before the caller is authenticated: one pass over its bytes, no tree, no allocation that
//! depends on the request. Other faults are found later, once the signature was valid.

use forebay_core::{Error, Result};

use super::cbor::Reader;
use super::operation::Encoding;

/// The keys that name a stream.
const KEYS: [&str; 4] = [
    "StreamName",
    "StreamARN",
    "DeliveryStreamName",
    "DeliveryStreamARN",
];

/// Bytes of the value of such a key.
const NAME_BYTES_MAX: usize = 2048;

/// The stream's name, or the last part of its ARN. The first key that is there counts.
///
/// Errors: `Data` `bad_request`.
pub(super) fn stream(encoding: Encoding, body: &[u8]) -> Result<String> {
    let found = match encoding {
        Encoding::Json => json(body),
        Encoding::Cbor => cbor(Reader(body)),
    };
    let found = found.ok_or_else(|| Error::data("bad_request", "the request names no stream"))?;
    let name = match found.rsplit_once('/') {
        Some((_, name)) if found.starts_with("arn:") => name,
        _ => &found,
    };
    if name.chars().any(char::is_control) {
        let what = "the name of the stream contains control characters";
        return Err(Error::data("bad_name", what));
    }
    Ok(name.to_owned())
}

fn cbor(mut reader: Reader<'_>) -> Option<String> {
    let mut left = reader.map()?;
    while reader.more(&mut left)? {
        let key = reader.text()?;
        if KEYS.contains(&&*key) && !reader.null() {
            let value = reader.text()?;
            return (value.len() <= NAME_BYTES_MAX).then(|| value.into_owned());
        }
        if !KEYS.contains(&&*key) {
            reader.skip()?;
        }
    }
    None
}

/// Walks over the keys of the outermost object.
fn json(body: &[u8]) -> Option<String> {
    let mut walk = Walk { body, at: 0 };
    walk.expect(b'{')?;
    loop {
        let key = walk.string()?;
        walk.expect(b':')?;
        let is_wanted = KEYS.iter().any(|known| key == known.as_bytes());
        if is_wanted && walk.peek()? == b'"' {
            let value = walk.string()?;
            (value.len() <= NAME_BYTES_MAX).then_some(())?;
            let quoted = [b"\"", value, b"\""].concat();
            return serde_json::from_slice(&quoted).ok();
        }
        walk.skip()?;
        walk.expect(b',')?;
    }
}

struct Walk<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Walk<'b> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.body.get(self.at..)?;
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        Some(self.body[self.at])
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        let is_there = self.peek()? == byte;
        self.at += 1;
        is_there.then_some(())
    }

    /// The text between the quotes, still escaped.
    fn string(&mut self) -> Option<&'b [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.body.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(&self.body[start..self.at - 1])
    }

    /// Passes over a value, whatever is in it.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' => return None,
                _ => self.word()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// A number or a literal.
    fn word(&mut self) -> Option<()> {
        let rest = &self.body[self.at..];
        let is_end =
            |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':') || byte.is_ascii_whitespace();
        self.at += rest.iter().position(is_end)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<String> {
        stream(Encoding::Json, text.as_bytes()).ok()
    }

    #[test]
    fn the_stream_is_found_wherever_its_key_stands() {
        for text in [
            r#"{"StreamName":"a"}"#,
            r#" { "Records" : [ { "Data" : "x\"}]", "n": -1.5e3 } , [] , {} ] , "StreamName" : "a" } "#,
            r#"{"x":{"StreamName":"b"},"y":[["StreamName"],null,true],"StreamARN":"arn:aws:kinesis:eu:1:stream/a","StreamName":"c"}"#,
            r#"{"StreamARN":null,"DeliveryStreamName":"a"}"#,
            r#"{"StreamName":"\u0061","#,
        ] {
            assert_eq!(found(text).as_deref(), Some("a"), "{text}");
        }
        for text in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"StreamName""#,
            r#"{"StreamName":"a"#,
            r#"{"x":]"#,
            r#"{"x":1"#,
            r#"{"StreamName":"\"#,
            r#"{"StreamName":"\q"}"#,
            r#"{"StreamName":"a\n"}"#,
            r#"{"StreamName":5}"#,
            r#"{"x" "StreamName":"a"}"#,
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        let deep = format!(
            "{{\"x\":{}1{},\"StreamName\":\"a\"}}",
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        assert_eq!(found(&deep).as_deref(), Some("a"));
        let long = format!("{{\"StreamName\":\"{}\"}}", "a".repeat(NAME_BYTES_MAX + 1));
        assert_eq!(found(&long), None);
    }
}
