//! The span of each value of a record in its text, in the order of the tape.
//!
//! The tape has lost the text (strings are unescaped, numbers are binary); columns that keep the text, and numbers that do
//! not fit, need it back. Works on any bytes without panicking; it does not validate JSON.

/// Start and end of one tape node (key, string, number, literal, object, array) in the record.
pub(super) type Span = (u32, u32);

/// Fills `spans` with one span per tape node. `record` is shorter than 4 GiB.
pub(super) fn scan(record: &[u8], spans: &mut Vec<Span>) {
    spans.clear();
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < record.len() {
        let start = at;
        at = match record[at] {
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => {
                at += 1;
                continue;
            }
            b'}' | b']' => {
                at += 1;
                if let Some(container) = open.pop() {
                    spans[container].1 = at as u32;
                }
                continue;
            }
            b'{' | b'[' => {
                open.push(spans.len());
                at + 1
            }
            b'"' => string_end(record, at),
            _ => atom_end(record, at),
        };
        spans.push((start as u32, at as u32));
    }
}

/// The end of the string that starts at `start`, after its closing quote (or the end of the text).
pub(super) fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text
        .get(at..)
        .and_then(|rest| memchr::memchr2(b'"', b'\\', rest))
    {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// The end of the number or literal that starts at `start`.
pub(super) fn atom_end(text: &[u8], start: usize) -> usize {
    let is_end = |byte: &u8| {
        matches!(
            byte,
            b',' | b':' | b'{' | b'}' | b'[' | b']' | b'"' | b' ' | b'\t' | b'\r' | b'\n'
        )
    };
    let rest = &text[start + 1..];
    start + 1 + rest.iter().position(is_end).unwrap_or(rest.len())
}

/// The end of the object or array that starts at `start`, counting brackets of both kinds together; `None` when it
/// is not closed.
pub(super) fn container_end(text: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match *text.get(at)? {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return Some(at + 1),
            b'}' | b']' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_tape_order() {
        let text = br#" {"a\"": [1, -2.5e3 ,{"b":null}] , "c":"x\\"} "#;
        let mut spans = Vec::new();
        scan(text, &mut spans);
        let texts: Vec<&str> = spans
            .iter()
            .map(|(start, end)| std::str::from_utf8(&text[*start as usize..*end as usize]).unwrap())
            .collect();
        assert_eq!(
            texts[1..9],
            [
                r#""a\"""#,
                r#"[1, -2.5e3 ,{"b":null}]"#,
                "1",
                "-2.5e3",
                r#"{"b":null}"#,
                r#""b""#,
                "null",
                r#""c""#
            ]
        );
        assert_eq!(texts[9], r#""x\\""#);
        assert_eq!(texts[0], std::str::from_utf8(text).unwrap().trim());
    }

    #[test]
    fn broken_text_does_not_panic() {
        for text in ["}", "]]", "\"", "\"\\", "{\"a", "[1", "\\", "{]"] {
            scan(text.as_bytes(), &mut Vec::new());
            let _ = container_end(text.as_bytes(), 0);
        }
    }
}
