//! `WINDOW w AS (…)`: each window function gets what its window says in full. The planner ignores the name in `OVER (w ORDER BY x)` and in
//! `w2 AS (w …)`, and takes the windows of a subquery for those of the statement around it.
//!
//! A window that is built on another one has its `PARTITION BY`, an `ORDER BY` of its own only where that has none, and its own frame.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, NamedWindowDefinition, NamedWindowExpr, OrderBy, Query, Select, SetExpr, VisitMut,
    VisitorMut, WindowSpec, WindowType,
};
use forebay_core::Error;

use crate::name::normal;

/// Puts the windows of each `SELECT` of a query that is not a subquery of its own in place of their names.
pub(super) fn settle(query: &mut Query) -> ControlFlow<Box<Error>> {
    match query.body.as_mut() {
        SetExpr::Select(select) => settle_select(select, query.order_by.as_mut()),
        other => settle_body(other),
    }
}

fn settle_body(body: &mut SetExpr) -> ControlFlow<Box<Error>> {
    match body {
        SetExpr::Select(select) => settle_select(select, None),
        SetExpr::SetOperation { left, right, .. } => {
            settle_body(left)?;
            settle_body(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn settle_select(select: &mut Select, order_by: Option<&mut OrderBy>) -> ControlFlow<Box<Error>> {
    let mut windows = Windows::default();
    for NamedWindowDefinition(name, window) in std::mem::take(&mut select.named_window) {
        windows.define(&name, window)?;
    }
    select.visit(&mut windows)?;
    match order_by {
        Some(keys) => keys.visit(&mut windows),
        None => ControlFlow::Continue(()),
    }
}

/// The windows of a `SELECT`, each without the name of another one.
#[derive(Default)]
struct Windows {
    defined: Vec<(String, WindowSpec)>,
    /// How many subqueries are around: these have windows of their own.
    depth: usize,
}

impl Windows {
    fn define(&mut self, name: &Ident, window: NamedWindowExpr) -> ControlFlow<Box<Error>> {
        if self.find(name).is_some() {
            return failed(name, &format!("the window {name} is defined twice"));
        }
        let mut spec = match window {
            NamedWindowExpr::NamedWindow(other) => self.get(&other)?,
            NamedWindowExpr::WindowSpec(spec) => spec,
        };
        self.complete(&mut spec)?;
        self.defined.push((normal(name), spec));
        ControlFlow::Continue(())
    }

    fn find(&self, name: &Ident) -> Option<&WindowSpec> {
        let wanted = normal(name);
        let mut windows = self.defined.iter();
        windows
            .find(|(known, _)| *known == wanted)
            .map(|(_, spec)| spec)
    }

    fn get(&self, name: &Ident) -> ControlFlow<Box<Error>, WindowSpec> {
        match self.find(name) {
            Some(spec) => ControlFlow::Continue(spec.clone()),
            None => ControlFlow::Break(undefined(name)),
        }
    }

    /// Replaces the name that a window begins with.
    fn complete(&self, spec: &mut WindowSpec) -> ControlFlow<Box<Error>> {
        let Some(name) = spec.window_name.take() else {
            return ControlFlow::Continue(());
        };
        let base = self.get(&name)?;
        if base.window_frame.is_some() {
            let message = format!("the window {name} has a frame, no other can be built on it");
            return failed(&name, &message);
        }
        if !spec.partition_by.is_empty() {
            let message = format!("PARTITION BY in a window that is built on {name}");
            return failed(&name, &message);
        }
        if !spec.order_by.is_empty() && !base.order_by.is_empty() {
            let message = format!("ORDER BY twice: the window {name} has one");
            return failed(&name, &message);
        }
        spec.partition_by = base.partition_by;
        if spec.order_by.is_empty() {
            spec.order_by = base.order_by;
        }
        ControlFlow::Continue(())
    }
}

impl VisitorMut for Windows {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        let Expr::Function(function) = expr else {
            return ControlFlow::Continue(());
        };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        match &mut function.over {
            Some(WindowType::WindowSpec(spec)) => self.complete(spec),
            Some(over @ WindowType::NamedWindow(_)) => {
                if let WindowType::NamedWindow(name) = over {
                    *over = WindowType::WindowSpec(self.get(name)?);
                }
                ControlFlow::Continue(())
            }
            None => ControlFlow::Continue(()),
        }
    }
}

fn undefined(name: &Ident) -> Box<Error> {
    let hint = format!("add WINDOW {name} AS (…) behind FROM, WHERE, GROUP BY and HAVING");
    error(name, &format!("no window {name}"), &hint)
}

fn failed(name: &Ident, message: &str) -> ControlFlow<Box<Error>> {
    let hint = "write the whole window in OVER (…)";
    ControlFlow::Break(error(name, message, hint))
}

fn error(name: &Ident, message: &str, hint: &str) -> Box<Error> {
    let start = name.span.start;
    let message = match start.line {
        0 => message.to_owned(),
        line => format!("{line}:{}: {message}", start.column),
    };
    Box::new(Error::config("bad_sql", message).with_hint(hint))
}
