//! Places in a file: byte spans, lines and columns, and the quoted line with a marker.

use std::fmt;
use std::sync::OnceLock;

/// Characters of a line that a snippet shows.
const SNIPPET_CHARS_MAX: usize = 120;

/// The text of a file, for snippets.
#[derive(Debug)]
pub struct SourceText {
    /// As the user wrote it on the command line, or found below the project.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Byte offset of each line's first byte, computed on first use.
    lines: OnceLock<Vec<usize>>,
}

/// Byte range in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// `file:line:column`, 1-based; columns count characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl SourceText {
    pub fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            lines: OnceLock::new(),
        }
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let ends = memchr::memchr_iter(b'\n', self.text.as_bytes()).map(|end| end + 1);
            std::iter::once(0).chain(ends).collect()
        })
    }

    /// The text of `span`; empty when out of range.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// 0-based line, and where it begins. A place after the last line is moved to its end.
    fn line_of(&self, offset: usize) -> (usize, usize) {
        let lines = self.lines();
        let line = lines
            .partition_point(|start| *start <= offset)
            .saturating_sub(1);
        (line, lines[line])
    }

    fn line_text(&self, start: usize) -> &str {
        let rest = self.text.get(start..).unwrap_or_default();
        let line = rest
            .split('\n')
            .next()
            .unwrap_or_default()
            .trim_end_matches('\r');
        if start == 0 {
            line.trim_start_matches('\u{feff}')
        } else {
            line
        }
    }

    /// Characters of the line before `offset`.
    fn column_of(&self, start: usize, offset: usize) -> usize {
        let before = self
            .text
            .get(start..offset.min(self.text.len()))
            .unwrap_or_default();
        before.trim_start_matches('\u{feff}').chars().count()
    }

    pub fn place(&self, span: Span) -> Place {
        let (line, start) = self.line_of(span.start);
        Place {
            file: self.path.clone(),
            line: line + 1,
            column: self.column_of(start, span.start) + 1,
        }
    }

    /// The line of `span` with a marker below it, both after a margin with the line number.
    pub fn snippet(&self, span: Span) -> String {
        let (line, start) = self.line_of(span.start);
        let text = self.line_text(start);
        let column = self.column_of(start, span.start);
        let width = self.text.get(span.start..span.end).map_or(1, |found| {
            found
                .lines()
                .next()
                .unwrap_or_default()
                .trim_end()
                .chars()
                .count()
        });
        render(line + 1, text, column, width.max(1))
    }

    /// The snippet without this text of `span`; of a line that was cut nothing is left, since a part of the text may be.
    pub(crate) fn without(&self, snippet: &str, span: Span, text: &str) -> String {
        let (_, start) = self.line_of(span.start);
        if text.is_empty() {
            return snippet.to_owned();
        }
        if self.line_text(start).chars().count() > SNIPPET_CHARS_MAX {
            return String::new();
        }
        snippet.replace(text, BLANK)
    }
}

/// Keys whose values are blanked in every snippet, also of a file that cannot be parsed.
const SECRET_KEYS: [&str; 12] = [
    "bearer",
    "cookie",
    "hmac",
    "api-key",
    "token",
    "secret",
    "password",
    "passwd",
    "api_key",
    "apikey",
    "access_key",
    "authorization",
];

/// Placeholder of a secret.
const BLANK: &str = "***";

/// The line with the value of each key blanked that names a secret. References stay.
fn without_secrets(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let ends = SECRET_KEYS.iter().flat_map(|key| {
        let found = lower.match_indices(key);
        let outside = found.filter(|(at, _)| !is_in_reference(&line[..*at]));
        outside.map(|(at, key)| at + key.len())
    });
    let values = ends.filter_map(|end| value_after(line, end));
    let mut values: Vec<(usize, usize)> = values.collect();
    values.sort_unstable();
    values.dedup();
    let mut shown = line.to_owned();
    for (start, end) in values.into_iter().rev() {
        if end <= shown.len() {
            shown.replace_range(start..end, BLANK);
        }
    }
    without_url_passwords(&shown)
}

/// The line with the password of each URL blanked. References stay.
fn without_url_passwords(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        shown.push_str(before);
        rest = url;
        let end = url
            .find(['/', '?', '#', '"', '\'', ' ', '<'])
            .unwrap_or(url.len());
        let Some(user) = url[..end].rfind('@') else {
            continue;
        };
        if let Some(colon) = url[..user]
            .find(':')
            .filter(|colon| !url[colon + 1..].starts_with("${"))
        {
            shown.push_str(&url[..=colon]);
            shown.push_str(BLANK);
            rest = &url[user..];
        }
    }
    shown.push_str(rest);
    shown
}

/// Whether a `${…}` is open behind this text.
fn is_in_reference(before: &str) -> bool {
    before.rfind("${") > before.rfind('}')
}

