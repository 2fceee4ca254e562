//! Places in a text of several statements.
//!
//! An error begins with `line:column: ` in its statement, which is all that the engine sees. Who splits a text into
//! statements moves it to the place in the text.

use forebay_core::Error;

/// Where a statement begins in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatementStart {
    /// Lines before it.
    pub lines: usize,
    /// Characters before it in its first line.
    pub columns: usize,
}

impl StatementStart {
    /// The start of a statement that comes after `before`.
    pub fn after(before: &str) -> Self {
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            lines: before.matches('\n').count(),
            columns: line.chars().count(),
        }
    }

    /// The start of a statement that begins at `next`, counted from here.
    #[must_use]
    pub fn plus(self, next: Self) -> Self {
        let columns = match next.lines {
            0 => self.columns + next.columns,
            _ => next.columns,
        };
        Self {
            lines: self.lines + next.lines,
            columns,
        }
    }

    /// The error with its place in the whole text; one without a place stays as it is.
    pub fn locate(self, error: Error) -> Error {
        error.map_message(|message| self.moved(message).unwrap_or_else(|| message.to_owned()))
    }

    /// The error with its place in the whole text; where it has none, that of the first word of its statement.
    pub fn locate_or_begin(self, error: Error, first_word: Self) -> Error {
        error.map_message(|message| {
            let begin = || {
                let line = first_word.lines + 1;
                let column = first_word.columns + 1;
                format!("{line}:{column}: {message}")
            };
            self.moved(message).unwrap_or_else(begin)
        })
    }

    fn moved(self, message: &str) -> Option<String> {
        let (line, rest) = message.split_once(':')?;
        let (column, rest) = rest.split_once(": ")?;
        let line: usize = line.parse().ok()?;
        let column: usize = column.parse().ok()?;
        let is_first = line == 1;
        let column = column + if is_first { self.columns } else { 0 };
        Some(format!("{}:{column}: {rest}", line + self.lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_moved_to_its_text() {
        let start = StatementStart::after("select 1;\nselect 'ä'; ");
        let moved = |message: &str| {
            let error = Error::config("bad_sql", message).with_hint("h");
            let moved = start.locate(error);
            assert_eq!(moved.hint(), Some("h"));
            moved.message().to_owned()
        };
        assert_eq!(moved("1:8: no column a: b"), "2:20: no column a: b");
        assert_eq!(moved("3:8: no column a"), "4:8: no column a");
        let begun = |message: &str| {
            let first_word = StatementStart::after("select 1;\n  ");
            let error = Error::config("bad_sql", message);
            start
                .locate_or_begin(error, first_word)
                .message()
                .to_owned()
        };
        assert_eq!(begun("division by zero"), "2:3: division by zero");
        assert_eq!(begun("1:8: no column a"), "2:20: no column a");
        for other in ["no place", "a:1: b", "1:2", "x: 1:2: y"] {
            assert_eq!(moved(other), other);
        }
    }
}
