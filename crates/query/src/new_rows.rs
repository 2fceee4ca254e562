//! `${new:namespace.table}`: the rows of a table that are new since the position of the pipeline whose source the statement is.
//!
//! Folded into the name as a clause before parsing, as those about time are (`as_of`), so that places in messages stay those of the text:
//! `${new:sales.orders}` becomes `sales."orders@new"`. The statement comes with the ranges of new rows ([`LakeStatement::new`]).
//!
//! [`LakeStatement::new`]: forebay_core::LakeStatement::new

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};
use forebay_core::{Error, Result, TableName};

use crate::time_clause::{MARK, NEW};

/// Folds every `${new:…}` into the name of its table; gives their number too.
///
/// Errors: `Config` `bad_new_rows`.
pub(crate) fn fold(tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, usize)> {
    let mut folded = Vec::with_capacity(tokens.len());
    let mut references = 0;
    let mut rest = tokens.as_slice();
    while let Some((first, after)) = rest.split_first() {
        if !begins_reference(first, after) {
            folded.push(first.clone());
            rest = after;
            continue;
        }
        let (name, taken) = read_reference(after).ok_or_else(|| bad_name(first))?;
        let words = [
            Token::Word(word(name.namespace.as_str())),
            Token::Period,
            Token::Word(word(&format!("{}{MARK}{NEW}", name.name))),
        ];
        folded.extend(words.map(|token| TokenWithSpan::new(token, first.span)));
        references += 1;
        rest = &after[taken..];
    }
    Ok((folded, references))
}

/// `$` and then `{`.
fn begins_reference(first: &TokenWithSpan, after: &[TokenWithSpan]) -> bool {
    let is_dollar = matches!(&first.token, Token::Placeholder(name) if name == "$");
    is_dollar && after.first().map(|token| &token.token) == Some(&Token::LBrace)
}

/// Reads `{new:namespace.table}`; gives the number of its tokens too.
fn read_reference(tokens: &[TokenWithSpan]) -> Option<(TableName, usize)> {
    let end = tokens
        .iter()
        .position(|token| token.token == Token::RBrace)?;
    let written: String = tokens[1..end]
        .iter()
        .map(|token| token.token.to_string())
        .collect();
    let name = written.strip_prefix(NEW)?.strip_prefix(':')?;
    Some((name.parse().ok()?, end + 1))
}

fn word(name: &str) -> Word {
    Word {
        value: name.to_owned(),
        quote_style: Some('"'),
        keyword: Keyword::NoKeyword,
    }
}

fn bad_name(at: &TokenWithSpan) -> Error {
    let place = at.span.start;
    let what = format!(
        "{}:{}: expected `${{new:namespace.table}}`",
        place.line, place.column
    );
    Error::config("bad_new_rows", what)
        .with_hint("write `FROM ${new:sales.orders}` for the rows of sales.orders that are new")
}

/// A statement that no pipeline runs has no position.
///
/// Errors: `Config` `no_new_rows`.
pub(crate) fn refuse_outside(name: &TableName) -> Error {
    let what = format!(
        "`${{new:{name}}}` has a meaning only in a pipeline, in its `source: {{query: …}}`"
    );
    Error::config("no_new_rows", what).with_hint(format!("write {name} to read all of its rows"))
}

/// Refuses tables whose changes are not new rows.
///
/// Errors: `Config` `no_new_rows`.
pub(crate) fn refuse_times(name: &TableName) -> Error {
    let what = format!(
        "`${{new:{name}}}` cannot be read as of another time, nor of a bitemporal table, whose rows of the past change too"
    );
    Error::config("no_new_rows", what).with_hint(format!(
        "read {name} as a whole, and load `mode: replace` or `bitemporal`"
    ))
}

/// A state whose rows were read into other files since, and which was cleaned away before it was read here.
pub(crate) fn gone(name: &TableName) -> Error {
    let what = format!("the state of {name} with rows that were not read yet is no longer kept");
    Error::not_found("no_such_snapshot", what)
        .with_hint("run the pipeline once with `--full` to read all rows of its tables")
}

#[cfg(test)]
mod tests {
    use crate::statement;

    #[test]
    fn a_reference_becomes_part_of_the_name() {
        let shown = |sql: &str| statement::read(sql).map(|read| read.to_string());
        let folded =
            shown("select o.id from ${new:sales.orders} o join sales.items i on i.o = o.id");
        assert_eq!(
            folded.unwrap(),
            "SELECT o.id FROM \"sales\".\"orders@new\" o JOIN sales.items i ON i.o = o.id"
        );
        let folded = shown("select orders.id from ${new:sales.orders}");
        assert!(folded.unwrap().ends_with("AS \"orders\""));
        for bad in [
            "${new:sales}",
            "${new:}",
            "${old:sales.orders}",
            "${new:sales.orders",
        ] {
            let error = shown(&format!("select * from {bad}")).unwrap_err();
            assert_eq!(error.code(), "bad_new_rows", "{bad}");
            assert!(error.message().starts_with("1:15: "), "{}", error.message());
        }
        assert_eq!(
            shown("select 1 as a, ${new:s.t}").unwrap_err().code(),
            "bad_as_of"
        );
    }
}
