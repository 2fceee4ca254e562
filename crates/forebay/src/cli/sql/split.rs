//! Splitting a text into statements at `;` outside of quotes and comments. Nothing here knows SQL beyond that.

use forebay_core::Error;
use forebay_query::StatementStart;

/// The state of a scan of SQL text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Statement,
    Quote(char),
    LineComment,
    /// `/* … */`, which nest in SQL.
    BlockComment(u32),
}

/// A statement of a text.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct ScriptStatement<'a> {
    pub(in crate::cli) text: &'a str,
    /// Where it begins: errors name the place in the whole text.
    pub(in crate::cli) start: StatementStart,
    /// Its first word, behind comments: the place of errors that have none.
    first_word: StatementStart,
    /// Whether the text has no other, so that an error without a place is found all the same.
    pub(super) is_alone: bool,
}

impl<'a> ScriptStatement<'a> {
    /// A text that is one statement.
    pub(super) fn whole(text: &'a str) -> Self {
        let start = StatementStart::default();
        Self {
            text,
            start,
            first_word: start,
            is_alone: true,
        }
    }

    /// The error of the statement with its place in the whole text.
    pub(in crate::cli) fn locate(&self, error: Error) -> Error {
        match self.is_alone {
            true => self.start.locate(error),
            false => self.start.locate_or_begin(error, self.first_word),
        }
    }
}

/// The mark with which some editors begin a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The statements of a text, without their `;`; those of blanks and comments only are left out, and so is a byte order mark.
pub(in crate::cli) fn statements(text: &str) -> Vec<ScriptStatement<'_>> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut found = Vec::new();
    let mut start = StatementStart::default();
    let mut passed = 0;
    for scanned in scan(text).statements {
        let Some(first_word) = scanned.first_word else {
            continue;
        };
        let statement = scanned.text.trim_start();
        let at = scanned.start + scanned.text.len() - statement.len();
        start = start.plus(StatementStart::after(&text[passed..at]));
        passed = at;
        found.push(ScriptStatement {
            text: statement,
            start,
            first_word: start.plus(StatementStart::after(&text[at..first_word.max(at)])),
            is_alone: false,
        });
    }
    if let [only] = found.as_mut_slice() {
        only.is_alone = true;
    }
    found
}

/// Whether the last statement of the text has its `;`, so that nothing more is expected.
pub(super) fn is_complete(text: &str) -> bool {
    let scanned = scan(text);
    match scanned.end {
        Inside::Quote(_) | Inside::BlockComment(_) => false,
        Inside::Statement | Inside::LineComment => {
            let last = scanned.statements.last();
            last.is_none_or(|statement| statement.first_word.is_none())
        }
    }
}

struct Scanned<'a> {
    statements: Vec<ScannedStatement<'a>>,
    end: Inside,
}

struct ScannedStatement<'a> {
    text: &'a str,
    /// Byte in the whole text.
    start: usize,
    /// Byte of the first word in the whole text; `None` where there are blanks and comments only.
    first_word: Option<usize>,
}

fn scan(text: &str) -> Scanned<'_> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut first_word = None;
    let mut inside = Inside::Statement;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if inside == Inside::Statement
            && let Some(length) = long_literal(text, at)
        {
            first_word.get_or_insert(at);
            let end = at + length.unwrap_or(text.len() - at);
            while chars.next_if(|(at, _)| *at < end).is_some() {}
            if length.is_none() {
                inside = Inside::Quote(c);
            }
            continue;
        }
        let next = chars.peek().map(|(_, next)| *next);
        let entered = inside.after(c, next);
        if entered.is_pair {
            chars.next();
        }
        if inside == Inside::Statement {
            match (entered.inside, c) {
                (Inside::Statement, ';') => {
                    statements.push(ScannedStatement {
                        text: &text[start..at],
                        start,
                        first_word: first_word.take(),
                    });
                    start = at + 1;
                }
                (Inside::LineComment | Inside::BlockComment(_), _) => {}
                _ if c.is_whitespace() => {}
                _ => {
                    first_word.get_or_insert(at);
                }
            }
        }
        inside = entered.inside;
    }
    // A comment without an end is a mistake that the parser names.
    if matches!(inside, Inside::BlockComment(_)) {
        first_word.get_or_insert(start);
    }
    statements.push(ScannedStatement {
        text: &text[start..],
        start,
        first_word,
    });
    Scanned {
        statements,
        end: inside,
    }
}

/// The length of the literal that begins at `at`, when it is one in which a quote alone is no end: `$tag$ … $tag$` or `E'…\'…'`. Within,
/// `None` for one without an end.
fn long_literal(text: &str, at: usize) -> Option<Option<usize>> {
    let rest = &text[at..];
    match rest.chars().next()? {
        '$' if !follows_word(text, at) => {
            let name = rest[1..].find(|c: char| !is_word(c))?;
            let tag = rest.get(..name + 2).filter(|tag| tag.ends_with('$'))?;
            let is_name = !tag[1..].starts_with(|c: char| c.is_ascii_digit());
            let end = rest[tag.len()..].find(tag);
            is_name.then(|| end.map(|end| end + 2 * tag.len()))
        }
        'e' | 'E' if !follows_word(text, at) && rest[1..].starts_with('\'') => {
            let mut is_escaped = false;
            let end = rest[2..].find(|c| {
                let is_end = c == '\'' && !is_escaped;
                is_escaped = c == '\\' && !is_escaped;
                is_end
            });
            Some(end.map(|end| end + 3))
        }
        _ => None,
    }
}

fn follows_word(text: &str, at: usize) -> bool {
    text[..at].chars().next_back().is_some_and(is_word)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The next state after a character.
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
        let found = statements(text).into_iter();
        found.map(|statement| statement.text.trim()).collect()
    }

    #[test]
    fn a_semicolon_in_a_long_literal_ends_nothing() {
        for text in [
            "select $$a;b'$$ x",
            "select $t$a;$$b$t$ x",
            "select E'a\\';b' x",
            "select e'\\\\' x, ';'",
        ] {
            assert_eq!(trimmed(&format!("{text}; select 2")), [text, "select 2"]);
            assert!(is_complete(&format!("{text};")) && !is_complete(text));
        }
        assert_eq!(
            trimmed("select $1; select name'a;b'"),
            ["select $1", "select name'a;b'"]
        );
        assert!(!is_complete("select $$a;") && !is_complete("select E'a\\';"));
    }

    #[test]
    fn a_comment_without_an_end_is_not_left_out() {
        assert_eq!(
            trimmed("select 1; /* select 2;"),
            ["select 1", "/* select 2;"]
        );
    }

    #[test]
    fn each_statement_knows_its_place() {
        let found = statements("select 1;\n  -- é\n ; select 2; /* é */ select 3");
        let words = found.iter().map(|one| one.first_word.columns);
        assert_eq!(words.collect::<Vec<_>>(), [0, 3, 21]);
        let places = found
            .iter()
            .map(|one| (one.start.lines, one.start.columns, one.text.trim()));
        assert_eq!(
            places.collect::<Vec<_>>(),
            [
                (0, 0, "select 1"),
                (2, 3, "select 2"),
                (2, 13, "/* é */ select 3")
            ]
        );
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
