//! `GROUP BY` with lists of keys: `(a, b)` is both keys, and `ROLLUP ((a, b), c)`, which the planner refuses, the sets that it stands
//! for.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, SetExpr};
use forebay_core::Error;

use super::unsupported;

/// Sets that one element of `GROUP BY` may stand for.
const SETS_MAX: usize = 1_024;

type Settled<T> = ControlFlow<Box<Error>, T>;

/// Settles the groups of each `SELECT` of a query. Errors: `Unsupported` for too many sets.
pub(super) fn settle(body: &mut SetExpr) -> Settled<()> {
    match body {
        SetExpr::Select(select) => match &mut select.group_by {
            GroupByExpr::Expressions(keys, _) => settle_keys(keys),
            GroupByExpr::All(_) => ControlFlow::Continue(()),
        },
        SetExpr::SetOperation { left, right, .. } => {
            settle(left)?;
            settle(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn settle_keys(keys: &mut Vec<Expr>) -> Settled<()> {
    let mut settled = Vec::with_capacity(keys.len());
    for key in keys.drain(..) {
        match key {
            Expr::Tuple(keys) if !keys.is_empty() => settled.extend(flat(Expr::Tuple(keys))),
            Expr::Tuple(_) => settled.push(Expr::GroupingSets(vec![Vec::new()])),
            Expr::Rollup(_) | Expr::Cube(_) if !has_list(&key) => settled.push(key),
            Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) => {
                settled.push(Expr::GroupingSets(sets_of(key)?));
            }
            other => settled.push(other),
        }
    }
    *keys = settled;
    ControlFlow::Continue(())
}

/// Whether an element of `ROLLUP` or `CUBE` is a list of keys.
fn has_list(key: &Expr) -> bool {
    match key {
        Expr::Rollup(elements) | Expr::Cube(elements) => elements.iter().flatten().any(is_list),
        _ => false,
    }
}

fn is_list(element: &Expr) -> bool {
    match element {
        Expr::Tuple(_) => true,
        Expr::Nested(inner) => is_list(inner),
        _ => false,
    }
}

/// The sets that an element stands for, in the order of SQL.
fn sets_of(element: Expr) -> Settled<Vec<Vec<Expr>>> {
    let sets = match element {
        Expr::GroupingSets(elements) => {
            let mut sets = Vec::new();
            for element in elements.into_iter().flatten() {
                sets.extend(sets_of(element)?);
                check_count(sets.len(), &sets)?;
            }
            sets
        }
        Expr::Rollup(elements) => {
            let lists = lists(elements);
            check_count(lists.len(), &lists)?;
            let counts = (0..=lists.len()).rev();
            counts.map(|count| distinct(&lists[..count])).collect()
        }
        Expr::Cube(elements) => {
            let lists = lists(elements);
            let count = u32::try_from(lists.len()).ok();
            let count = count.and_then(|count| 2_usize.checked_pow(count));
            let count = count.unwrap_or(usize::MAX);
            check_count(count, &lists)?;
            let subsets = (0..count).rev();
            subsets.map(|subset| chosen(&lists, subset)).collect()
        }
        other => vec![distinct(&[flat(other)])],
    };
    ControlFlow::Continue(sets)
}

fn check_count(count: usize, sets: &[Vec<Expr>]) -> Settled<()> {
    let first = sets.iter().flatten().next();
    match first {
        Some(key) if count > SETS_MAX => ControlFlow::Break(unsupported(
            key,
            &format!("GROUP BY with more than {SETS_MAX} sets is not supported"),
            "write the GROUPING SETS that you need",
        )),
        _ => ControlFlow::Continue(()),
    }
}

fn lists(elements: Vec<Vec<Expr>>) -> Vec<Vec<Expr>> {
    elements.into_iter().flatten().map(flat).collect()
}

/// The keys of one element, however it is in parentheses.
fn flat(element: Expr) -> Vec<Expr> {
    match element {
        Expr::Tuple(items) => items.into_iter().flat_map(flat).collect(),
        Expr::Nested(inner) if is_list(&inner) => flat(*inner),
        other => vec![other],
    }
}

/// The lists of a subset; the first one has the highest bit.
fn chosen(lists: &[Vec<Expr>], subset: usize) -> Vec<Expr> {
    let places = lists.iter().rev().enumerate();
    let chosen = places.filter(|(at, _)| subset >> at & 1 == 1);
    let mut chosen: Vec<Vec<Expr>> = chosen.map(|(_, list)| list.clone()).collect();
    chosen.reverse();
    distinct(&chosen)
}

/// The keys of some lists, each once.
fn distinct(lists: &[Vec<Expr>]) -> Vec<Expr> {
    let mut keys: Vec<Expr> = Vec::new();
    for key in lists.iter().flatten() {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}
