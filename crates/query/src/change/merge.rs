//! `MERGE INTO`: the rows of a source beside those of a table, and what is done with each pair.
//!
//! The query joins both and gives each pair the number of the first clause that takes it ([`ACTION_COLUMN`]), the place of its row in the table, and the
//! values of every clause that writes a row, each in columns of its own: one clause may have other types than the next, and its values are
//! computed for its pairs only. Which of them is written is decided by `row_fit`, where the types of the table are known.

use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, JoinConstraint, JoinOperator, Merge, MergeAction,
    MergeClause, MergeClauseKind, MergeInsertExpr, MergeInsertKind, MergeUpdateExpr, ObjectName,
    Query, SelectItem, SetExpr, TableFactor, TableWithJoins, Value,
};
use forebay_core::{Error, Result, TableName};

use super::fitted::{exact, fit};
use super::merge_scope::{HiddenSide, factor_name, of_side};
use super::parts::{assignments, only_table, unsupported};
use super::statement::{parsed, placed_table};
use crate::name::normal;
use crate::table::placed::{FILE_COLUMN, POSITION_COLUMN};

/// The number of the clause that takes a pair, from 1 on.
pub(crate) const ACTION_COLUMN: &str = "_forebay_action";
/// True for pairs with a row of the source.
const SOURCE_COLUMN: &str = "_forebay_source";
/// Most `WHEN` clauses of one statement.
const CLAUSES_MAX: usize = 64;

/// A `MERGE` without its table.
#[derive(Debug, Clone)]
pub(super) struct TableMerge {
    target: Ident,
    source: TableFactor,
    /// The name of the source in the statement.
    source_name: Ident,
    on: Expr,
    clauses: Vec<ActionClause>,
}

/// One `WHEN`.
#[derive(Debug, Clone)]
struct ActionClause {
    pairs: Pairs,
    condition: Option<Expr>,
    action: RowAction,
}

/// Which pairs a clause is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pairs {
    Matched,
    /// A row of the source alone.
    OfSource,
    /// A row of the table alone.
    OfTarget,
}

/// What a clause does.
#[derive(Debug, Clone)]
enum RowAction {
    Update(Vec<(String, Expr)>),
    Delete,
    Insert {
        columns: Vec<String>,
        values: Vec<Expr>,
    },
}

/// What happens to a pair with the number of a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActionKind {
    Inserted,
    Updated,
    Deleted,
}

impl TableMerge {
    /// The clauses by their numbers, the first of which is 1.
    pub(super) fn kinds(&self) -> Vec<ActionKind> {
        let kinds = self.clauses.iter().map(|clause| match clause.action {
            RowAction::Insert { .. } => ActionKind::Inserted,
            RowAction::Update(_) => ActionKind::Updated,
            RowAction::Delete => ActionKind::Deleted,
        });
        kinds.collect()
    }

    /// The columns that a clause names.
    pub(super) fn updated_columns(&self) -> impl Iterator<Item = &String> {
        let values = self
            .clauses
            .iter()
            .filter_map(|clause| match &clause.action {
                RowAction::Update(values) => Some(values),
                _ => None,
            });
        values.flatten().map(|(name, _)| name)
    }

    /// The columns of each `INSERT`, and the number of its values.
    pub(super) fn insertions(&self) -> impl Iterator<Item = (&[String], usize)> {
        self.clauses
            .iter()
            .filter_map(|clause| match &clause.action {
                RowAction::Insert { columns, values } => Some((columns.as_slice(), values.len())),
                _ => None,
            })
    }

    /// The query of the pairs that a clause takes.
    ///
    /// Errors: `Config` `bad_sql` for a clause that reads a side that its pairs do not have.
    pub(super) fn query(&self, name: &TableName, table: &Schema) -> Result<Query> {
        let text = format!(
            "SELECT {FILE_COLUMN}, {POSITION_COLUMN}, {ACTION_COLUMN} FROM (SELECT *, 0 AS {ACTION_COLUMN} FROM (SELECT *, true AS {SOURCE_COLUMN} FROM source) AS source JOIN {} ON true) WHERE {ACTION_COLUMN} > 0",
            placed_table(name, &self.target),
        );
        let mut query = parsed(&text)?;
        let SetExpr::Select(outer) = query.body.as_mut() else {
            return Ok(query);
        };
        outer.projection.extend(self.values(table)?);
        if let Some(pairs) = derived_of(outer.from.first_mut().map(|from| &mut from.relation)) {
            self.join(pairs)?;
        }
        Ok(query)
    }

    /// Puts the source, the condition and the numbers of the clauses into the query of pairs.
    fn join(&self, pairs: &mut Query) -> Result<()> {
        let SetExpr::Select(select) = pairs.body.as_mut() else {
            return Ok(());
        };
        if let Some(SelectItem::ExprWithAlias { expr, .. }) = select.projection.last_mut() {
            *expr = self.action()?;
        }
        let Some(TableWithJoins { relation, joins }) = select.from.first_mut() else {
            return Ok(());
        };
        if let TableFactor::Derived {
            subquery,
            alias: Some(alias),
            ..
        } = relation
        {
            alias.name = self.source_name.clone();
            if let SetExpr::Select(rows) = subquery.body.as_mut()
                && let Some(from) = rows.from.first_mut()
            {
                from.relation = self.source.clone();
            }
        }
        if let Some(join) = joins.first_mut() {
            let on = JoinConstraint::On(self.on.clone());
            join.join_operator = self.kind_of_join(on);
        }
        Ok(())
    }

