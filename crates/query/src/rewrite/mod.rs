//! Rewrites a parsed statement for the engine's planner, before it is planned.
//!
//! Syntax that the planner misreads (`^`), ignores (`TABLESAMPLE`, `FROM t` alone) or refuses (`LIKE … ESCAPE`,
//! repeated columns) is rewritten to its SQL meaning, or is an error with a hint. Nothing here knows which tables or columns exist.

mod aggregates;
mod calls;
mod clauses;
mod connective;
mod date_parts;
mod derived_names;
mod field_access;
mod groups;
mod ignored;
mod long_interval;
mod names;
mod quantified;
mod recursive;
mod row_members;
mod rows;
mod sample;
pub(crate) mod shadowed;
mod sign;
mod sort_names;
mod template;
mod using;
mod values;
pub(crate) mod wildcard;
mod windows;

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CastKind, DataType, DateTimeField, ExactNumberInfo, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    Query, SetExpr, SetOperator, SetQuantifier, Spanned, TableFactor, UnaryOperator, Value,
    ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use forebay_core::{Error, Result};

use crate::function::sized::CAST_TO;

/// Digits of the largest decimal.
const DIGITS_MAX: usize = 38;

/// The reader of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// People: unnamed columns are called by their text.
    People,
    /// A table: unnamed columns keep the names that they have had, and nothing depends on chance.
    Table,
}

/// Rewrites the statement in place. Errors: `Unsupported` for a form that is refused, with its position.
pub(crate) fn rewrite(statement: &mut Statement, reader: Reader) -> Result<()> {
    match statement {
        Statement::Statement(inner) => {
            shadowed::settle(inner, &[])?;
            match inner.visit(&mut Rewriter { reader }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(error) => Err(*error),
            }
        }
        Statement::Explain(explain) => rewrite(&mut explain.statement, reader),
        _ => Ok(()),
    }
}

/// The same for one expression.
pub(crate) fn rewrite_expression(expr: &mut Expr) -> Result<()> {
    let mut rewriter = Rewriter {
        reader: Reader::Table,
    };
    match expr.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Rewriter {
    reader: Reader,
}

/// Errors: `Unsupported` `sql_unsupported`, at the start of the refused part.
fn unsupported(at: &impl Spanned, message: &str, hint: &str) -> Box<Error> {
    let message = located(at.span(), message);
    Box::new(Error::unsupported("sql_unsupported", message).with_hint(hint))
}

/// Errors: `Config` `bad_sql`, at the start of what is wrong.
fn misused(span: Span, message: &str, hint: &str) -> Box<Error> {
    let message = located(span, message);
    Box::new(Error::config("bad_sql", message).with_hint(hint))
}

/// The message with its place, where the parser has noted one.
fn located(span: Span, message: &str) -> String {
    match span.start.line {
        0 => message.to_owned(),
        line => format!("{line}:{}: {message}", span.start.column),
    }
}

impl VisitorMut for Rewriter {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        ignored::check_query(query)?;
        multiset(query)?;
        clauses::limit_of_fetch(query)?;
        row_members::settle_conditions(&mut query.body);
        groups::settle(&mut query.body)?;
        recursive::name_first_terms(query);
        floats_of_values(&mut query.body);
        values::settle(&mut query.body)?;
        names::settle(&mut query.body, self.reader)?;
        using::settle(&mut query.body)?;
        wildcard::settle(&mut query.body);
        windows::settle(query)?;
        sort_names::settle(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        derived_names::settle(factor);
        sample::replace(factor, self.reader)?;
        ignored::check_table(factor)?;
        ignored::of_function(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        ignored::check_function(expr)?;
        date_parts::check(expr)?;
        field_access::settle(expr);
        sign::settle(expr);
        quantified::settle_membership(expr);
        row_members::check(expr)?;
        row_members::settle(expr);
        rows::check(expr)
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        number(expr)?;
        operator(expr)?;
        connective::hoist(expr);
        pattern(expr);
        template::translate(expr)?;
        calls::rename(expr);
        calls::settle(expr)?;
        aggregates::settle(expr)?;
        clauses::without_collation(expr)?;
        rows::settle(expr);
        quantified::settle(expr)?;
        seconds(expr);
        long_interval::settle(expr);
        if self.reader == Reader::People {
            visible_cast(expr);
        }
        ControlFlow::Continue(())
    }
}

/// A call of a function of ours or the engine's.
fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn list(items: Vec<Expr>) -> Expr {
    Expr::Array(Array {
        elem: items,
        named: true,
    })
}

fn text(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_owned()))
}

