//! A quoted literal takes the type of what it stands beside, as in Postgres: `n < '9'` compares numbers, not texts.
//!
//! A quoted number means what it means without quotes, so `'10.5'` beside a whole number is compared exactly. A text that is no
//! literal is not compared with a number.

use arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan};
use forebay_core::Error;

use super::coerce::is_compared;
use crate::error::external;
use crate::function::number_text;

/// What is done with a text that is no literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// A comparison with a number is an error.
    Compared,
    /// The engine finds the common type.
    Kept,
}

/// The expression with its literals read. Errors: `Config` `bad_sql` for one that cannot be, and for a text beside a number.
pub(super) fn read(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let is_changed = match &mut expr {
        Expr::BinaryExpr(binary) if is_compared(binary.op) => {
            let peers = [binary.left.as_mut(), binary.right.as_mut()];
            read_peers(peers, schema, Texts::Compared)?
        }
        Expr::Between(between) => {
            let peers = [&mut between.expr, &mut between.low, &mut between.high];
            read_peers(peers.map(|peer| peer.as_mut()), schema, Texts::Compared)?
        }
        Expr::InList(list) => {
            let value = std::iter::once(list.expr.as_mut());
            read_peers(value.chain(&mut list.list), schema, Texts::Compared)?
        }
        Expr::Case(case) => {
            let is_compared = match &mut case.expr {
                Some(value) => {
                    let whens = case
                        .when_then_expr
                        .iter_mut()
                        .map(|(when, _)| when.as_mut());
                    let peers = std::iter::once(value.as_mut()).chain(whens);
                    read_peers(peers, schema, Texts::Compared)?
                }
                None => false,
            };
            let thens = case
                .when_then_expr
                .iter_mut()
                .map(|(_, then)| then.as_mut());
            let results = thens.chain(case.else_expr.as_deref_mut());
            read_peers(results, schema, Texts::Kept)? || is_compared
        }
        Expr::InSubquery(member) => read_member(member, schema)?,
        Expr::ScalarFunction(call) => match first_peer(call.func.name()) {
            Some(first) => read_peers(call.args.iter_mut().skip(first), schema, Texts::Kept)?,
            None => false,
        },
        _ => false,
    };
    Ok(match is_changed {
        true => Transformed::yes(expr),
        false => Transformed::no(expr),
    })
}

/// The first argument of those that come to one type.
fn first_peer(name: &str) -> Option<usize> {
    match name {
        "coalesce" | "nvl" | "nullif" | "greatest" | "least" => Some(0),
        "nvl2" => Some(1),
        _ => None,
    }
}

/// A value that is looked for among the rows of a subquery.
fn read_member(member: &mut InSubquery, schema: &DFSchema) -> Result<bool> {
    let members = member.subquery.subquery.schema();
    let Ok(kind) = member.expr.get_type(schema) else {
        return Ok(false);
    };
    if members.fields().len() != 1 {
        return Ok(false);
    }
    let (relation, field) = members.qualified_field(0);
    let of_member = field.data_type().clone();
    let mut column = Expr::Column(Column::new(relation.cloned(), field.name()));
    let peers = vec![(member.expr.as_mut(), kind), (&mut column, of_member)];
    read_known(peers, Texts::Compared)
}

/// Columns that a join compares. Errors: as [`read`].
pub(super) fn check_keys(plan: &LogicalPlan) -> Result<()> {
    let LogicalPlan::Join(join) = plan else {
        return Ok(());
    };
    for (left, right) in &join.on {
        let (Ok(one), Ok(other)) = (
            left.get_type(join.left.schema()),
            right.get_type(join.right.schema()),
        ) else {
            continue;
        };
        if one.is_string() && other.is_numeric() {
            return Err(text_beside_number(left, &other));
        }
        if one.is_numeric() && other.is_string() {
            return Err(text_beside_number(right, &one));
        }
    }
    Ok(())
}

