//! Calls of functions that Postgres has and the engine does not, or has under a name with another meaning.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName,
};

/// Names of Postgres and the engine's functions that do the same. The engine's `array_remove` removes the first item only.
const NAMES: [(&str, &str); 4] = [
    ("sign", "signum"),
    ("every", "bool_and"),
    ("array_remove", "array_remove_all"),
    ("array_replace", "array_replace_all"),
];

/// Calls the engine's function that does what the name says.
pub(super) fn rename(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    let name = function.name.to_string().to_lowercase();
    if name == "mod"
        && let Some((left, right)) = two(function)
    {
        let (left, right) = (nested(left), nested(right));
        *expr = Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(left),
            op: BinaryOperator::Modulo,
            right: Box::new(right),
        }));
    } else if let Some((_, own)) = NAMES.iter().find(|(known, _)| *known == name) {
        let span = function
            .name
            .0
            .first()
            .and_then(|part| part.as_ident())
            .map(|ident| ident.span);
        let mut ident = Ident::new(*own);
        ident.span = span.unwrap_or(ident.span);
        function.name = ObjectName::from(vec![ident]);
    }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn two(function: &Function) -> Option<(Expr, Expr)> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(left)),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(right)),
        ] => Some((left.clone(), right.clone())),
        _ => None,
    }
}