/// `1e5` is a double; a whole number beyond 64 bits is a decimal; more than 38 digits are refused.
fn number(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    let Expr::Value(ValueWithSpan {
        value: Value::Number(digits, _),
        span,
    }) = expr
    else {
        return ControlFlow::Continue(());
    };
    if digits.contains(['e', 'E']) {
        let double = DataType::Double(ExactNumberInfo::None);
        *expr = cast(text(digits), double);
        return ControlFlow::Continue(());
    }
    let count = digits
        .trim_start_matches('0')
        .matches(|c: char| c.is_ascii_digit())
        .count();
    if count > DIGITS_MAX {
        let error = Error::config(
            "bad_sql",
            format!(
                "{}:{}: a number of {count} digits; numbers have at most {DIGITS_MAX}",
                span.start.line, span.start.column
            ),
        );
        return ControlFlow::Break(Box::new(
            error.with_hint("write it as text, or as a double such as 1e40"),
        ));
    }
    if !digits.contains('.')
        && digits
            .parse::<u64>()
            .is_ok_and(|value| value > i64::MAX as u64 + 1)
    {
        digits.push('.');
    }
    ControlFlow::Continue(())
}

fn cast(expr: Expr, to: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type: to,
        array: false,
        format: None,
    }
}

fn operator(expr: &mut Expr) -> ControlFlow<Box<Error>> {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            let name = match op {
                BinaryOperator::BitwiseXor | BinaryOperator::PGExp => "power",
                BinaryOperator::Arrow => "json_extract",
                BinaryOperator::LongArrow => "json_extract_string",
                _ => return ControlFlow::Continue(()),
            };
            *expr = call(name, vec![*left.clone(), *right.clone()]);
        }
        // The planner calls the engine's function, which counts bytes.
        Expr::Overlay {
            expr: value,
            overlay_what,
            overlay_from,
            overlay_for,
        } => {
            let mut args = vec![*value.clone(), *overlay_what.clone(), *overlay_from.clone()];
            args.extend(overlay_for.as_deref().cloned());
            *expr = call("overlay", args);
        }
        // The planner calls the engine's function, not ours with keys for each row.
        Expr::Map(map) => {
            let entries = std::mem::take(&mut map.entries).into_iter();
            let (keys, values) = entries.map(|entry| (*entry.key, *entry.value)).unzip();
            *expr = call("map", vec![list(keys), list(values)]);
        }
        Expr::AtTimeZone {
            timestamp,
            time_zone,
        } => *expr = call("timezone", vec![*time_zone.clone(), *timestamp.clone()]),
        // The engine counts from 0, SQL from 1.
        Expr::Extract {
            field: DateTimeField::Isodow,
            ..
        } => {
            let day = std::mem::replace(expr, Expr::value(Value::Null));
            *expr = next(day);
        }
        Expr::Function(function) if is_iso_weekday(function) => {
            let day = std::mem::replace(expr, Expr::value(Value::Null));
            *expr = next(day);
        }
        Expr::Lambda(_) => {
            return ControlFlow::Break(unsupported(
                expr,
                "lambda functions are not supported",
                "use unnest and an aggregate",
            ));
        }
        _ => {}
    }
    ControlFlow::Continue(())
}

/// Whether it is `date_part('isodow', …)`.
fn is_iso_weekday(function: &Function) -> bool {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    let field = match list.args.first() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) => &value.value,
        _ => return false,
    };
    let is_field =
        matches!(field, Value::SingleQuotedString(text) if text.eq_ignore_ascii_case("isodow"));
    is_field && matches!(name.as_str(), "date_part" | "datepart")
}

fn next(number: Expr) -> Expr {
    let one = Expr::value(Value::Number("1".to_owned(), false));
    let sum = Expr::BinaryOp {
        left: Box::new(number),
        op: BinaryOperator::Plus,
        right: Box::new(one),
    };
    Expr::Nested(Box::new(sum))
}

