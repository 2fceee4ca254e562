//! From text to one statement that may run: bounded in size and depth, read-only, `FOR SYSTEM_TIME` resolved.
//!
//! Hostile text ends here with an error. The bounds matter because an expression tree is dropped, cloned and compared
//! by recursion: a chain of half a million `+` would overflow the stack long after it was parsed.

use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{SetExpr, Statement as Sql};
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{TokenWithSpan, Tokenizer};
use forebay_core::{Error, Result};

use crate::dialect::ForebayDialect;
use crate::error::{Phase, explain};
use crate::rewrite::{Reader, rewrite};
use crate::{depth, expansion};

pub use crate::depth::{DEPTH_MAX, NESTING_MAX};

/// Longest statement in bytes.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// Stack of a thread that plans, runs or drops statements. Only the used part takes memory.
pub const STACK_BYTES: usize = 64 << 20;
/// The parser counts several levels for one pair of parentheses.
const PARSER_RECURSION_MAX: usize = 4 * NESTING_MAX;

/// Reads exactly one statement for people: a query, or a question about the catalog.
pub(crate) fn read(sql: &str) -> Result<Statement> {
    let mut statement = one(sql)?;
    only_reading(&statement)?;
    settle(&mut statement)?;
    Ok(statement)
}

/// Reads exactly one `SELECT` over the tables of the lake.
pub(crate) fn read_select(sql: &str) -> Result<Statement> {
    let mut statement = only_select(one(sql)?)?;
    settle(&mut statement)?;
    Ok(statement)
}

/// Rewrites a statement that reads, for people.
pub(crate) fn settle(statement: &mut Statement) -> Result<()> {
    rewrite(statement, Reader::People)?;
    crate::as_of::keep_aliases(statement);
    Ok(())
}

/// Reads exactly one `SELECT` as it is written.
pub(crate) fn parse(sql: &str) -> Result<Statement> {
    only_select(one(sql)?)
}

/// Reads exactly one `SELECT` for a transform.
pub(crate) fn select(sql: &str) -> Result<Statement> {
    let mut statement = parse(sql)?;
    rewrite(&mut statement, Reader::Table)?;
    Ok(statement)
}

fn only_select(statement: Statement) -> Result<Statement> {
    match &statement {
        Statement::Statement(inner) if matches!(inner.as_ref(), Sql::Query(_)) => Ok(statement),
        other => Err(Error::unsupported(
            "not_a_select",
            format!("1:1: only SELECT is allowed here, not {}", verb(other)),
        )),
    }
}

/// Tokens of a text within bounds.
pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>> {
    if sql.len() > STATEMENT_BYTES_MAX {
        return Err(Error::config(
            "sql_too_long",
            format!(
                "the statement has {} bytes, more than {STATEMENT_BYTES_MAX}",
                sql.len()
            ),
        )
        .with_hint("put long lists of values into a table and join it"));
    }
    let tokens = Tokenizer::new(&ForebayDialect, sql)
        .tokenize_with_location()
        .map_err(|error| {
            explain(
                &DataFusionError::SQL(Box::new(ParserError::from(error)), None),
                Phase::Plan,
                sql,
                &[],
            )
        })?;
    depth::bound(&tokens)?;
    Ok(tokens)
}

/// A parser over bounded tokens.
pub(crate) fn parser(
    tokens: Vec<TokenWithSpan>,
    sql: &str,
) -> Result<datafusion::sql::parser::DFParser<'static>> {
    static DIALECT: ForebayDialect = ForebayDialect;
    DFParserBuilder::new(tokens)
        .with_dialect(&DIALECT)
        .with_recursion_limit(PARSER_RECURSION_MAX)
        .build()
        .map_err(|error| explain(&error, Phase::Plan, sql, &[]))
}

/// Exactly one statement, whatever it does.
pub(crate) fn one(sql: &str) -> Result<Statement> {
    let tokens = crate::column_path::fold(tokens(sql)?);
    let (tokens, references) = crate::new_rows::fold(tokens)?;
    let (tokens, clauses) = crate::as_of::fold(tokens)?;
    let mut statements = parser(tokens, sql)?
        .parse_statements()
        .map_err(|error| explain(&error, Phase::Plan, sql, &[]))?;
    match (statements.pop_front(), statements.len()) {
        (Some(statement), 0) => {
            expansion::bound(&statement)?;
            crate::as_of::check_places(&statement, clauses + references)?;
            Ok(statement)
        }
        (None, _) => Err(Error::config("bad_sql", "1:1: the statement is empty")),
        (Some(_), more) => Err(Error::config(
            "bad_sql",
            format!("there are {} statements where one is expected", more + 1),
        )
        .with_hint("send them one at a time")),
    }
}

fn only_reading(statement: &Statement) -> Result<()> {
    let reads = match statement {
        Statement::Statement(inner) => return only_reading_sql(inner),
        Statement::Explain(explain) => return only_reading(&explain.statement),
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) | Statement::Reset(_) => false,
    };
    if reads {
        Ok(())
    } else {
        Err(refused(&verb(statement)))
    }
}

