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

/// Replaces a sampled table by a query that takes each row with the wanted chance.
pub(super) fn replace(factor: &mut TableFactor, reader: Reader) -> ControlFlow<Box<Error>> {
    let TableFactor::Table {
        name,
        alias,
        sample: sample @ Some(_),
        ..
    } = factor
    else {
        return ControlFlow::Continue(());
    };
    let Some(TableSampleKind::BeforeTableAlias(clause) | TableSampleKind::AfterTableAlias(clause)) =
        sample.take()
    else {
        return ControlFlow::Continue(());
    };
    if reader == Reader::Table {
        return ControlFlow::Break(unsupported(
            name,
            "TABLESAMPLE gives other rows on each run",
            "filter by a value of the record instead",
        ));
    }
    let Some(share) = share(&clause) else {
        return ControlFlow::Break(unsupported(
            name,
            &format!("{} is not supported", clause.to_string().trim()),
            HINT,
        ));
    };
    let last = name.0.last().and_then(ObjectNamePart::as_ident);
    let own = last.map(|ident| ident.value.clone()).unwrap_or_default();
    let own = own.split('@').next().unwrap_or_default().to_owned();
    let alias = alias.take().unwrap_or(TableAlias {
        explicit: true,
        name: Ident::with_quote('"', own),
        columns: Vec::new(),
    });
    let text = format!("SELECT * FROM {name} WHERE random() < {share}");
    let parsed = Parser::parse_sql(&ForebayDialect, &text).ok();
    let Some(Statement::Query(mut query)) = parsed.and_then(|mut all| all.pop()) else {
        return ControlFlow::Break(unsupported(name, "TABLESAMPLE of this table", HINT));
    };
    // The table keeps its position in the text, for errors that name it.
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(TableFactor::Table { name: inner, .. }) =
            select.from.first_mut().map(|from| &mut from.relation)
    {
        *inner = name.clone();
    }
    *factor = TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias: Some(alias),
        sample: None,
    };
    ControlFlow::Continue(())
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
