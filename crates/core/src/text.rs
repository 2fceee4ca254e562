//! Texts of others in messages, cut to a bound.
//!
//! A value, a statement or an answer of a server may have a megabyte, and a message that repeats it is stored, logged and
//! sent. Only the middle is left out: a message usually begins with the failure and ends with the place.

use std::borrow::Cow;

/// Most bytes of one message: of an error, or of a reason for a rejection.
pub const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// Most bytes of a single value that a message repeats.
pub const VALUE_BYTES_MAX: usize = 200;

const ELLIPSIS: &str = "…";

/// `text` with at most `bytes_max` bytes: of a longer one the begin, `…` and the end.
pub fn shortened(text: &str, bytes_max: usize) -> Cow<'_, str> {
    if text.len() <= bytes_max {
        return Cow::Borrowed(text);
    }
    let room = bytes_max.saturating_sub(ELLIPSIS.len());
    let end_bytes = room / 3;
    let begin = text.floor_char_boundary(room - end_bytes);
    let end = text.ceil_char_boundary(text.len() - end_bytes);
    Cow::Owned(format!("{}{ELLIPSIS}{}", &text[..begin], &text[end..]))
}

/// A value for a message.
pub fn shortened_value(value: &str) -> Cow<'_, str> {
    shortened(value, VALUE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_left_out() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("0123456789abcdef", 12), "012345…def");
        assert_eq!(shortened("ääääää", 8), "ää…");
        assert_eq!(shortened("anything", 0), "…");
    }

    #[test]
    fn a_text_is_cut_at_characters() {
        let text = "aäß€🦀x".repeat(5);
        for max in ELLIPSIS.len()..text.len() + 2 {
            let short = shortened(&text, max);
            assert!(short.len() <= max, "{short}");
            assert_eq!(short == text, text.len() <= max);
        }
    }
}
