//! Clauses of a call: those of aggregates and window functions with a function of one row, and those of aggregates with a window
//! function.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::execution::SessionStateDefaults;
use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments,
};

use super::{Checked, refuse};
use crate::function;
use crate::rewrite::calls::name_of;

/// Functions of one row that are no functions of the engine.
const REWRITTEN: [&str; 4] = ["mod", "sign", "unnest", "make_map"];
/// Window functions that leave nulls out where `IGNORE NULLS` says so.
const OF_VALUES: [&str; 5] = ["lag", "lead", "first_value", "last_value", "nth_value"];

static SCALARS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let own = SessionStateDefaults::default_scalar_functions();
    let all = own.into_iter().chain(function::all());
    let names = all.flat_map(|function| {
        let aliases = function.aliases().to_vec();
        [vec![function.name().to_owned()], aliases].concat()
    });
    names.chain(REWRITTEN.map(str::to_owned)).collect()
});

static WINDOWS: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let own = SessionStateDefaults::default_window_functions();
    own.iter()
        .map(|function| function.name().to_owned())
        .collect()
});

/// Errors: `Unsupported` for a clause that would be ignored.
pub(in crate::rewrite) fn check(expr: &Expr) -> Checked {
    let Expr::Function(called) = expr else {
        return ControlFlow::Continue(());
    };
    let Function {
        name: _,
        // `{fn f(x)}` is `f(x)`.
        uses_odbc_syntax: _,
        parameters,
        args,
        filter,
        null_treatment,
        over,
        within_group,
    } = called;
    if *parameters != FunctionArguments::None {
        let hint = "write all arguments in one pair of parentheses";
        return refuse(expr, format!("{}(…)(…)", called.name), hint);
    }
    let clauses = Clauses {
        of_args: match args {
            FunctionArguments::None => None,
            FunctionArguments::Subquery(_) => {
                let what = format!("a subquery without parentheses in {}()", called.name);
                return refuse(expr, what, "write f((SELECT …))");
            }
            FunctionArguments::List(list) => clause_of(list),
        },
        filter: filter.is_some().then_some("FILTER"),
        nulls: null_treatment.map(|_| "IGNORE NULLS or RESPECT NULLS"),
        over: over.is_some().then_some("OVER"),
        group: (!within_group.is_empty()).then_some("WITHIN GROUP"),
    };
    clauses.check(expr, &name_of(called))
}

/// The clauses that a call has, by name.
struct Clauses {
    of_args: Option<&'static str>,
    filter: Option<&'static str>,
    nulls: Option<&'static str>,
    over: Option<&'static str>,
    group: Option<&'static str>,
}

impl Clauses {
    fn check(&self, expr: &Expr, name: &str) -> Checked {
        if SCALARS.contains(name) {
            let clauses = [self.over, self.filter, self.of_args, self.nulls, self.group];
            let first = clauses.into_iter().flatten().next();
            return match first {
                Some(clause) => refuse(
                    expr,
                    format!("{clause} with {name}(), which is no aggregate,"),
                    "write it with the aggregate within or around the call, or as CASE or WHERE",
                ),
                None => ControlFlow::Continue(()),
            };
        }
        if self.over.is_none() || !WINDOWS.contains(name) {
            return ControlFlow::Continue(());
        }
        let nulls = self.nulls.filter(|_| !OF_VALUES.contains(&name));
        match self.of_args.or(self.filter).or(nulls) {
            // The clause of nulls may be in the parentheses.
            Some(NULLS) if OF_VALUES.contains(&name) => ControlFlow::Continue(()),
            Some(clause) => refuse(
                expr,
                format!("{clause} with the window function {name}()"),
                "leave it out, or filter the rows in a subquery",
            ),
            None => ControlFlow::Continue(()),
        }
    }
}

const NULLS: &str = "IGNORE NULLS in the arguments";

fn clause_of(list: &FunctionArgumentList) -> Option<&'static str> {
    let FunctionArgumentList {
        duplicate_treatment,
        // Visited as expressions.
        args: _,
        clauses,
    } = list;
    match duplicate_treatment {
        Some(DuplicateTreatment::Distinct) => return Some("DISTINCT"),
        Some(DuplicateTreatment::All) | None => {}
    }
    clauses.first().map(|clause| match clause {
        FunctionArgumentClause::OrderBy(_) => "ORDER BY in the arguments",
        FunctionArgumentClause::IgnoreOrRespectNulls(_) => NULLS,
        FunctionArgumentClause::Limit(_) => "LIMIT in the arguments",
        FunctionArgumentClause::OnOverflow(_) => "ON OVERFLOW",
        FunctionArgumentClause::Having(_) => "HAVING in the arguments",
        FunctionArgumentClause::Separator(_) => "SEPARATOR",
        FunctionArgumentClause::JsonNullClause(_) => "a clause of nulls",
        FunctionArgumentClause::JsonReturningClause(_) => "RETURNING",
    })
}
