//! A quoted literal takes the type of the other operand, as in Postgres: `n < '9'` compares numbers, not texts.
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
use crate::function::nested::{is_quantified, item_of, peer_field};
use crate::function::number_text;

/// How to treat a text that is not a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Texts {
    /// A comparison with a number is an error.
    Compared,
    /// The engine finds the common type.
    Kept,
    /// As arguments of one function: literals are read as dates and times too, and other texts beside those are errors.
    Arguments,
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
        Expr::ScalarFunction(call) if is_quantified(call.func.name()) => {
            read_quantified(&mut call.args, schema)?
        }
        Expr::WindowFunction(window) if matches!(window.fun.name(), "lag" | "lead") => {
            let peers = window.params.args.iter_mut().enumerate();
            let peers = peers.filter_map(|(at, peer)| (at != 1).then_some(peer));
            read_peers(peers, schema, Texts::Arguments)?
        }
        Expr::ScalarFunction(call) => match first_peer(call.func.name()) {
            Some(first) => read_peers(call.args.iter_mut().skip(first), schema, Texts::Arguments)?,
            None => false,
        },
        _ => false,
    };
    Ok(match is_changed {
        true => Transformed::yes(expr),
        false => Transformed::no(expr),
    })
}

/// Reads an operand of a logical operator, where it is a quoted literal; returns whether it was one.
pub(super) fn read_boolean(operand: &mut Expr) -> Result<bool> {
    let Some(text) = text(operand) else {
        return Ok(false);
    };
    *operand = value(&text, &DataType::Boolean)?;
    Ok(true)
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

/// A value that is compared with the items of a list.
fn read_quantified(args: &mut [Expr], schema: &DFSchema) -> Result<bool> {
    let [value, list] = args else {
        return Ok(false);
    };
    let (Ok(kind), Ok(of_list)) = (value.get_type(schema), list.get_type(schema)) else {
        return Ok(false);
    };
    let Some(item) = item_of(&of_list) else {
        return Ok(false);
    };
    let mut item_value = Expr::Column(Column::new_unqualified("an item of the list"));
    let peers = vec![(value, kind), (&mut item_value, item.clone())];
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
            return Err(text_beside_number(left, &one, &other));
        }
        if one.is_numeric() && other.is_string() {
            return Err(text_beside_number(right, &other, &one));
        }
    }
    Ok(())
}

/// Reads the literals among expressions of one comparison or list; returns whether there were any.
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
    if texts == Texts::Compared {
        check_nested(&peers)?;
    }
    let Some(beside) = read_as(peers.iter().map(|(_, kind)| kind), texts) else {
        return Ok(false);
    };
    let mut is_changed = false;
    for (peer, kind) in peers.into_iter().filter(|(_, kind)| kind.is_string()) {
        match text(peer) {
            Some(text) => {
                *peer = value(&text, &beside)?;
                is_changed = true;
            }
            None => match texts {
                Texts::Compared if beside.is_numeric() => {
                    return Err(text_beside_number(peer, &kind, &beside));
                }
                Texts::Arguments if !beside.is_numeric() => {
                    return Err(text_beside_number(peer, &kind, &beside));
                }
                _ => {}
            },
        }
    }
    Ok(is_changed)
}

/// Texts within lists, structs and maps are not read as numbers, but for those of a list that is written out.
fn check_nested(peers: &[(&mut Expr, DataType)]) -> Result<()> {
    let nested = peers.iter().filter(|(_, kind)| kind.is_nested());
    let nested: Vec<&(&mut Expr, DataType)> = nested.collect();
    for (at, (one, kind)) in nested.iter().enumerate() {
        for (other, of_other) in &nested[at + 1..] {
            if !is_list_of_literals(one) && has_text_beside_number(kind, of_other) {
                return Err(text_beside_number(one, kind, of_other));
            }
            if !is_list_of_literals(other) && has_text_beside_number(of_other, kind) {
                return Err(text_beside_number(other, of_other, kind));
            }
        }
    }
    Ok(())
}

fn is_list_of_literals(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "make_array" => {
            call.args.iter().all(|item| text(item).is_some())
        }
        _ => false,
    }
}

/// Whether the one has a text where the other has a number.
fn has_text_beside_number(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::Struct(fields), DataType::Struct(others)) => {
            let mut all = fields.iter().enumerate();
            all.any(|(at, field)| {
                let peer = peer_field(fields, at, others);
                peer.is_some_and(|peer| has_text_beside_number(field.data_type(), peer.data_type()))
            })
        }
        (DataType::Map(entry, _), DataType::Map(of_other, _)) => {
            has_text_beside_number(entry.data_type(), of_other.data_type())
        }
        _ => match (item_of(one), item_of(other)) {
            (Some(one), Some(other)) => has_text_beside_number(one, other),
            _ => one.is_string() && other.is_numeric(),
        },
    }
}

/// The type that literals beside these are read as; `None` where the engine reads them.
fn read_as<'a>(kinds: impl Iterator<Item = &'a DataType>, texts: Texts) -> Option<DataType> {
    let mut found: Option<DataType> = None;
    for kind in kinds {
        let is_read = kind.is_numeric()
            || matches!(
                kind,
                DataType::Boolean
                    | DataType::Interval(_)
                    | DataType::Duration(_)
                    | DataType::Timestamp(..)
            )
            || (texts == Texts::Arguments && is_date_or_time(kind));
        // The widest of several numbers.
        let is_wider = |found: &DataType| match kind {
            DataType::Float64 => true,
            DataType::Timestamp(..) => *found == DataType::Date32,
            kind => kind.is_floating() && !found.is_floating(),
        };
        if is_read && found.as_ref().is_none_or(is_wider) {
            found = Some(kind.clone());
        }
    }
    found
}

fn is_date_or_time(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Date32 | DataType::Time32(_) | DataType::Time64(_)
    )
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
        kind if is_date_or_time(kind) => {
            let text = Expr::Literal(ScalarValue::Utf8(Some(text.to_owned())), None);
            Ok(Expr::Cast(Cast::new(Box::new(text), kind.clone())))
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
    let message = format!("'{shown}' is not a valid {what}, the type of the other operand");
    external(
        Error::config("bad_sql", message)
            .with_hint("cast the other operand to text to compare texts: CAST(… AS text)"),
    )
}

fn text_beside_number(
    text: &Expr,
    kind: &DataType,
    number: &DataType,
) -> datafusion::common::DataFusionError {
    let name = match text {
        Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => column.name.clone(),
        _ => "an expression".to_owned(),
    };
    let number = crate::types::sql_name(number);
    let kind = crate::types::sql_name(kind);
    let message = format!("{name} is {kind} and is compared with a {number}");
    let hint = match kind.ends_with(']') || kind.ends_with(')') {
        true => format!("cast one side: CAST({name} AS {number})"),
        false => {
            format!("cast one side: CAST({name} AS {number}), or CAST(… AS text) for the other")
        }
    };
    external(Error::config("bad_sql", message).with_hint(hint))
}
