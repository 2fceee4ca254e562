//! Fields of CSV as they were before they were written.

pub use crate::dialect::Dialect;

/// The text between quotes, unescaped.
pub(super) fn unescape(text: &str, dialect: &Dialect, out: &mut String) {
    let quote = char::from(dialect.quote.unwrap_or(b'"'));
    let escape = dialect.escape.map_or(quote, char::from);
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        // An escape makes the next character ordinary.
        let meant = if character == escape {
            rest.next()
        } else {
            Some(character)
        };
        out.extend(meant);
    }
}