/// `EXCEPT ALL` and `INTERSECT ALL` count how often rows are there; the engine does not.
fn multiset(query: &Query) -> ControlFlow<Box<Error>> {
    let mut open = vec![query.body.as_ref()];
    while let Some(body) = open.pop() {
        let SetExpr::SetOperation {
            op,
            set_quantifier,
            left,
            right,
        } = body
        else {
            continue;
        };
        if *op != SetOperator::Union && *set_quantifier == SetQuantifier::All {
            return ControlFlow::Break(unsupported(
                query,
                &format!("{op} ALL is not supported"),
                &format!(
                    "write {op}, which takes equal rows for one, or number the rows with row_number()"
                ),
            ));
        }
        open.extend([left.as_ref(), right.as_ref()]);
    }
    ControlFlow::Continue(())
}

/// `timestamp '2026-01-31 10:00'` has no seconds, which the engine wants.
fn seconds(expr: &mut Expr) {
    let literal = match expr {
        Expr::TypedString(typed) if is_instant(&typed.data_type) => &mut typed.value,
        Expr::Cast {
            expr, data_type, ..
        } if is_instant(data_type) => match expr.as_mut() {
            Expr::Value(value) => value,
            _ => return,
        },
        _ => return,
    };
    if let Value::SingleQuotedString(text) = &mut literal.value
        && ends_with_minutes(text)
    {
        text.push_str(":00");
    }
}

fn is_instant(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(..) | DataType::Datetime(_))
}

/// Whether a text is a date, hours and minutes.
pub(crate) fn ends_with_minutes(text: &str) -> bool {
    let Some((_, time)) = text.split_once([' ', 'T']) else {
        return false;
    };
    let digits = time.split_once(':');
    digits.is_some_and(|(hours, minutes)| {
        [hours, minutes]
            .iter()
            .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

/// The character that escapes in `LIKE` when none is named.
const ESCAPE: &str = "\\";

fn pattern(expr: &mut Expr) {
    match expr {
        Expr::Like {
            pattern,
            escape_char,
            ..
        }
        | Expr::ILike {
            pattern,
            escape_char,
            ..
        } => {
            if let Some(Value::SingleQuotedString(escape)) = escape_char.take()
                && escape != ESCAPE
            {
                **pattern = call("like_escape", vec![*pattern.clone(), text(&escape)]);
            }
        }
        Expr::SimilarTo {
            negated,
            expr: subject,
            pattern,
            escape_char,
        } => {
            let escape = match escape_char {
                Some(Value::SingleQuotedString(escape)) => escape.clone(),
                _ => ESCAPE.to_owned(),
            };
            let pattern = call("similar_pattern", vec![*pattern.clone(), text(&escape)]);
            let matches = call("regexp_like", vec![*subject.clone(), pattern]);
            *expr = if *negated {
                Expr::UnaryOp {
                    op: UnaryOperator::Not,
                    expr: Box::new(matches),
                }
            } else {
                matches
            };
        }
        _ => {}
    }
}

/// The engine names an expression without its casts, so that `sum(x)` and `sum(x::int)` would be one column.
fn visible_cast(expr: &mut Expr) {
    if let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
        && !matches!(inner.as_ref(), Expr::Value(_))
    {
        let name = data_type.to_string();
        let cast = expr.clone();
        *expr = call(CAST_TO, vec![cast, text(&name)]);
    }
}

/// A column of `VALUES` with a double in one row has doubles in all.
fn floats_of_values(body: &mut SetExpr) {
    let SetExpr::Values(values) = body else {
        return;
    };
    let width = values.rows.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..width {
        let has_double = values
            .rows
            .iter()
            .any(|row| row.get(column).is_some_and(is_double));
        if !has_double {
            continue;
        }
        for cell in values.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            if is_decimal(cell) {
                *cell = cast(cell.clone(), DataType::Double(ExactNumberInfo::None));
            }
        }
    }
}

fn is_double(expr: &Expr) -> bool {
    match expr {
        Expr::Cast { data_type, .. } => matches!(
            data_type,
            DataType::Double(_)
                | DataType::DoublePrecision
                | DataType::Float(_)
                | DataType::Real
                | DataType::Float4
                | DataType::Float8
        ),
        Expr::Value(ValueWithSpan {
            value: Value::Number(digits, _),
            ..
        }) => digits.contains(['e', 'E']),
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => is_double(expr),
        _ => false,
    }
}

fn is_decimal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::Number(digits, _),
            ..
        }) => digits.contains('.') && !digits.contains(['e', 'E']),
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => is_decimal(expr),
        _ => false,
    }
}
