//! Which rows of a bitemporal table a statement sees: those of its clauses about time, and its views.
//!
//! Without a clause a bitemporal table has all of its rows. The conditions are ordinary filters above the scan, so files are pruned by
//! them.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::functions::datetime::expr_fn::now;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, col, lit};
use forebay_core::{CommitId, Error, Result};
use forebay_lake::bitemporal::{
    CURRENT_SUFFIX, END_OF_TIME, NOW_SUFFIX, SYSTEM_FROM, SYSTEM_TO, VALID_FROM, VALID_TO,
};

use crate::table::LakeTable;
use crate::time_clause::{ClausedName, Span, parse_time};

/// A table that is always there beside a bitemporal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// What is believed now.
    Current,
    /// What is believed now and true now.
    Now,
}

impl View {
    const SUFFIXES: [(&str, Self); 2] = [(CURRENT_SUFFIX, Self::Current), (NOW_SUFFIX, Self::Now)];

    /// Names of the views of a table, without its namespace.
    pub(crate) fn names_of(table: &str) -> impl Iterator<Item = String> {
        Self::SUFFIXES
            .into_iter()
            .map(move |(suffix, _)| format!("{table}{suffix}"))
    }

    /// The bitemporal table whose view has this name.
    pub(crate) fn parse(name: &str) -> Option<(&str, Self)> {
        let mut views = Self::SUFFIXES.into_iter();
        views.find_map(|(suffix, view)| Some((name.strip_suffix(suffix)?, view)))
    }
}

/// The rows that are seen.
#[derive(Debug)]
pub(crate) struct PeriodRows {
    conditions: Vec<Expr>,
    commit: Option<CommitId>,
}

impl PeriodRows {
    /// Errors: `Config` `bad_as_of`.
    pub(crate) fn of(named: &ClausedName<'_>, view: Option<View>) -> Result<Self> {
        let mut conditions = Vec::new();
        let mut commit = None;
        match &named.system {
            Some(Span::AsOf(text)) if text.parse::<CommitId>().is_ok() => {
                commit = text.parse().ok();
                conditions.push(believed());
            }
            Some(span) => conditions.extend(overlap(span, SYSTEM_FROM, SYSTEM_TO)?),
            None if view.is_some() => conditions.push(believed()),
            None => {}
        }
        match &named.valid {
            Some(span) => conditions.extend(overlap(span, VALID_FROM, VALID_TO)?),
            None if view == Some(View::Now) => {
                conditions.extend([col(VALID_FROM).lt_eq(now()), col(VALID_TO).gt(now())]);
            }
            None => {}
        }
        Ok(Self { conditions, commit })
    }

    /// The state that the table is read in, if it is not that of the statement.
    pub(crate) fn state(&self) -> Option<CommitId> {
        self.commit
    }

    pub(crate) fn of_table(self, table: Arc<LakeTable>) -> Result<Arc<dyn TableProvider>> {
        let Some(condition) = self.conditions.into_iter().reduce(Expr::and) else {
            return Ok(table);
        };
        let scan = LogicalPlanBuilder::scan("rows", provider_as_source(table), None);
        let rows = scan.and_then(|scan| scan.filter(condition)?.build());
        let rows = rows.map_err(|error| {
            Error::bug("bad_period_rows", "failed to filter a table by its periods")
                .with_source(error)
        })?;
        Ok(Arc::new(ViewTable::new(rows, None)))
    }
}

fn believed() -> Expr {
    col(SYSTEM_TO).eq(instant(END_OF_TIME))
}

/// Periods that overlap a span.
fn overlap(span: &Span, from: &str, to: &str) -> Result<Vec<Expr>> {
    let time = |text: &str| Ok::<_, Error>(parse_time(text)?.micros());
    Ok(match span {
        Span::AsOf(at) => {
            let at = instant(time(at)?);
            vec![col(from).lt_eq(at.clone()), col(to).gt(at)]
        }
        Span::FromTo(start, end) if time(start)? < time(end)? => {
            vec![
                col(from).lt(instant(time(end)?)),
                col(to).gt(instant(time(start)?)),
            ]
        }
        Span::Between(start, end) if time(start)? <= time(end)? => {
            vec![
                col(from).lt_eq(instant(time(end)?)),
                col(to).gt(instant(time(start)?)),
            ]
        }
        Span::FromTo(..) | Span::Between(..) => vec![lit(false)],
    })
}

fn instant(micros: i64) -> Expr {
    let zone: Arc<str> = "UTC".into();
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some(zone)))
}
