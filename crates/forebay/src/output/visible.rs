//! Text from outside on a terminal: control characters and those that turn the direction of writing are shown, never sent.
//!
//! A value of a table, a name or an error may hold anything. Sent as it is, an escape sequence moves the cursor, sets the
//! clipboard (OSC 52) or hides the following text; a bidirectional control shows text in another order than it has (CVE-2021-42574).
//! The meaning of the text is not inspected.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// Text on one line: line breaks and tabs are shown as `\n`, `\r`, `\t`.
pub(crate) fn visible_line(text: &str) -> Cow<'_, str> {
    escape_where(text, is_hidden)
}

/// Text on several lines: line feeds and tabs stay.
pub(crate) fn visible_text(text: impl Display) -> String {
    let text = text.to_string();
    escape_where(&text, |c| is_hidden(c) && c != '\n' && c != '\t').into_owned()
}

fn escape_where(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            push_escape(&mut shown, c);
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn push_escape(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        c if u32::from(c) <= 0xff => {
            let _ = write!(shown, "\\x{:02x}", u32::from(c));
        }
        c => {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        }
    }
}

/// JSON for a terminal, in pieces: characters that JSON permits within texts, and a terminal obeys, become its escapes.
#[derive(Debug, Default)]
pub(crate) struct JsonEscaper {
    /// The first bytes of a character that has not ended yet.
    begun: Vec<u8>,
}

impl JsonEscaper {
    pub(crate) fn escape(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        let text = std::mem::replace(&mut self.begun, rest);
        let mut shown = String::with_capacity(text.len());
        for c in String::from_utf8_lossy(&text).chars() {
            match is_hidden(c) && c != '\n' {
                // All of them are in the first plane.
                true => {
                    let _ = write!(shown, "\\u{:04x}", u32::from(c));
                }
                false => shown.push(c),
            }
        }
        shown
    }
}

/// Control characters (C0, DEL, C1) and the bidirectional controls of Unicode (UAX #9, table 1).
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_bidi_controls_are_shown() {
        let hostile = "\x1b[2J\x1b]52;c;cm0=\x07 a\u{9b}31m \u{202e}cba\u{2066} \u{85}\r";
        let shown = visible_line(hostile);
        assert_eq!(
            shown,
            "\\x1b[2J\\x1b]52;c;cm0=\\x07 a\\x9b31m \\u{202e}cba\\u{2066} \\x85\\r"
        );
        assert_eq!(visible_text("a\n\tb\x1b"), "a\n\tb\\x1b");
    }

    #[test]
    fn json_has_escapes_of_its_own_also_in_pieces() {
        let json = "{\"a\":\"\u{9b}31m \u{202e}é\"}\n";
        for size in 1..json.len() {
            let mut escaper = JsonEscaper::default();
            let shown: String = json
                .as_bytes()
                .chunks(size)
                .map(|piece| escaper.escape(piece))
                .collect();
            assert_eq!(shown, "{\"a\":\"\\u009b31m \\u202eé\"}\n");
        }
    }

    #[test]
    fn plain_text_is_not_copied() {
        for text in ["", "tea", "Ünïcode – 数 🍵"] {
            assert!(matches!(visible_line(text), Cow::Borrowed(_)));
        }
    }
}
