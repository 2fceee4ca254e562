//! CBOR (RFC 8949), as much of it as AWS's clients for Java write: read without a tree, written from JSON values.
//!
//! Skipped values cause no allocation, and depth is bounded. Texts and bytes are parts of the request, unless they come in
//! chunks.

use std::borrow::Cow;

use serde_json::Value;

/// Levels of values that are skipped.
const DEPTH_MAX: usize = 64;

/// Reads one value after another. `None` is malformed everywhere here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

/// Remaining items of a collection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Left {
    Items(u64),
    /// Until a break.
    Unknown,
}

/// Major types.
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const LIST: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const BREAK: u8 = 0xFF;
const NULL: u8 = 0xF6;

impl<'b> Reader<'b> {
    fn take(&mut self, count: u64) -> Option<&'b [u8]> {
        let count = usize::try_from(count).ok()?;
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Major type and argument of the next head; no argument means an indefinite length.
    fn head(&mut self) -> Option<(u8, Option<u64>)> {
        let first = self.take(1)?[0];
        let major = first >> 5;
        let short = first & 0x1F;
        let argument = match short {
            0..=23 => u64::from(short),
            24..=27 => {
                let bytes = self.take(1 << (short - 24))?;
                bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
            }
            31 if matches!(major, BYTES | TEXT | LIST | MAP | SIMPLE) => {
                return Some((major, None));
            }
            _ => return None,
        };
        Some((major, Some(argument)))
    }

    /// The next head behind any tags.
    fn untagged(&mut self) -> Option<(u8, Option<u64>)> {
        loop {
            match self.head()? {
                (TAG, _) => {}
                head => return Some(head),
            }
        }
    }

    /// Whether the next value is a null, which is then read.
    pub(super) fn null(&mut self) -> bool {
        let is_null = self.0.first() == Some(&NULL);
        if is_null {
            self.0 = &self.0[1..];
        }
        is_null
    }

    pub(super) fn map(&mut self) -> Option<Left> {
        self.collection(MAP)
    }

    pub(super) fn list(&mut self) -> Option<Left> {
        self.collection(LIST)
    }

    fn collection(&mut self, wanted: u8) -> Option<Left> {
        match self.untagged()? {
            (major, argument) if major == wanted => {
                Some(argument.map_or(Left::Unknown, Left::Items))
            }
            _ => None,
        }
    }

    /// Whether the collection has one more item.
    pub(super) fn more(&mut self, left: &mut Left) -> Option<bool> {
        match left {
            Left::Items(0) => Some(false),
            Left::Items(count) => {
                *count -= 1;
                Some(true)
            }
            Left::Unknown if *self.0.first()? == BREAK => {
                self.0 = &self.0[1..];
                Some(false)
            }
            Left::Unknown => Some(true),
        }
    }

    pub(super) fn text(&mut self) -> Option<Cow<'b, str>> {
        match self.string(TEXT)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    pub(super) fn bytes(&mut self) -> Option<Cow<'b, [u8]>> {
        self.string(BYTES)
    }

    fn string(&mut self, wanted: u8) -> Option<Cow<'b, [u8]>> {
        let (major, length) = self.untagged()?;
        (major == wanted).then_some(())?;
        if let Some(length) = length {
            return self.take(length).map(Cow::Borrowed);
        }
        let mut whole = Vec::new();
        let mut left = Left::Unknown;
        while self.more(&mut left)? {
            let (major, length) = self.head()?;
            (major == wanted).then_some(())?;
            whole.extend_from_slice(self.take(length?)?);
        }
        Some(Cow::Owned(whole))
    }

    /// Passes over one value.
    pub(super) fn skip(&mut self) -> Option<()> {
        let mut open = [Left::Items(1); DEPTH_MAX];
        let mut depth = 1;
        while depth > 0 {
            if !self.more(&mut open[depth - 1])? {
                depth -= 1;
                continue;
            }
            let inner = match self.untagged()? {
                (BYTES | TEXT, Some(length)) => {
                    self.take(length)?;
                    continue;
                }
                (LIST, Some(count)) => Left::Items(count),
                (MAP, Some(count)) => Left::Items(count.checked_mul(2)?),
                (BYTES | TEXT | LIST | MAP, None) => Left::Unknown,
                (SIMPLE, None) => return None,
                _ => continue,
            };
            *open.get_mut(depth)? = inner;
            depth += 1;
        }
        Some(())
    }
}

