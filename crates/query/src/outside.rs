//! Expressions without their subqueries, which have tables and names of their own.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, VisitMut, Visitor, VisitorMut};

/// Shows each part of an expression that is in no subquery.
pub(crate) fn visit_outside(expr: &Expr, visit: impl FnMut(&Expr)) {
    // Nothing here ends the visit early.
    let _ = expr.visit(&mut Outside { depth: 0, visit });
}

/// Changes parts of an expression that are in no subquery.
pub(crate) fn change_outside(expr: &mut Expr, visit: impl FnMut(&mut Expr)) {
    let _ = VisitMut::visit(expr, &mut Outside { depth: 0, visit });
}

struct Outside<F> {
    /// How many subqueries are around.
    depth: usize,
    visit: F,
}

impl<F: FnMut(&Expr)> Visitor for Outside<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.visit)(expr);
        }
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&mut Expr)> VisitorMut for Outside<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.visit)(expr);
        }
        ControlFlow::Continue(())
    }
}