/// Reads the literals among expressions that stand beside each other; whether there were any.
pub(super) fn read_peers<'a>(
    peers: impl IntoIterator<Item = &'a mut Expr>,
    schema: &DFSchema,
    texts: Texts,
) -> Result<bool> {
    let known = peers.into_iter().filter_map(|peer| {
        let kind = peer.get_type(schema).ok()?;
        Some((peer, kind))
    });
    read_known(known.collect(), texts)
}

fn read_known(peers: Vec<(&mut Expr, DataType)>, texts: Texts) -> Result<bool> {
    let Some(beside) = read_as(peers.iter().map(|(_, kind)| kind)) else {
        return Ok(false);
    };
    let mut is_changed = false;
    for (peer, _) in peers.into_iter().filter(|(_, kind)| kind.is_string()) {
        match text(peer) {
            Some(text) => {
                *peer = value(&text, &beside)?;
                is_changed = true;
            }
            None if texts == Texts::Compared && beside.is_numeric() => {
                return Err(text_beside_number(peer, &beside));
            }
            None => {}
        }
    }
    Ok(is_changed)
}

/// The type that literals beside these are read as; `None` where the engine reads them.
fn read_as<'a>(kinds: impl Iterator<Item = &'a DataType>) -> Option<DataType> {
    let mut found: Option<DataType> = None;
    for kind in kinds {
        let is_read = kind.is_numeric()
            || matches!(
                kind,
                DataType::Boolean
                    | DataType::Interval(_)
                    | DataType::Duration(_)
                    | DataType::Timestamp(..)
            );
        // The widest of several numbers.
        let is_wider = |found: &DataType| match kind {
            DataType::Float64 => true,
            kind => kind.is_floating() && !found.is_floating(),
        };
        if is_read && found.as_ref().is_none_or(is_wider) {
            found = Some(kind.clone());
        }
    }
    found
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::Utf8View(Some(text))
            | ScalarValue::LargeUtf8(Some(text)),
            _,
        ) => Some(text.clone()),
        _ => None,
    }
}

/// The literal as a value of the type.
fn value(text: &str, kind: &DataType) -> Result<Expr> {
    let known = |value: Option<ScalarValue>, what: &str| match value {
        Some(value) => Ok(Expr::Literal(value, None)),
        None => Err(unreadable(text, what)),
    };
    match kind {
        DataType::Boolean => known(
            truth(text).map(|truth| ScalarValue::Boolean(Some(truth))),
            "boolean",
        ),
        DataType::Timestamp(..) => {
            let end = if crate::rewrite::ends_with_minutes(text) {
                ":00"
            } else {
                ""
            };
            Ok(Expr::Literal(
                ScalarValue::Utf8(Some(format!("{text}{end}"))),
                None,
            ))
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let text = Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            Ok(Expr::Cast(Cast::new(Box::new(text), interval)))
        }
        number => known(number_text::read(text, number), "number"),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "on" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Characters of a wrong literal that a message shows.
const SHOWN_MAX: usize = 100;

fn unreadable(text: &str, what: &str) -> datafusion::common::DataFusionError {
    let shown: String = text.chars().take(SHOWN_MAX).collect();
    let message = format!("'{shown}' stands beside a {what} and is none");
    external(
        Error::config("bad_sql", message)
            .with_hint("a quoted literal is read in the type of what it stands beside: cast that to text to compare texts"),
    )
}

fn text_beside_number(text: &Expr, number: &DataType) -> datafusion::common::DataFusionError {
    let name = match text {
        Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => column.name.clone(),
        _ => "an expression".to_owned(),
    };
    let number = crate::types::sql_name(number);
    let message = format!("{name} is text and is compared with a {number}");
    external(Error::config("bad_sql", message).with_hint(format!(
        "cast one side: CAST({name} AS {number}), or CAST(… AS text) for the other"
    )))
}
