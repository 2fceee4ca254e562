//! Splitting a text into statements at `;` outside of quotes and comments. Nothing here knows SQL beyond that.

/// What a scan of SQL text is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Statement,
    Quote(char),
    LineComment,
    /// `/* … */`, which nest in SQL.
    BlockComment(u32),
}

/// The statements of a text, without their `;`; those of blanks and comments only are left out.
pub(in crate::cli) fn statements(text: &str) -> Vec<&str> {
    let mut found = scan(text).statements;
    found.retain(|statement| has_words(statement));
    found
}

/// Whether the last statement of the text has its `;`, so that nothing more is expected.
pub(super) fn is_complete(text: &str) -> bool {
    let scanned = scan(text);
    match scanned.end {
        Inside::Quote(_) | Inside::BlockComment(_) => false,
        Inside::Statement | Inside::LineComment => {
            !has_words(scanned.statements.last().copied().unwrap_or_default())
        }
    }
}

struct Scanned<'a> {
    statements: Vec<&'a str>,
    end: Inside,
}

fn scan(text: &str) -> Scanned<'_> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut inside = Inside::Statement;
    let mut previous = ' ';
    for (at, c) in text.char_indices() {
        let pair = (previous, c);
        previous = c;
        inside = match inside {
            Inside::LineComment if c == '\n' => Inside::Statement,
            Inside::Quote(quote) if c == quote => Inside::Statement,
            Inside::BlockComment(depth) if pair == ('*', '/') => {
                previous = ' ';
                leave_comment(depth)
            }
            Inside::BlockComment(depth) if pair == ('/', '*') => {
                previous = ' ';
                Inside::BlockComment(depth + 1)
            }
            Inside::Statement => match pair {
                (_, '\'' | '"') => Inside::Quote(c),
                ('-', '-') => Inside::LineComment,
                ('/', '*') => {
                    previous = ' ';
                    Inside::BlockComment(1)
                }
                (_, ';') => {
                    statements.push(&text[start..at]);
                    start = at + 1;
                    Inside::Statement
                }
                _ => Inside::Statement,
            },
            other => other,
        };
    }
    statements.push(&text[start..]);
    Scanned {
        statements,
        end: inside,
    }
}

fn leave_comment(depth: u32) -> Inside {
    match depth {
        0 | 1 => Inside::Statement,
        depth => Inside::BlockComment(depth - 1),
    }
}

/// Whether a text has more than blanks and comments.
fn has_words(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment
                .split_once('\n')
                .map_or("", |(_, after)| after)
                .trim_start();
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = after_block_comment(comment).trim_start();
        } else {
            return !rest.is_empty();
        }
    }
}

fn after_block_comment(comment: &str) -> &str {
    let mut depth = 1;
    let mut at = 0;
    while depth > 0 {
        let open = comment[at..].find("/*");
        let close = comment[at..].find("*/");
        match (open, close) {
            (_, None) => return "",
            (Some(open), Some(close)) if open < close => {
                depth += 1;
                at += open + 2;
            }
            (_, Some(close)) => {
                depth -= 1;
                at += close + 2;
            }
        }
    }
    &comment[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(text: &str) -> Vec<&str> {
        statements(text).into_iter().map(str::trim).collect()
    }

    #[test]
    fn statements_end_at_semicolons_that_are_not_text() {
        assert_eq!(trimmed("select 1; select 2;"), ["select 1", "select 2"]);
        assert_eq!(trimmed("select ';' as a"), ["select ';' as a"]);
        assert_eq!(
            trimmed("-- a; b\nselect 1 -- c;\n;"),
            ["-- a; b\nselect 1 -- c;"]
        );
        assert_eq!(
            trimmed("select /* a; /* ' */ ; */ 1; select 2"),
            ["select /* a; /* ' */ ; */ 1", "select 2"]
        );
        assert_eq!(trimmed(" ;; -- nothing\n/* ; */"), Vec::<&str>::new());
    }

    #[test]
    fn a_quoted_or_commented_semicolon_does_not_complete_a_statement() {
        for open in [
            "select 1",
            "select 'a;",
            "select \"a;",
            "select 1 /* ;",
            "select 1 -- ;",
        ] {
            assert!(!is_complete(open), "{open}");
        }
        for complete in ["select 'a;\nb';", "select 1; -- done", "", "-- only this"] {
            assert!(is_complete(complete), "{complete}");
        }
    }
}