/// The range of the value of a key that ends at `end`; `None` without a value, or when it is a reference or a collection.
fn value_after(line: &str, end: usize) -> Option<(usize, usize)> {
    let rest = line[end..].trim_start_matches(['"', '\'', 's']);
    let rest = rest.trim_start().strip_prefix([':', '='])?.trim_start();
    let start = line.len() - rest.len();
    let first = rest.chars().next()?;
    let inner = rest.trim_start_matches(['"', '\'']);
    if inner.is_empty() || inner.starts_with("${") || matches!(first, '{' | '[' | '#' | '|' | '>') {
        return None;
    }
    let length = match first {
        quote @ ('"' | '\'') => rest[1..].find(quote).map_or(rest.len(), |at| at + 2),
        _ => rest.find([',', '}', '#']).unwrap_or(rest.len()),
    };
    let length = rest[..length].trim_end().len();
    Some((start, start + length))
}

/// A long line is cut to a window around the marker.
fn render(number: usize, text: &str, column: usize, width: usize) -> String {
    let first = if text.chars().count() > SNIPPET_CHARS_MAX {
        column.saturating_sub(SNIPPET_CHARS_MAX / 2)
    } else {
        0
    };
    let shown: String = text.chars().skip(first).take(SNIPPET_CHARS_MAX).collect();
    // Tabs stay tabs, so that the marker lines up with the marked text.
    let mut indent: String = shown
        .chars()
        .take(column - first)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let gap = (column - first).saturating_sub(indent.chars().count());
    indent.push_str(&" ".repeat(gap.min(1)));
    let room = shown.chars().count().saturating_sub(column - first).max(1);
    let marker = "^".repeat(width.min(room));
    let number = number.to_string();
    let margin = " ".repeat(number.len());
    // A line that was cut may begin in the middle of a value, so it is blanked before.
    let shown = if first > 0 {
        let whole: String = without_secrets(text);
        if whole == text { shown } else { String::new() }
    } else {
        without_secrets(&shown)
    };
    let shown = printable(&shown);
    format!("{margin} |\n{number} | {shown}\n{margin} | {indent}{marker}")
}

/// Control characters would act on the terminal that shows the line.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_characters_and_lines_from_one() {
        let source = SourceText::new("a.yaml", "one: 1\r\nzwö: é!\n");
        let at = source.text.find('!').expect("it is there");
        assert_eq!(
            source
                .place(Span {
                    start: at,
                    end: at + 1
                })
                .to_string(),
            "a.yaml:2:7"
        );
        insta::assert_snapshot!(source.snippet(Span { start: at, end: at + 1 }), @"
          |
        2 | zwö: é!
          |       ^
        ");
    }

    #[test]
    fn a_snippet_is_short_and_harmless_whatever_the_line() {
        let text = format!("{}\u{1b}[31mX", "x".repeat(100_000));
        let source = SourceText::new("a.yaml", &text);
        let snippet = source.snippet(Span {
            start: text.len() - 1,
            end: text.len(),
        });
        assert!(
            snippet.len() < 500 && !snippet.contains('\u{1b}'),
            "{snippet}"
        );
        assert!(
            source
                .snippet(Span {
                    start: text.len() + 50,
                    end: text.len() + 60
                })
                .len()
                < 500
        );
    }

    #[test]
    fn the_value_of_a_key_that_names_a_secret_is_blanked() {
        for (line, shown) in [
            ("token: hunter2", "token: ***"),
            (
                "auth: {token: \"hunter2\", more: x}",
                "auth: {token: ***, more: x}",
            ),
            ("  Authorization: Bearer abc def", "  Authorization: ***"),
            ("secret_access_key = 'x, y'", "secret_access_key = ***"),
            ("secret = 'x, y' # no", "secret = *** # no"),
            (
                "url: \"http://user:hun/ter2@host/a?b=c@d\"",
                "url: \"http://user:hun/ter2@host/a?b=c@d\"",
            ),
            (
                "url: \"http://user:hunter2@host/a?b=c@d\", u: http://host:80/x",
                "url: \"http://user:***@host/a?b=c@d\", u: http://host:80/x",
            ),
            (
                "postgres://me:${secret:pw}@db/x",
                "postgres://me:${secret:pw}@db/x",
            ),
            ("auth: {bearer: hunter2}", "auth: {bearer: ***}"),
            ("X-Api-Key: hunter2", "X-Api-Key: ***"),
            (
                "{password: a, api_key: 'b'}",
                "{password: ***, api_key: ***}",
            ),
            ("token: \"${secret:door}\"", "token: \"${secret:door}\""),
            ("token: {param: x}", "token: {param: x}"),
            ("token:", "token:"),
            ("password: \"unclosed", "password: ***"),
        ] {
            assert_eq!(without_secrets(line), shown);
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_column() {
        let source = SourceText::new("a.yaml", "\u{feff}key: 1");
        assert_eq!(source.place(Span { start: 3, end: 6 }).column, 1);
    }
}
