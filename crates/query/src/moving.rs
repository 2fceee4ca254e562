//! Functions whose values change without a commit, found in the text of a statement.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{ScalarUDFImpl, Volatility};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, visit_expressions};

use crate::function::instant::Now;

/// Names and aliases.
static MOVING: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let functions = SessionStateDefaults::default_scalar_functions();
    let moving = functions
        .iter()
        .filter(|function| function.signature().volatility != Volatility::Immutable);
    let own = Now::new();
    let own = std::iter::once(own.name().to_owned()).chain(own.aliases().iter().cloned());
    moving
        .flat_map(|function| {
            let names = std::iter::once(function.name().to_owned());
            names.chain(function.aliases().iter().cloned())
        })
        .chain(own)
        .collect()
});

pub(crate) fn moving_functions(statement: &Statement) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Statement::Statement(statement) = statement else {
        return found;
    };
    let _: ControlFlow<()> = visit_expressions(statement.as_ref(), |expr| {
        if let Expr::Function(call) = expr {
            let name = call.name.to_string().to_lowercase();
            if MOVING.contains(&name) {
                found.insert(name);
            }
        }
        ControlFlow::Continue(())
    });
    found
}