/// The value, written.
pub(super) fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put(value, &mut out);
    out
}

fn put(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(is_true) => out.push(0xF4 + u8::from(*is_true)),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => head(0, number, out),
            (None, Some(number)) => head(1, (-1 - number).unsigned_abs(), out),
            (None, None) => {
                out.push(0xFB);
                out.extend(number.as_f64().unwrap_or_default().to_be_bytes());
            }
        },
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            head(LIST, items.len() as u64, out);
            items.iter().for_each(|item| put(item, out));
        }
        Value::Object(entries) => {
            head(MAP, entries.len() as u64, out);
            for (key, value) in entries {
                string(key, out);
                put(value, out);
            }
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    head(TEXT, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let bytes = argument.to_be_bytes();
    let (short, from) = match argument {
        0..=23 => (argument as u8, 8),
        24..=0xFF => (24, 7),
        0x100..=0xFFFF => (25, 6),
        0x1_0000..=0xFFFF_FFFF => (26, 4),
        _ => (27, 0),
    };
    out.push(major << 5 | short);
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_as_the_specification_shows() {
        // RFC 8949, appendix A.
        for (value, hex) in [
            (json!(0), "00"),
            (json!(24), "1818"),
            (json!(1_000_000), "1a000f4240"),
            (json!(u64::MAX), "1bffffffffffffffff"),
            (json!(-1), "20"),
            (json!(-1000), "3903e7"),
            (json!(1.1), "fb3ff199999999999a"),
            (json!([false, true, null]), "83f4f5f6"),
            (json!({"a": "A", "b": [1]}), "a2616161416162 8101"),
        ] {
            let hex = hex::decode(hex.replace(' ', "")).unwrap();
            assert_eq!(write(&value), hex, "{value}");
            let mut reader = Reader(&hex);
            assert_eq!(reader.skip(), Some(()), "{value}");
            assert!(reader.0.is_empty(), "{value}");
        }
    }

    #[test]
    fn strings_in_chunks_tags_and_indefinite_collections_are_read() {
        // {_ "a": (_ h'01', h'0203'), "b": 1(5), "c": [_ ]}
        let bytes = b"\xBF\x61a\x5F\x41\x01\x42\x02\x03\xFF\x61b\xC1\x05\x61c\x9F\xFF\xFF";
        let mut reader = Reader(bytes);
        let mut left = reader.map().unwrap();
        assert_eq!(reader.more(&mut left), Some(true));
        assert_eq!(reader.text().unwrap(), "a");
        assert_eq!(reader.bytes().unwrap(), &[1, 2, 3][..]);
        for key in ["b", "c"] {
            assert_eq!(reader.more(&mut left), Some(true));
            assert_eq!(reader.text().unwrap(), key);
            reader.skip().unwrap();
        }
        assert_eq!(reader.more(&mut left), Some(false));
        assert!(reader.0.is_empty());
    }

    #[test]
    fn malformed_deep_and_cut_off_values_are_refused() {
        let deep = [0x81; DEPTH_MAX + 1];
        for bytes in [
            &b""[..],
            b"\xFF",
            b"\x5A\xFF\xFF\xFF\xFFab",
            b"\x1C",
            b"\x9F\x01",
            b"\xBB\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
            &deep[..],
        ] {
            assert_eq!(Reader(bytes).skip(), None, "{bytes:?}");
        }
    }
}
