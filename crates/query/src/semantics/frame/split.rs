//! Window functions of one plan node sort their rows alike: those whose keys have become different ones get a node each.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::utils::generate_sort_key;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Window};

/// Functions with one order of rows.
struct WindowGroup {
    /// With whether a key is of `PARTITION BY`.
    keys: Vec<(Sort, bool)>,
    functions: Vec<Expr>,
}

/// The plan with a node for each order, and its columns in their places.
pub(in crate::semantics) fn by_order(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Window(window) = plan else {
        return Ok(Transformed::no(plan));
    };
    let groups = groups(&window)?;
    if groups.len() < 2 {
        return Ok(Transformed::no(LogicalPlan::Window(window)));
    }
    let columns = window.schema.columns().into_iter().map(Expr::Column);
    let columns: Vec<Expr> = columns.collect();
    let mut plan = Arc::unwrap_or_clone(window.input);
    for group in groups {
        plan = LogicalPlan::Window(Window::try_new(group.functions, Arc::new(plan))?);
    }
    let plan = LogicalPlanBuilder::from(plan).project(columns)?.build()?;
    Ok(Transformed::yes(plan))
}

fn groups(window: &Window) -> Result<Vec<WindowGroup>> {
    let mut groups: Vec<WindowGroup> = Vec::new();
    for expr in &window.window_expr {
        let keys = sort_keys(expr)?;
        match groups.iter_mut().find(|group| group.keys == keys) {
            Some(group) => group.functions.push(expr.clone()),
            None => groups.push(WindowGroup {
                keys,
                functions: vec![expr.clone()],
            }),
        }
    }
    Ok(groups)
}

fn sort_keys(expr: &Expr) -> Result<Vec<(Sort, bool)>> {
    match expr.clone().unalias() {
        Expr::WindowFunction(window) => {
            generate_sort_key(&window.params.partition_by, &window.params.order_by)
        }
        _ => Ok(Vec::new()),
    }
}
