//! The names in `ORDER BY` and `DISTINCT ON`: by itself a name is that of an output column first, within an expression that of a column of
//! the tables, as in Postgres.
//!
//! The planner takes an output column in both, and a column of the tables for `DISTINCT ON`. A key that is made of a column with the name of an
//! output column is computed beside the output, where names mean columns of the tables, and sorted by there.

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, Statement, TableFactor, Value,
};
use datafusion::sql::sqlparser::parser::Parser;

use crate::dialect::ForebayDialect;
use crate::name::normal;
use crate::outside::visit_outside;

/// Begins the name of a key that is computed beside the output.
const KEY: &str = "_forebay_key_";
/// The name of the output with the keys.
const KEYED: &str = "_forebay_keyed";

/// Settles the keys of a query that is one `SELECT`.
pub(super) fn settle(query: &mut Query) {
    let Some(order_by) = &mut query.order_by else {
        return;
    };
    let (OrderByKind::Expressions(keys), SetExpr::Select(select)) =
        (&mut order_by.kind, query.body.as_mut())
    else {
        return;
    };
    let outputs = Outputs::of(select);
    match &mut select.distinct {
        None | Some(Distinct::All) => {
            // `GROUP BY ALL` would group by the keys too.
            let groups_by_all = matches!(&select.group_by, GroupByExpr::All(_));
            if !groups_by_all && keys.iter().any(|key| outputs.hides(&key.expr)) {
                compute_beside(&mut query.body, keys, &outputs);
            }
        }
        Some(Distinct::On(firsts)) => {
            let sorted = keys.iter_mut().map(|key| &mut key.expr);
            firsts
                .iter_mut()
                .chain(sorted)
                .for_each(|key| outputs.spell_out(key));
        }
        Some(Distinct::Distinct) => {}
    }
}

/// The output columns that have a name of their own.
struct Outputs(Vec<(String, Expr)>);

impl Outputs {
    fn of(select: &Select) -> Self {
        let named = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((normal(alias), expr.clone())),
            _ => None,
        });
        Self(named.collect())
    }

    fn find(&self, name: &str) -> Option<&Expr> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, expr)| expr)
    }

    /// Whether an expression has a name that both an output column and a column which that is made of have.
    fn hides(&self, key: &Expr) -> bool {
        if matches!(key, Expr::Identifier(_) | Expr::Value(_)) {
            return false;
        }
        let is_hidden = |name: &String| {
            self.find(name)
                .is_some_and(|expr| names_in(expr).contains(name))
        };
        names_in(key).iter().any(is_hidden)
    }

    /// Writes what an output column is made of in the place of its name.
    fn spell_out(&self, key: &mut Expr) {
        if let Expr::Identifier(name) = key
            && let Some(expr) = self.find(&normal(name))
        {
            *key = Expr::Nested(Box::new(expr.clone()));
        }
    }
}

/// The columns that an expression names, without those in subqueries.
fn names_in(expr: &Expr) -> Vec<String> {
    let mut names = Vec::new();
    visit_outside(expr, |part| match part {
        Expr::Identifier(name) => names.push(normal(name)),
        Expr::CompoundIdentifier(parts) => names.extend(parts.last().map(normal)),
        _ => {}
    });
    names
}

/// `SELECT … ORDER BY key` as `SELECT * EXCLUDE (k) FROM (SELECT …, key AS k) ORDER BY k`.
fn compute_beside(body: &mut SetExpr, keys: &mut [OrderByExpr], outputs: &Outputs) {
    let SetExpr::Select(select) = &mut *body else {
        return;
    };
    let mut computed = Vec::new();
    for (number, key) in keys.iter_mut().enumerate() {
        let is_output = match &key.expr {
            Expr::Identifier(name) => outputs.find(&normal(name)).is_some(),
            Expr::Value(value) => matches!(value.value, Value::Number(..)),
            _ => false,
        };
        if is_output {
            continue;
        }
        let name = format!("{KEY}{number}");
        let alias = Ident::new(name.clone());
        let expr = std::mem::replace(&mut key.expr, Expr::Identifier(alias.clone()));
        let item = SelectItem::ExprWithAlias { expr, alias };
        select.projection.push(item);
        computed.push(name);
    }
    let text = format!(
        "SELECT * EXCLUDE ({}) FROM (SELECT 1) AS {KEYED}",
        computed.join(", ")
    );
    let Some(mut outer) = parsed_body(&text) else {
        return;
    };
    if let SetExpr::Select(outer) = &mut outer
        && let Some(TableFactor::Derived { subquery, .. }) =
            outer.from.first_mut().map(|from| &mut from.relation)
    {
        std::mem::swap(subquery.body.as_mut(), body);
    }
    *body = outer;
}

fn parsed_body(text: &str) -> Option<SetExpr> {
    let parsed = Parser::parse_sql(&ForebayDialect, text).ok()?;
    match parsed.into_iter().next()? {
        Statement::Query(query) => Some(*query.body),
        _ => None,
    }
}