fn only_reading_sql(statement: &Sql) -> Result<()> {
    match statement {
        // `WITH … INSERT`
        Sql::Query(query) => match query.body.as_ref() {
            SetExpr::Insert(changing)
            | SetExpr::Update(changing)
            | SetExpr::Delete(changing)
            | SetExpr::Merge(changing) => Err(refused(first_word(&changing.to_string()))),
            _ => Ok(()),
        },
        Sql::ExplainTable { .. }
        | Sql::ShowTables { .. }
        | Sql::ShowColumns { .. }
        | Sql::ShowFunctions { .. }
        | Sql::ShowVariable { .. } => Ok(()),
        Sql::Explain { statement, .. } => only_reading_sql(statement),
        other => Err(refused(first_word(&other.to_string()))),
    }
}

fn verb(statement: &Statement) -> String {
    first_word(&statement.to_string()).to_owned()
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or("nothing")
}

fn refused(verb: &str) -> Error {
    Error::unsupported("read_only", format!("{verb} is refused: SQL here only reads"))
        .with_hint("allowed are SELECT, WITH, VALUES, EXPLAIN, SHOW and DESCRIBE; tables change through pipelines (`forebay run`), and by CREATE TABLE, INSERT, UPDATE, DELETE, MERGE, TRUNCATE, ALTER TABLE and DROP TABLE in `forebay sql` without --read-only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_that_read_pass() {
        for good in [
            "select 1",
            "with a as (select 1) select * from a",
            "values (1), (2)",
            "explain select 1",
            "explain analyze select 1",
            "show tables",
            "show columns from a.b",
            "describe a.b",
        ] {
            assert!(read(good).is_ok(), "{good}: {:?}", read(good).err());
        }
        for bad in [
            "copy (select 1) to '/tmp/x.csv'",
            "create external table t stored as csv location '/etc/passwd'",
            "explain create table t (a int)",
            "insert into a.b values (1)",
            "update a.b set x = 1",
            "delete from a.b",
            "drop table a.b",
            "create view v as select 1",
            "create table t as select 1",
            "with v as (select 1) insert into a.t select * from v",
            "merge into a.b using a.c on true when matched then delete",
            "set datafusion.execution.batch_size = 1",
            "reset datafusion.execution.batch_size",
            "truncate table a.b",
            "prepare p as select 1",
            "create function f() returns int return 1",
        ] {
            let error = read(bad).unwrap_err();
            assert_eq!(
                error.kind(),
                forebay_core::ErrorKind::Unsupported,
                "{bad}: {error}"
            );
            assert!(error.hint().is_some(), "{bad}");
        }
        assert_eq!(read("select 1; select 2").unwrap_err().code(), "bad_sql");
        assert_eq!(read("  -- nothing").unwrap_err().code(), "bad_sql");
    }

    #[test]
    fn hostile_text_is_refused_before_it_is_parsed() {
        let parens = format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(read(&parens).unwrap_err().code(), "sql_too_deep");
        let chain = format!("select 1{}", "+1".repeat(400_000));
        assert_eq!(read(&chain).unwrap_err().code(), "sql_too_deep");
        let signs = format!("select {}1", "- ".repeat(400_000));
        assert_eq!(read(&signs).unwrap_err().code(), "sql_too_deep");
        let nots = format!("select {} true", "not ".repeat(100_000));
        assert_eq!(read(&nots).unwrap_err().code(), "sql_too_deep");
        let unions = format!("select 1{}", " union select 1".repeat(20_000));
        assert_eq!(read(&unions).unwrap_err().code(), "sql_too_deep");
        let long = format!("select '{}'", "x".repeat(10 << 20));
        assert_eq!(read(&long).unwrap_err().code(), "sql_too_long");
        let cases = format!(
            "select {}1{}",
            "case when true then ".repeat(5_000),
            " end".repeat(5_000)
        );
        assert_eq!(read(&cases).unwrap_err().code(), "sql_too_deep");
        let left = format!("select {}1{}", "(".repeat(50), "+1+1+1+1+1+1)".repeat(50));
        assert_eq!(read(&left).unwrap_err().code(), "sql_too_deep");
        let right = format!("select {}1{}", "1+1+1+1+1+1+(".repeat(50), ")".repeat(50));
        assert_eq!(read(&right).unwrap_err().code(), "sql_too_deep");
        let brackets = format!("select a{}", "[1]".repeat(5_000));
        assert_eq!(read(&brackets).unwrap_err().code(), "sql_too_deep");
        let explains = format!("{} select 1", "explain ".repeat(50_000));
        assert_eq!(read(&explains).unwrap_err().code(), "sql_too_deep");
    }

    #[test]
    fn long_lists_are_not_deep() {
        let list = (0..50_000)
            .map(|n| format!("-{n}"))
            .collect::<Vec<_>>()
            .join(",");
        assert!(read(&format!("select 1 where 5 in ({list})")).is_ok());
        let wheres = (0..80)
            .map(|n| format!("a.x{n} = b.y{n}"))
            .collect::<Vec<_>>()
            .join(" and ");
        assert!(read(&format!("select 1 from x.a, x.b where {wheres}")).is_ok());
        let columns = (0..5_000)
            .map(|n| format!("(a.x{n} + 1) * 2 as c{n}"))
            .collect::<Vec<_>>()
            .join(", ");
        assert!(read(&format!("select {columns} from x.a")).is_ok());
    }

    #[test]
    fn a_syntax_error_says_where() {
        let error = read("select 1\nfrom )").unwrap_err();
        assert!(error.message().starts_with("2:"), "{error}");
    }
}
