//! Arguments of functions that come to one type, cast to it before the engine chooses one.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable};

use super::coerce::{Common, Purpose, cast_to, common};
use crate::function::nested::{Role, item_of, roles};

/// Casts the arguments of a function; returns whether it has changed any.
pub(super) fn settle(name: &str, args: &mut [Expr], schema: &DFSchema) -> bool {
    let Some(role) = roles(name) else {
        return false;
    };
    let kinds = args.iter().enumerate().filter_map(|(at, arg)| {
        let kind = arg.get_type(schema).ok()?;
        match role(at) {
            Role::Value => Some(kind),
            Role::List => item_of(&kind).cloned(),
            Role::Other => None,
        }
    });
    let to = common(&kinds.collect::<Vec<_>>(), Purpose::Chosen);
    if to == Common::AsTheEngineDoes {
        return false;
    }
    for (at, arg) in args.iter_mut().enumerate() {
        let value = std::mem::take(arg);
        *arg = match role(at) {
            Role::Value => cast_to(value, &to, schema),
            Role::List => cast_items(value, &to, schema),
            Role::Other => value,
        };
    }
    true
}

fn cast_items(list: Expr, to: &Common, schema: &DFSchema) -> Expr {
    let kind = list.get_type(schema).ok();
    let target = kind.and_then(|kind| to.target(item_of(&kind)?));
    match target {
        Some(item) => {
            let kind = DataType::new_list(item, true);
            Expr::Cast(Cast::new(Box::new(list), kind))
        }
        None => list,
    }
}
