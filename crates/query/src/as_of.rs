//! `table FOR SYSTEM_TIME AS OF <instant or commit>`: time travel of one table inside a statement; `FOR VALID_TIME …` of bitemporal ones.
//!
//! The engine's planner knows no table versions, so the clauses are folded into the table's name before parsing:
//! `quakes.events FOR SYSTEM_TIME AS OF '2026-01-01'` becomes `quakes."events@2026-01-01"`, which the catalog
//! resolves (`time_clause`). The table keeps its own name as alias, so that `events.id` still works.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectNamePart, TableAlias, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};
use forebay_core::{CommitId, Error, RefName, Result, Timestamp};
use forebay_store::AsOf;

use crate::dialect::ForebayDialect;
use crate::new_rows;
use crate::time_clause::{ClausedName, Dimension, MARK, Span, TimeClause};

/// The word that begins a clause about valid time; no keyword of the parser.
const VALID_TIME: &str = "valid_time";

/// Folds every `FOR SYSTEM_TIME …` and `FOR VALID_TIME …` into the name before it.
///
/// Gives the number of clauses too: [`check_places`] finds out whether each was put into the name of a table.
pub(crate) fn fold(tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, usize)> {
    let mut clauses = 0;
    let mut folded: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let words = Words::after(&tokens, at);
        let is_for = keyword(&tokens[at]) == Some(Keyword::FOR);
        let Some(dimension) = is_for.then(|| dimension(words)).flatten() else {
            folded.push(tokens[at].clone());
            at += 1;
            continue;
        };
        let (span, end) = span(words, &tokens[at])?;
        mark_name(&mut folded, TimeClause { dimension, span }, &tokens[at])?;
        clauses += 1;
        at = end;
    }
    Ok((folded, clauses))
}

/// A name that clauses were folded into, and the plain name.
pub(crate) struct FoldedName {
    folded: String,
    plain: String,
}

/// The names of a statement that clauses were folded into.
pub(crate) fn folded_names(sql: &str) -> Vec<FoldedName> {
    let Ok(tokens) = Tokenizer::new(&ForebayDialect, sql).tokenize_with_location() else {
        return Vec::new();
    };
    let folded = new_rows::fold(tokens).and_then(|(tokens, references)| {
        let (tokens, clauses) = fold(tokens)?;
        Ok((tokens, references + clauses))
    });
    let tokens = match folded {
        Ok((tokens, 1..)) => tokens,
        _ => return Vec::new(),
    };
    let names = tokens.into_iter().filter_map(|token| match token.token {
        Token::Word(word) => {
            let (plain, _) = word.value.split_once(MARK)?;
            Some(FoldedName {
                plain: plain.to_owned(),
                folded: word.value.clone(),
            })
        }
        _ => None,
    });
    names.collect()
}

/// A message with names as the statement has them.
pub(crate) fn unfold(text: &str, names: &[FoldedName]) -> String {
    let mut text = text.to_owned();
    for FoldedName { folded, plain } in names {
        text = text.replace(&format!("\"{folded}\""), plain);
        text = text.replace(folded, plain);
    }
    text
}

/// Errors: `Config` `bad_as_of` when a clause does not follow the name of a table, but its alias or something else.
pub(crate) fn check_places(statement: &Statement, clauses: usize) -> Result<()> {
    let mut found = Clauses(0);
    match statement {
        Statement::Statement(inner) => drop(inner.visit(&mut found)),
        Statement::Explain(explain) => return check_places(&explain.statement, clauses),
        _ => {}
    }
    match found.0 >= clauses {
        true => Ok(()),
        false => Err(misplaced()),
    }
}

fn misplaced() -> Error {
    let what =
        "FOR SYSTEM_TIME and FOR VALID_TIME must follow the name of a table, before its alias";
    Error::config("bad_as_of", what)
        .with_hint("write FROM t FOR SYSTEM_TIME AS OF '2026-01-31T12:00:00Z' AS a")
}

/// Counts the clauses in names of tables.
struct Clauses(usize);

impl Visitor for Clauses {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last()
        {
            self.0 += last.value.matches(MARK).count();
        }
        ControlFlow::Continue(())
    }
}

/// What a clause is about; `None` when the words are none.
fn dimension(mut words: Words<'_>) -> Option<Dimension> {
    let first = words.take()?;
    let begins = words.peek().and_then(keyword);
    if is_valid_time(first) {
        let forms = [Keyword::AS, Keyword::FROM, Keyword::BETWEEN];
        return begins
            .is_some_and(|word| forms.contains(&word))
            .then_some(Dimension::Valid);
    }
    let word = keyword(first).filter(|word| is_version(*word))?;
    // `FOR SYSTEM_TIME` alone is a clause without its end, the other words may be names.
    let is_clause = word == Keyword::SYSTEM_TIME || begins == Some(Keyword::AS);
    is_clause.then_some(Dimension::System)
}