    /// Rows that no clause is about are left out by the join. The source comes first: its rows are those that a join keeps in memory.
    fn kind_of_join(&self, on: JoinConstraint) -> JoinOperator {
        let has = |pairs: Pairs| self.clauses.iter().any(|clause| clause.pairs == pairs);
        match (has(Pairs::OfSource), has(Pairs::OfTarget)) {
            (true, true) => JoinOperator::FullOuter(on),
            (true, false) => JoinOperator::LeftOuter(on),
            (false, true) => JoinOperator::RightOuter(on),
            (false, false) => JoinOperator::Inner(on),
        }
    }

    /// The number of the first clause that takes a pair.
    fn action(&self) -> Result<Expr> {
        let is_there = |side: &Ident, column: &str| Expr::IsNotNull(Box::new(of(side, column)));
        let has_target = is_there(&self.target, FILE_COLUMN);
        let has_source = is_there(&self.source_name, SOURCE_COLUMN);
        let both = Expr::BinaryOp {
            left: Box::new(has_target.clone()),
            op: BinaryOperator::And,
            right: Box::new(has_source),
        };
        let groups = [
            (both, self.first_of(Pairs::Matched)?),
            (has_target, self.first_of(Pairs::OfTarget)?),
        ];
        let groups = groups
            .into_iter()
            .map(|(condition, result)| CaseWhen { condition, result });
        let of_source = self.first_of(Pairs::OfSource)?;
        Ok(case(groups.collect(), Some(of_source)))
    }

    fn first_of(&self, pairs: Pairs) -> Result<Expr> {
        let mut conditions = Vec::new();
        for (number, clause) in (1_usize..).zip(&self.clauses) {
            if clause.pairs != pairs {
                continue;
            }
            let condition = match &clause.condition {
                Some(condition) => self.of_pairs(condition, pairs)?,
                None => Expr::value(Value::Boolean(true)),
            };
            let result = whole(number);
            conditions.push(CaseWhen { condition, result });
        }
        Ok(match conditions.is_empty() {
            true => whole(0),
            false => case(conditions, Some(whole(0))),
        })
    }

    /// An expression of a clause, whose names are those of the sides that its pairs have.
    fn of_pairs(&self, expr: &Expr, pairs: Pairs) -> Result<Expr> {
        let (visible, hidden) = match pairs {
            Pairs::Matched => return Ok(expr.clone()),
            Pairs::OfSource => (&self.source_name, &self.target),
            Pairs::OfTarget => (&self.target, &self.source_name),
        };
        let hidden = HiddenSide {
            name: hidden,
            clause: match pairs {
                Pairs::OfTarget => "WHEN NOT MATCHED BY SOURCE",
                _ => "WHEN NOT MATCHED",
            },
        };
        of_side(expr.clone(), visible, &hidden)
    }

    /// The values of all columns for every clause that writes a row, computed for its pairs only.
    fn values(&self, table: &Schema) -> Result<Vec<SelectItem>> {
        let mut items = Vec::new();
        for (number, clause) in (1_usize..).zip(&self.clauses) {
            if matches!(clause.action, RowAction::Delete) {
                continue;
            }
            for (at, field) in table.fields().iter().enumerate() {
                let expr = match clause.action.value_of(at, field) {
                    Some(value) => for_clause(number, self.of_pairs(&value, clause.pairs)?),
                    None => self.unset(&clause.action, field),
                };
                let alias = Ident::with_quote('"', format!("_forebay_{number}_{at}"));
                items.push(SelectItem::ExprWithAlias { expr, alias });
            }
        }
        Ok(items)
    }

    /// A column that a clause does not name: as it is, or null in a new row.
    fn unset(&self, action: &RowAction, field: &Field) -> Expr {
        match action {
            RowAction::Update(_) => of(&self.target, field.name()),
            _ => Expr::value(Value::Null),
        }
    }
}

impl RowAction {
    /// The value that it gives to a column, which is the table's at this place.
    fn value_of(&self, at: usize, field: &Field) -> Option<Expr> {
        match self {
            Self::Delete => None,
            Self::Update(values) => {
                let (_, value) = values.iter().find(|(name, _)| name == field.name())?;
                let mut value = value.clone();
                exact(&mut value, field.data_type());
                Some(value)
            }
            Self::Insert { columns, values } => {
                let place = match columns.is_empty() {
                    true => at,
                    false => columns.iter().position(|name| name == field.name())?,
                };
                let mut value = values.get(place)?.clone();
                fit(&mut value, field.data_type());
                Some(value)
            }
        }
    }
}

