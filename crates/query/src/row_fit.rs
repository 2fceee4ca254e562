//! The rows of a query as the columns of a table: by their order, cast to the types of the table.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Column, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{Case, Cast, Expr, LogicalPlan, LogicalPlanBuilder, ScalarUDF, lit};
use forebay_core::Error;
use forebay_lake::is_uuid;

use crate::error::external;
use crate::function::uuid_bytes::UuidBytes;

/// The columns that a query has to give.
#[derive(Debug, Clone)]
pub(crate) struct RowFit {
    /// Columns before them, which stay as they are.
    places: usize,
    columns: Vec<WantedColumn>,
    /// The numbers of clauses, each of which gives all columns; the last of the places says which of them is written.
    clauses: Vec<i64>,
}

#[derive(Debug, Clone)]
struct WantedColumn {
    name: String,
    kind: DataType,
    /// Statements have UUIDs as text.
    is_uuid: bool,
}

impl RowFit {
    /// Columns of the schema by their names.
    pub(crate) fn of(schema: &SchemaRef, names: &[String], places: usize) -> Self {
        let columns = names.iter().filter_map(|name| {
            let field = schema.field_with_name(name).ok()?;
            Some(WantedColumn {
                name: name.clone(),
                kind: field.data_type().clone(),
                is_uuid: is_uuid(field),
            })
        });
        Self {
            places,
            columns: columns.collect(),
            clauses: Vec::new(),
        }
    }

    /// All columns of the schema, which each of these clauses gives.
    pub(crate) fn of_clauses(schema: &SchemaRef, places: usize, clauses: Vec<i64>) -> Self {
        let names = schema.fields().iter().map(|field| field.name().clone());
        let names: Vec<String> = names.collect();
        Self {
            clauses,
            ..Self::of(schema, &names, places)
        }
    }

    pub(crate) fn apply(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        match self.clauses.is_empty() {
            true => self.apply_once(plan),
            false => self.apply_clauses(plan),
        }
    }

    fn apply_once(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let given = plan.schema().fields().len() - self.places.min(plan.schema().fields().len());
        if given != self.columns.len() {
            return Err(wrong_count(given, self.columns.len()));
        }
        let columns = plan.schema().iter().map(|(relation, field)| {
            (
                Expr::Column(Column::new(relation.cloned(), field.name())),
                field.data_type().clone(),
            )
        });
        let given = plan.schema().fields().iter().skip(self.places);
        for (field, wanted) in given.zip(&self.columns) {
            check_names(&wanted.name, field.data_type(), &wanted.kind)?;
        }
        let wanted = self.columns.iter();
        let wanted = std::iter::repeat_n(None, self.places).chain(wanted.map(Some));
        let exprs = columns
            .zip(wanted)
            .map(|((expr, kind), wanted)| match wanted {
                Some(wanted) => wanted.fit(expr, &kind).alias(&wanted.name),
                None => expr,
            });
        let exprs: Vec<Expr> = exprs.collect();
        LogicalPlanBuilder::from(plan).project(exprs)?.build()
    }

    /// The places, and each column as the clause gives it that takes the row.
    fn apply_clauses(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let given = plan.schema().iter().map(|(relation, field)| GivenColumn {
            expr: Expr::Column(Column::new(relation.cloned(), field.name())),
            kind: field.data_type().clone(),
        });
        let given: Vec<GivenColumn> = given.collect();
        let width = self.columns.len();
        let wanted = self.places + width * self.clauses.len();
        if given.len() != wanted || self.places == 0 {
            return Err(wrong_count(given.len(), wanted));
        }
        let (places, values) = given.split_at(self.places);
        let action = &places[self.places - 1].expr;
        let mut exprs: Vec<Expr> = places.iter().map(|place| place.expr.clone()).collect();
        for (at, wanted) in self.columns.iter().enumerate() {
            let values = values.iter().skip(at).step_by(width);
            let mut fitted = Vec::with_capacity(self.clauses.len());
            for (value, clause) in values.zip(&self.clauses) {
                check_names(&wanted.name, &value.kind, &wanted.kind)?;
                let is_taken = action.clone().eq(lit(*clause));
                fitted.push((Box::new(is_taken), Box::new(value.fitted(wanted)?)));
            }
            let column = match fitted.len() {
                1 => *fitted.remove(0).1,
                _ => Expr::Case(Case::new(None, fitted, None)),
            };
            exprs.push(column.alias(&wanted.name));
        }
        LogicalPlanBuilder::from(plan).project(exprs)?.build()
    }
}

