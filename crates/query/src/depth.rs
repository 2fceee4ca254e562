//! Bounds how deep the tree of a statement can be, from its tokens alone, before there is a tree.
//!
//! A tree is dropped, cloned, compared and evaluated by recursion, so a chain of half a million `+` would overflow the
//! stack long after it was parsed. The bound counts too much rather than too little.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use forebay_core::{Error, Result};

/// Deepest nesting of parentheses, brackets and subqueries.
pub const NESTING_MAX: usize = 64;
/// Deepest expression: each operator of a chain (`a + b + …`, `… OR …`, `… UNION …`) is one level. Recursion in planning, execution and
/// drop then fits in half of the stack of a planning thread, also without optimization.
pub const DEPTH_MAX: usize = 100;

/// Refuses a statement that is nested or chained too deeply.
pub(crate) fn bound(tokens: &[TokenWithSpan]) -> Result<()> {
    let mut levels = vec![Level::default()];
    for token in tokens {
        let nested = levels.len() > 1;
        let Some(level) = levels.last_mut() else {
            break;
        };
        match &token.token {
            Token::LParen | Token::LBrace => levels.push(Level::default()),
            Token::LBracket => {
                // `a[1][2]`: each subscript is around the one before.
                level.inner += 1;
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket | Token::RBrace if nested => close(&mut levels),
            Token::Comma | Token::SemiColon => level.next_item(),
            other => match sort(other) {
                Sort::Plain => continue,
                Sort::Joins => level.join(),
                Sort::Operates => level.inner += 1,
            },
        }
        let start = token.span.start;
        let deepest = levels.last().map_or(0, Level::depth);
        if levels.len() > NESTING_MAX || deepest > DEPTH_MAX {
            return Err(too_deep(start.line, start.column));
        }
    }
    Ok(())
}

fn too_deep(line: u64, column: u64) -> Error {
    let what = format!(
        "{line}:{column}: the statement is too deep: at most {NESTING_MAX} parentheses in one another and {DEPTH_MAX} operators in a row"
    );
    Error::config("sql_too_deep", what).with_hint(
        "use IN (…) or a join with VALUES for long conditions, and WITH for nested queries",
    )
}

fn close(levels: &mut Vec<Level>) {
    let closed = levels.pop().map_or(0, |level| level.depth());
    if let Some(outer) = levels.last_mut() {
        outer.child = outer.child.max(closed + 1);
    }
}

/// The inside of one pair of parentheses, or the outermost text.
#[derive(Debug, Default)]
struct Level {
    /// Loosely binding operators of this list item: `AND`, `UNION`, `JOIN`.
    chain: usize,
    /// Operators since the last loosely binding one, and the most so far.
    inner: usize,
    inner_max: usize,
    /// Depth of the deepest parentheses in this item.
    child: usize,
    /// Depth of the deepest item before this one.
    done: usize,
}

impl Level {
    fn depth(&self) -> usize {
        self.done
            .max(self.chain + self.inner.max(self.inner_max) + self.child)
    }

    fn join(&mut self) {
        self.chain += 1;
        self.inner_max = self.inner_max.max(self.inner);
        self.inner = 0;
    }

    fn next_item(&mut self) {
        *self = Self {
            done: self.depth(),
            ..Self::default()
        };
    }
}

enum Sort {
    Plain,
    Joins,
    Operates,
}

fn sort(token: &Token) -> Sort {
    match token {
        Token::Word(word) => sort_word(word.keyword),
        Token::Whitespace(_) | Token::EOF | Token::Number(..) | Token::Placeholder(_) => {
            Sort::Plain
        }
        Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_) => Sort::Plain,
        Token::HexStringLiteral(_) | Token::NationalStringLiteral(_) => Sort::Plain,
        _ => Sort::Operates,
    }
}

fn sort_word(keyword: Keyword) -> Sort {
    match keyword {
        Keyword::AND
        | Keyword::OR
        | Keyword::UNION
        | Keyword::INTERSECT
        | Keyword::EXCEPT
        | Keyword::JOIN => Sort::Joins,
        Keyword::CASE | Keyword::EXPLAIN | Keyword::SELECT | Keyword::WITH => Sort::Joins,
        Keyword::NOT
        | Keyword::IS
        | Keyword::IN
        | Keyword::LIKE
        | Keyword::ILIKE
        | Keyword::BETWEEN => Sort::Operates,
        Keyword::COLLATE
        | Keyword::AT
        | Keyword::INTERVAL
        | Keyword::SIMILAR
        | Keyword::DIV
        | Keyword::PRIOR => Sort::Operates,
        _ => Sort::Plain,
    }
}
