//! `GROUPING SETS`, `ROLLUP` and `CUBE` with everything that SQL lets be in them: single keys, lists of keys, and each other.
//!
//! The parser's own rules take lists in parentheses only. Here each element is an expression, so that `(a + b) * 2` is one too.

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Parses such an element where one begins.
pub(super) fn parse(parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
    let first = keyword(&parser.peek_nth_token_ref(0).token);
    match first {
        Some(Keyword::ROLLUP) if opens(parser, 1) => Some(elements(parser, 1).map(Expr::Rollup)),
        Some(Keyword::CUBE) if opens(parser, 1) => Some(elements(parser, 1).map(Expr::Cube)),
        Some(Keyword::GROUPING)
            if keyword(&parser.peek_nth_token_ref(1).token) == Some(Keyword::SETS)
                && opens(parser, 2) =>
        {
            Some(elements(parser, 2).map(Expr::GroupingSets))
        }
        None if opens(parser, 0) && parser.peek_nth_token_ref(1).token == Token::RParen => {
            parser.next_token();
            parser.next_token();
            Some(Ok(Expr::Tuple(Vec::new())))
        }
        _ => None,
    }
}

fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

fn opens(parser: &Parser, at: usize) -> bool {
    parser.peek_nth_token_ref(at).token == Token::LParen
}

/// The elements behind some words, each alone in its list.
fn elements(parser: &mut Parser, words: usize) -> Result<Vec<Vec<Expr>>, ParserError> {
    for _ in 0..words {
        parser.next_token();
    }
    parser.expect_token(&Token::LParen)?;
    let elements = parser.parse_comma_separated(Parser::parse_expr)?;
    parser.expect_token(&Token::RParen)?;
    Ok(elements.into_iter().map(|element| vec![element]).collect())
}