/// `CASE WHEN action = number THEN value END`
fn for_clause(number: usize, value: Expr) -> Expr {
    let action = Expr::Identifier(Ident::with_quote('"', ACTION_COLUMN));
    let condition = Expr::BinaryOp {
        left: Box::new(action),
        op: BinaryOperator::Eq,
        right: Box::new(whole(number)),
    };
    let when = CaseWhen {
        condition,
        result: value,
    };
    case(vec![when], None)
}

fn case(conditions: Vec<CaseWhen>, otherwise: Option<Expr>) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions,
        else_result: otherwise.map(Box::new),
    }
}

fn whole(number: usize) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

/// A column of one side.
fn of(side: &Ident, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![side.clone(), Ident::with_quote('"', column)])
}

fn derived_of(factor: Option<&mut TableFactor>) -> Option<&mut Query> {
    match factor {
        Some(TableFactor::Derived { subquery, .. }) => Some(subquery.as_mut()),
        _ => None,
    }
}

/// The table of a `MERGE`, and the rest of it.
///
/// Errors: `Config` `bad_sql`; `Unsupported` `sql_unsupported`.
pub(super) fn merging(merge: Merge) -> Result<(ObjectName, TableMerge)> {
    if merge.output.is_some() {
        return Err(unsupported(
            "MERGE with RETURNING or OUTPUT",
            "read the rows by a SELECT after it",
        ));
    }
    if merge.clauses.is_empty() || merge.clauses.len() > CLAUSES_MAX {
        let what = format!("MERGE has 1 to {CLAUSES_MAX} WHEN clauses");
        return Err(Error::config("bad_sql", what)
            .with_hint("write WHEN MATCHED THEN UPDATE SET …, WHEN NOT MATCHED THEN INSERT …"));
    }
    let target = TableWithJoins {
        relation: merge.table,
        joins: Vec::new(),
    };
    let (name, target) = only_table(target)?;
    let source_name = factor_name(&merge.source).ok_or_else(|| {
        Error::config("bad_sql", "the source of MERGE has no name")
            .with_hint("write USING (SELECT …) AS s ON …")
    })?;
    if normal(&source_name) == normal(&target) {
        let what = format!("the table and the source of MERGE are both called {target}");
        return Err(Error::config("bad_sql", what).with_hint("write USING … AS s"));
    }
    let clauses = merge.clauses.into_iter();
    let clauses = clauses.map(|clause| action_clause(clause, &target));
    let merge = TableMerge {
        clauses: clauses.collect::<Result<_>>()?,
        source: merge.source,
        on: *merge.on,
        source_name,
        target,
    };
    Ok((name, merge))
}

fn action_clause(clause: MergeClause, target: &Ident) -> Result<ActionClause> {
    let pairs = match clause.clause_kind {
        MergeClauseKind::Matched => Pairs::Matched,
        MergeClauseKind::NotMatched | MergeClauseKind::NotMatchedByTarget => Pairs::OfSource,
        MergeClauseKind::NotMatchedBySource => Pairs::OfTarget,
    };
    let action = match clause.action {
        MergeAction::Delete { .. } => RowAction::Delete,
        MergeAction::Update(update) => RowAction::Update(updated(update, target)?),
        MergeAction::Insert(insert) => inserted(insert, target)?,
    };
    Ok(ActionClause {
        pairs,
        condition: clause.predicate,
        action,
    })
}

fn updated(update: MergeUpdateExpr, target: &Ident) -> Result<Vec<(String, Expr)>> {
    if update.update_predicate.is_some() || update.delete_predicate.is_some() {
        return Err(unsupported(
            "UPDATE … WHERE and DELETE WHERE within MERGE",
            "write the condition in WHEN MATCHED AND …",
        ));
    }
    assignments(update.assignments, target)
}

fn inserted(insert: MergeInsertExpr, target: &Ident) -> Result<RowAction> {
    let rows = match insert.kind {
        MergeInsertKind::Values(values) => values.rows,
        MergeInsertKind::Row => {
            return Err(unsupported("INSERT ROW within MERGE", "write VALUES (…)"));
        }
    };
    if insert.insert_predicate.is_some() {
        return Err(unsupported(
            "INSERT … WHERE within MERGE",
            "write the condition in WHEN NOT MATCHED AND …",
        ));
    }
    let Ok([values]) = <[Vec<Expr>; 1]>::try_from(rows) else {
        return Err(
            Error::config("bad_sql", "INSERT within MERGE has one row of values")
                .with_hint("write INSERT (a, b) VALUES (s.a, s.b)"),
        );
    };
    let columns = insert.columns.iter();
    let columns = columns.map(|column| inserted_column(column, target));
    Ok(RowAction::Insert {
        columns: columns.collect::<Result<_>>()?,
        values,
    })
}

fn inserted_column(column: &ObjectName, target: &Ident) -> Result<String> {
    let names = column.0.iter().map(|part| part.as_ident().map(normal));
    match names.collect::<Option<Vec<String>>>().as_deref() {
        Some([name]) => Ok(name.clone()),
        Some([table, name]) if *table == normal(target) => Ok(name.clone()),
        _ => Err(unsupported(
            "INSERT into a field of a struct",
            "name the columns of the table",
        )),
    }
}
