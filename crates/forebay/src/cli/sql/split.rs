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
    let found = scan(text).statements.into_iter();
    let found = found.filter(|statement| statement.has_words);
    found.map(|statement| statement.text).collect()
}

/// Whether the last statement of the text has its `;`, so that nothing more is expected.
pub(super) fn is_complete(text: &str) -> bool {
    let scanned = scan(text);
    match scanned.end {
        Inside::Quote(_) | Inside::BlockComment(_) => false,
        Inside::Statement | Inside::LineComment => {
            let last = scanned.statements.last();
            last.is_none_or(|statement| !statement.has_words)
        }
    }
}

struct Scanned<'a> {
    statements: Vec<ScannedStatement<'a>>,
    end: Inside,
}

struct ScannedStatement<'a> {
    text: &'a str,
    /// Whether there is more than blanks and comments.
    has_words: bool,
}

fn scan(text: &str) -> Scanned<'_> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut has_words = false;
    let mut inside = Inside::Statement;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let entered = inside.after(c, next);
        if entered.is_pair {
            chars.next();
        }
        if inside == Inside::Statement {
            match (entered.inside, c) {
                (Inside::Statement, ';') => {
                    let text = &text[start..at];
                    statements.push(ScannedStatement { text, has_words });
                    start = at + 1;
                    has_words = false;
                }
                (Inside::LineComment | Inside::BlockComment(_), _) => {}
                _ => has_words |= !c.is_whitespace(),
            }
        }
        inside = entered.inside;
    }
    let text = &text[start..];
    statements.push(ScannedStatement { text, has_words });
    Scanned {
        statements,
        end: inside,
    }
}

/// What follows a character.
struct Entered {
    inside: Inside,
    /// Whether the next character belongs to this one, as in `--`.
    is_pair: bool,
}

impl Inside {
    fn after(self, c: char, next: Option<char>) -> Entered {
        let is_pair = |pair: [char; 2]| [Some(pair[0]), Some(pair[1])] == [Some(c), next];
        let single = |inside| Entered {
            inside,
            is_pair: false,
        };
        let pair = |inside| Entered {
            inside,
            is_pair: true,
        };
        match self {
            Self::Statement if matches!(c, '\'' | '"') => single(Self::Quote(c)),
            Self::Statement if is_pair(['-', '-']) => pair(Self::LineComment),
            Self::Statement if is_pair(['/', '*']) => pair(Self::BlockComment(1)),
            Self::Quote(quote) if c == quote => single(Self::Statement),
            Self::LineComment if c == '\n' => single(Self::Statement),
            Self::BlockComment(depth) if is_pair(['/', '*']) => pair(Self::BlockComment(depth + 1)),
            Self::BlockComment(depth) if is_pair(['*', '/']) => pair(leave_comment(depth)),
            other => single(other),
        }
    }
}

fn leave_comment(depth: u32) -> Inside {
    match depth {
        0 | 1 => Inside::Statement,
        depth => Inside::BlockComment(depth - 1),
    }
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
        assert_eq!(trimmed("/* a /* b */ */ ; 1 - -1 / 2"), ["1 - -1 / 2"]);
        assert_eq!(trimmed("/*/ ; */ select 1;"), ["/*/ ; */ select 1"]);
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