fn is_valid_time(token: &TokenWithSpan) -> bool {
    matches!(&token.token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(VALID_TIME))
}

/// Words of other engines (Trino, Spark) for the same: a commit or a time.
fn is_version(word: Keyword) -> bool {
    matches!(
        word,
        Keyword::SYSTEM_TIME | Keyword::VERSION | Keyword::TIMESTAMP
    )
}

/// Walks over tokens, leaving out spaces and comments.
#[derive(Clone, Copy)]
struct Words<'a> {
    tokens: &'a [TokenWithSpan],
    /// The last token taken.
    at: usize,
}

impl<'a> Words<'a> {
    fn after(tokens: &'a [TokenWithSpan], at: usize) -> Self {
        Self { tokens, at }
    }

    fn peek(mut self) -> Option<&'a TokenWithSpan> {
        self.take()
    }

    fn take(&mut self) -> Option<&'a TokenWithSpan> {
        let next = self
            .tokens
            .iter()
            .enumerate()
            .skip(self.at + 1)
            .find(|(_, token)| !is_space(token))?;
        self.at = next.0;
        Some(next.1)
    }
}

fn keyword(token: &TokenWithSpan) -> Option<Keyword> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// Reads `SYSTEM_TIME AS OF 'x'`, `FROM 'x' TO 'y'` or `BETWEEN 'x' AND 'y'`, and gives the times and the place after it.
fn span(mut words: Words<'_>, start: &TokenWithSpan) -> Result<(Span, usize)> {
    words.take();
    let form = words.take();
    let span = match form.and_then(keyword) {
        Some(Keyword::AS) => {
            expect(&mut words, Keyword::OF, start)?;
            Span::AsOf(time(&mut words, start)?)
        }
        Some(Keyword::FROM) => {
            let from = time(&mut words, start)?;
            expect(&mut words, Keyword::TO, start)?;
            Span::FromTo(from, time(&mut words, start)?)
        }
        Some(Keyword::BETWEEN) => {
            let from = time(&mut words, start)?;
            expect(&mut words, Keyword::AND, start)?;
            Span::Between(from, time(&mut words, start)?)
        }
        _ => return Err(bad_clause(form, start)),
    };
    Ok((span, words.at + 1))
}

fn expect(words: &mut Words<'_>, wanted: Keyword, start: &TokenWithSpan) -> Result<()> {
    let token = words.take();
    match token.and_then(keyword) == Some(wanted) {
        true => Ok(()),
        false => Err(bad_clause(token, start)),
    }
}

/// A time or commit in quotes, with or without `TIMESTAMP` before it.
fn time(words: &mut Words<'_>, start: &TokenWithSpan) -> Result<String> {
    let mut token = words.take();
    if token.and_then(keyword) == Some(Keyword::TIMESTAMP) {
        token = words.take();
    }
    match token.map(|token| &token.token) {
        Some(Token::SingleQuotedString(text)) if !text.contains(MARK) => Ok(text.clone()),
        _ => Err(bad_clause(token, start)),
    }
}

fn bad_clause(token: Option<&TokenWithSpan>, start: &TokenWithSpan) -> Error {
    let place = token.unwrap_or(start).span.start;
    let what = format!(
        "{}:{}: expected AS OF 'a', FROM 'a' TO 'b' or BETWEEN 'a' AND 'b', with times (AS OF takes a commit too) in quotes",
        place.line, place.column
    );
    Error::config("bad_as_of", what).with_hint(
        "write FOR SYSTEM_TIME AS OF '2026-01-31T12:00:00Z', or a commit id from lake.commits in quotes; \
         of bitemporal tables also FROM 'a' TO 'b', BETWEEN 'a' AND 'b', and FOR VALID_TIME",
    )
}

/// Puts the clause behind the last word before it.
fn mark_name(
    folded: &mut [TokenWithSpan],
    clause: TimeClause,
    start: &TokenWithSpan,
) -> Result<()> {
    let place = start.span.start;
    let name = folded.iter_mut().rev().find(|token| !is_space(token));
    match name {
        Some(TokenWithSpan {
            token: Token::Word(word),
            ..
        }) if ClausedName::parse(&word.value)
            .of(clause.dimension)
            .is_none() =>
        {
            let name = if word.quote_style.is_some() {
                word.value.clone()
            } else {
                word.value.to_lowercase()
            };
            *word = Word {
                value: format!("{name}{clause}"),
                quote_style: Some('"'),
                keyword: Keyword::NoKeyword,
            };
            Ok(())
        }
        _ => Err(Error::config(
            "bad_as_of",
            format!(
                "{}:{}: FOR SYSTEM_TIME and FOR VALID_TIME must follow a table name, each once",
                place.line, place.column
            ),
        )
        .with_hint("write FROM t FOR SYSTEM_TIME AS OF '2026-01-31T12:00:00Z'")),
    }
}