/// A column of the query.
struct GivenColumn {
    expr: Expr,
    kind: DataType,
}

impl GivenColumn {
    /// The value in the type of a column, down to the ids of fields within: values of several clauses become one column.
    fn fitted(&self, to: &WantedColumn) -> Result<Expr> {
        Ok(match &self.kind {
            kind if *kind == to.kind => self.expr.clone(),
            DataType::Null => Expr::Literal(ScalarValue::try_from(&to.kind)?, None),
            _ => to.cast(self.expr.clone(), &self.kind),
        })
    }
}

impl WantedColumn {
    fn fit(&self, expr: Expr, kind: &DataType) -> Expr {
        if is_same(kind, &self.kind) {
            return expr;
        }
        self.cast(expr, kind)
    }

    fn cast(&self, expr: Expr, kind: &DataType) -> Expr {
        match self.is_uuid && is_text(kind) {
            true => ScalarUDF::from(UuidBytes::new()).call(vec![expr]),
            false => Expr::Cast(Cast::new(Box::new(expr), self.kind.clone())),
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8
    )
}

/// Whether a value is written as it is: the ids of fields within are those of the table anyway.
fn is_same(kind: &DataType, to: &DataType) -> bool {
    kind.equals_datatype(to) && field_names(kind) == field_names(to) || is_text(kind) && is_text(to)
}

/// The names of all fields within, in their order.
fn field_names(kind: &DataType) -> Vec<&str> {
    match kind {
        DataType::Struct(fields) => fields
            .iter()
            .flat_map(|field| {
                let within = field_names(field.data_type());
                std::iter::once(field.name().as_str()).chain(within)
            })
            .collect(),
        DataType::List(element) | DataType::LargeList(element) => field_names(element.data_type()),
        _ => Vec::new(),
    }
}

/// A field goes by its name, never by its place; one that the column lacks would be lost.
///
/// Errors: `Config` `bad_sql`.
fn check_names(column: &str, kind: &DataType, to: &DataType) -> Result<()> {
    match (kind, to) {
        (DataType::Struct(given), DataType::Struct(wanted)) => {
            for field in given {
                let same = wanted.iter().find(|other| other.name() == field.name());
                let same = same.ok_or_else(|| unknown_field(column, field.name()))?;
                check_names(column, field.data_type(), same.data_type())?;
            }
            Ok(())
        }
        // The engine casts elements by their place.
        (DataType::List(given) | DataType::LargeList(given), DataType::List(wanted)) => {
            let (names, known) = (
                field_names(given.data_type()),
                field_names(wanted.data_type()),
            );
            match names.iter().zip(&known).find(|(name, known)| name != known) {
                Some((name, _)) => Err(unknown_field(column, name)),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn unknown_field(column: &str, field: &str) -> DataFusionError {
    let what = format!("column {column} has no field `{field}` at that place");
    external(Error::config("bad_sql", what).with_hint(
        "write the fields by the names that `forebay tables describe` shows; within lists in that order",
    ))
}

fn wrong_count(given: usize, wanted: usize) -> DataFusionError {
    let columns = if given == 1 { "column" } else { "columns" };
    let what = format!("the rows have {given} {columns} where {wanted} are inserted");
    external(Error::config("bad_sql", what).with_hint(
        "name the columns that are inserted, INSERT INTO t (a, b) …, and give a value for each",
    ))
}
