//! Columns and fields of structs in `ALTER TABLE`: `RENAME COLUMN address.zip TO postcode`, `DROP COLUMN items.sku`,
//! `ADD COLUMN items.price double`.
//!
//! The parser takes one name there. A path is folded into one before parsing, as clauses about time are into the names of tables.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use crate::name::normal;

/// Between the names of a folded path; no name of a column has it.
const SEPARATOR: char = '\u{1f}';

/// The names of the structs around a field, outermost first, and its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColumnPath(pub(crate) Vec<String>);

impl ColumnPath {
    pub(crate) fn of(name: &Ident) -> Self {
        let name = normal(name);
        Self(name.split(SEPARATOR).map(str::to_owned).collect())
    }
}

/// Folds the paths behind `COLUMN` of an `ALTER TABLE`; other statements stay as they are.
pub(crate) fn fold(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let first = tokens.iter().find_map(word);
    if first.map(|word| word.keyword) != Some(Keyword::ALTER) {
        return tokens;
    }
    let mut folded: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.as_slice();
    let mut is_column = false;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let keyword = word(token).map(|word| word.keyword);
        match keyword {
            Some(Keyword::COLUMN) => is_column = true,
            Some(Keyword::IF | Keyword::NOT | Keyword::EXISTS) if is_column => {}
            Some(_) if is_column => {
                is_column = false;
                let (path, taken) = path_of(token, after);
                rest = &after[taken..];
                folded.push(path);
                continue;
            }
            _ => {}
        }
        folded.push(token.clone());
    }
    folded
}

fn word(token: &TokenWithSpan) -> Option<&Word> {
    match &token.token {
        Token::Word(word) => Some(word),
        _ => None,
    }
}

/// The path that begins with a name, and the number of tokens behind that name.
fn path_of(first: &TokenWithSpan, after: &[TokenWithSpan]) -> (TokenWithSpan, usize) {
    let mut names: Vec<String> = word(first).map(name).into_iter().collect();
    let mut taken = 0;
    while let [dot, next, ..] = &after[taken..]
        && dot.token == Token::Period
        && let Some(part) = word(next)
    {
        names.push(name(part));
        taken += 2;
    }
    if taken == 0 {
        return (first.clone(), 0);
    }
    let word = Word {
        value: names.join(&SEPARATOR.to_string()),
        quote_style: Some('"'),
        keyword: Keyword::NoKeyword,
    };
    (TokenWithSpan::new(Token::Word(word), first.span), taken)
}

fn name(word: &Word) -> String {
    normal(&word.clone().into_ident(Span::empty()))
}