/// Gives each versioned table its plain name as alias, unless it has one.
pub(crate) fn keep_aliases(statement: &mut Statement) {
    match statement {
        Statement::Statement(inner) => {
            let _ = inner.visit(&mut Aliases);
        }
        Statement::Explain(explain) => keep_aliases(&mut explain.statement),
        _ => {}
    }
}

struct Aliases;

impl VisitorMut for Aliases {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name,
            alias: alias @ None,
            ..
        } = factor
            && let Some(ObjectNamePart::Identifier(last)) = name.0.last()
            && let Some((plain, _)) = last.value.split_once(MARK)
        {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', plain),
                columns: Vec::new(),
            });
        }
        ControlFlow::Continue(())
    }
}

/// Reads a commit id or an instant on `branch`.
pub fn parse(text: &str, branch: &RefName) -> Result<AsOf> {
    if let Ok(id) = text.parse::<CommitId>() {
        return Ok(AsOf::Commit(id));
    }
    match Timestamp::parse(text) {
        Some(at) => Ok(AsOf::Time(branch.clone(), at)),
        None => Err(Error::config(
            "bad_as_of",
            format!("{text:?} is neither a time nor a commit id"),
        )
        .with_hint(
            "write a time such as '2026-01-31T12:00:00Z', or a commit id from lake.commits",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        let shown = crate::statement::read(sql).map(|statement| statement.to_string());
        match shown {
            Ok(shown) => assert_eq!(shown, expected),
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    #[test]
    fn the_clause_becomes_part_of_the_name() {
        check(
            "select * from a.b for system_time as of '2026-01-01' where b.x > 1",
            "SELECT * FROM a.\"b@2026-01-01\" AS \"b\" WHERE b.x > 1",
        );
        check(
            "select * from a.B FOR SYSTEM_TIME AS OF TIMESTAMP '2026-01-01 00:00:00' old join a.b on true",
            "SELECT * FROM a.\"b@2026-01-01 00:00:00\" old JOIN a.b ON true",
        );
        check(
            "select * from a.b for version as of '01jfz6v6q8k7g5r3m2n1p0qrst'",
            "SELECT * FROM a.\"b@01jfz6v6q8k7g5r3m2n1p0qrst\" AS \"b\"",
        );
        check(
            "select * from a.b for timestamp as of timestamp '2026-01-01 00:00:00'",
            "SELECT * FROM a.\"b@2026-01-01 00:00:00\" AS \"b\"",
        );
        check(
            "explain select 1 from a.b for system_time as of 'x' as c",
            "EXPLAIN SELECT 1 AS \"1\" FROM a.\"b@x\" AS c",
        );
        check(
            "select * from a.b for valid_time as of '2026-01-01' for system_time from timestamp 'x' to 'y' where true",
            "SELECT * FROM a.\"b@valid as of 2026-01-01@system from x to y\" AS \"b\" WHERE true",
        );
        check(
            "select * from a.b for Valid_Time between '1' and '2' c",
            "SELECT * FROM a.\"b@valid between 1 and 2\" c",
        );
        check(
            "select substring('abc' for 2)",
            "SELECT SUBSTRING('abc' FOR 2) AS \"SUBSTRING('abc' FOR 2)\"",
        );
    }

    #[test]
    fn a_version_must_be_a_literal_after_a_name() {
        for bad in [
            "select * from a.b for system_time as of now()",
            "select * from a.b for system_time '2026-01-01'",
            "select * from a.b for version as of 12",
            "select * from a.b for valid_time from '1'",
            "select * from a.b for valid_time as of '1' for valid_time as of '2'",
            "select * from a.b for valid_time as of '1@2'",
            "select * from a.b c for valid_time as of '1'",
            "select * from a.b as c for system_time as of '1'",
            "select * from (select 1) c for version as of '1'",
            "select * from (select 1) for system_time as of '2026-01-01'",
            "select * from a.b for system_time as of '2026-01-01' for system_time as of '2026-01-01'",
        ] {
            assert_eq!(
                crate::statement::read(bad).unwrap_err().code(),
                "bad_as_of",
                "{bad}"
            );
        }
        let main = RefName::main();
        assert!(matches!(parse("2026-01-01", &main), Ok(AsOf::Time(..))));
        assert!(matches!(
            parse("01jfz6v6q8k7g5r3m2n1p0qrst", &main),
            Ok(AsOf::Commit(_))
        ));
        assert!(parse("yesterday", &main).is_err());
    }
}
