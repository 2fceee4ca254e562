//! Detects NDJSON payloads when the pipeline file does not set `lines`: by name, media type, or first line.
//!
//! The answer depends on the payload alone, never on how its bytes were cut into chunks, so a replay and a rebuild give the
//! same one. Reads the first line and the byte after it; never a record's values.

use super::spans;

/// Endings of names of NDJSON files, before the ending of their compression.
const ENDINGS: [&str; 2] = [".ndjson", ".jsonl"];

/// Endings of compressed files.
const COMPRESSIONS: [&str; 5] = [".gz", ".gzip", ".zst", ".zstd", ".bz2"];

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Parts of media types that mean one value a line.
const MEDIA_TYPES: [&str; 4] = ["ndjson", "jsonl", "json-lines", "jsonlines"];

/// Whether a file or URL of this name has one record a line.
pub fn is_lines_name(name: &str) -> bool {
    let path = name.split(['?', '#']).next().unwrap_or_default();
    let path = path.to_ascii_lowercase();
    let plain = COMPRESSIONS
        .iter()
        .find_map(|ending| path.strip_suffix(ending))
        .unwrap_or(&path);
    ENDINGS.iter().any(|ending| plain.ends_with(ending))
}

/// Whether this media type has one record a line.
pub fn is_lines_type(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    MEDIA_TYPES.iter().any(|part| media_type.contains(part))
}

/// Whether a complete text holds more than one JSON object, the first of which is a line of its own.
pub fn is_lines_text(text: &[u8]) -> bool {
    Detection::default().next(text) == Some(true)
}

/// Inspects the start of a payload as it arrives.
#[derive(Debug, Default)]
pub(super) struct Detection {
    /// Bytes that have been inspected.
    seen: usize,
    /// Whether the first line is a whole object.
    is_object: bool,
}

impl Detection {
    /// `text` is the payload from its start, longer with every call. `None` as long as it may be either.
    pub(super) fn next(&mut self, text: &[u8]) -> Option<bool> {
        if text.len() < BYTE_ORDER_MARK.len() && BYTE_ORDER_MARK.starts_with(text) {
            return None;
        }
        let has_mark = text.starts_with(BYTE_ORDER_MARK);
        let mark = if has_mark { BYTE_ORDER_MARK.len() } else { 0 };
        if !self.is_object {
            let start = mark + text[mark..].iter().position(|byte| !is_blank(*byte))?;
            if text[start] != b'{' {
                return Some(false);
            }
            let from = self.seen.max(start);
            let Some(end) = memchr::memchr(b'\n', &text[from..]).map(|at| from + at) else {
                self.seen = text.len();
                return None;
            };
            let line = text[start..end].trim_ascii_end();
            if spans::container_end(line, 0) != Some(line.len()) {
                return Some(false);
            }
            (self.is_object, self.seen) = (true, end);
        }
        let more = text[self.seen..].iter().any(|byte| !is_blank(*byte));
        self.seen = text.len();
        more.then_some(true)
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_media_types_tell_lines() {
        for name in [
            "a.ndjson",
            "x/B.JSONL.gz",
            "s3://b/k.ndjson.zst",
            "https://h/d.jsonl?x=a.json",
        ] {
            assert!(is_lines_name(name), "{name}");
        }
        for name in [
            "a.json",
            "ndjson",
            "a.ndjson.bak",
            "https://h/d?file=a.jsonl",
            "a.json.gz",
        ] {
            assert!(!is_lines_name(name), "{name}");
        }
        assert!(is_lines_type("application/x-NDJSON; charset=utf-8"));
        assert!(!is_lines_type("application/json"));
    }

    #[test]
    fn the_first_line_tells_lines_however_the_bytes_are_cut() {
        for (text, expected) in [
            ("{\"a\":1}\n{\"a\":2}\n", Some(true)),
            ("\u{feff}\n {\"a\":\"}\"} \r\n\n {", Some(true)),
            ("{\"a\":1}\n\n", None),
            ("{\"a\":1}", None),
            ("{\n\"a\":1}\n{}", Some(false)),
            ("{\"a\":1} {\"a\":2}\n{}", Some(false)),
            ("[1]\n[2]", Some(false)),
            ("<html>\n", Some(false)),
            ("", None),
        ] {
            for cut in 0..=text.len() {
                let mut detection = Detection::default();
                let early = detection.next(&text.as_bytes()[..cut]);
                let late = early.or_else(|| detection.next(text.as_bytes()));
                assert_eq!(late, expected, "{text:?} cut at {cut}");
            }
        }
    }
}
