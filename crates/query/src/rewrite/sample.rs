//! `TABLESAMPLE (p PERCENT)`: each row with this chance. Other forms are refused, never ignored.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectNamePart, SetExpr, Statement, TableAlias, TableFactor, TableSample,
    TableSampleKind, TableSampleUnit, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::parser::Parser;
use forebay_core::Error;

use super::{Reader, unsupported};
use crate::dialect::ForebayDialect;

const HINT: &str =
    "write TABLESAMPLE (10 PERCENT), or ORDER BY random() LIMIT n for a number of rows";

/// Replaces a sampled table, function or subquery by a query that takes each row with the wanted chance.
pub(super) fn replace(factor: &mut TableFactor, reader: Reader) -> ControlFlow<Box<Error>> {
    let Some(clause) = take_clause(factor) else {
        return ControlFlow::Continue(());
    };
    let refused = |message: &str, hint| ControlFlow::Break(unsupported(factor, message, hint));
    if reader == Reader::Table {
        let message = "TABLESAMPLE gives other rows on each run";
        return refused(message, "filter by a value of the record instead");
    }
    let Some(share) = share(&clause) else {
        let clause = clause.to_string();
        return refused(&format!("{} is not supported", clause.trim()), HINT);
    };
    if matches!(factor, TableFactor::Derived { lateral: true, .. }) {
        let hint = "write WHERE random() < 0.1 within the subquery";
        return refused("TABLESAMPLE of LATERAL is not supported", hint);
    }
    let text = format!("SELECT * FROM __sampled WHERE random() < {share}");
    let parsed = Parser::parse_sql(&ForebayDialect, &text).ok();
    let Some(Statement::Query(mut query)) = parsed.and_then(|mut all| all.pop()) else {
        return refused("TABLESAMPLE of this table is not supported", HINT);
    };
    let alias = take_alias(factor);
    // The table keeps its position in the text, for errors that name it.
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(from) = select.from.first_mut()
    {
        std::mem::swap(&mut from.relation, factor);
    }
    *factor = TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias,
        sample: None,
    };
    ControlFlow::Continue(())
}

fn take_clause(factor: &mut TableFactor) -> Option<Box<TableSample>> {
    let (TableFactor::Table { sample, .. } | TableFactor::Derived { sample, .. }) = factor else {
        return None;
    };
    match sample.take()? {
        TableSampleKind::BeforeTableAlias(clause) | TableSampleKind::AfterTableAlias(clause) => {
            Some(clause)
        }
    }
}

/// The name by which the statement knows the rows.
fn take_alias(factor: &mut TableFactor) -> Option<TableAlias> {
    match factor {
        TableFactor::Derived { alias, .. } => alias.take(),
        TableFactor::Table { name, alias, .. } => {
            let last = name.0.last().and_then(ObjectNamePart::as_ident);
            let own = last.map(|ident| ident.value.clone()).unwrap_or_default();
            let own = own.split('@').next().unwrap_or_default().to_owned();
            Some(alias.take().unwrap_or(TableAlias {
                explicit: true,
                name: Ident::with_quote('"', own),
                columns: Vec::new(),
            }))
        }
        _ => None,
    }
}

/// The chance of a row, 0 to 1.
fn share(sample: &TableSample) -> Option<f64> {
    if sample.seed.is_some() || sample.bucket.is_some() || sample.offset.is_some() {
        return None;
    }
    let quantity = sample.quantity.as_ref()?;
    if matches!(quantity.unit, Some(TableSampleUnit::Rows)) {
        return None;
    }
    let Expr::Value(ValueWithSpan {
        value: Value::Number(digits, _),
        ..
    }) = &quantity.value
    else {
        return None;
    };
    let percent: f64 = digits.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}
