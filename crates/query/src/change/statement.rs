//! From text to a statement that changes a table, and to the query that gives its rows.

use arrow::datatypes::{Field, Schema};
use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{
    CastKind, ColumnDef, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement as Sql, Value,
    With,
};
use datafusion::sql::sqlparser::parser::Parser;
use forebay_core::{Error, Result, TableName};

use super::fitted::{exact, fit_rows};
use super::merge::TableMerge;
use super::parts::{StatementParts, parts_of};
use super::target::table_name;
use crate::column_path::ColumnPath;
use crate::dialect::ForebayDialect;
use crate::name::normal;
use crate::pinned::PLACED;
use crate::statement::{one, settle};
use crate::table::placed::{FILE_COLUMN, POSITION_COLUMN};

/// One statement that changes a table.
#[derive(Debug, Clone)]
pub struct ChangeStatement {
    pub(super) table: TableName,
    pub(super) change: TableChange,
    /// Queries before the statement that it may name.
    with: Option<With>,
    /// The explanation that was asked for instead.
    explanation: Option<ExplainStatement>,
}

#[derive(Debug, Clone)]
pub(super) enum TableChange {
    Create {
        columns: Vec<ColumnDef>,
        rows: Option<Box<Query>>,
        is_optional: bool,
    },
    Insert {
        columns: Vec<String>,
        rows: Box<Query>,
    },
    Delete(RowChoice),
    Update {
        rows: RowChoice,
        values: Vec<(String, Expr)>,
    },
    Merge(Box<TableMerge>),
    Truncate,
    Drop {
        is_optional: bool,
    },
    AddColumn {
        column: ColumnDef,
        is_optional: bool,
    },
    WidenColumn(ColumnDef),
    /// A column may be null from here on.
    DropNotNull(String),
    RenameColumn {
        column: ColumnPath,
        to: String,
    },
    DropColumn {
        column: ColumnPath,
        is_optional: bool,
    },
}

/// The rows of the table that a statement concerns.
#[derive(Debug, Clone)]
pub(super) struct RowChoice {
    pub(super) alias: Ident,
    pub(super) condition: Option<Expr>,
}

impl ChangeStatement {
    /// Reads one statement; `None` for one that only reads.
    ///
    /// Errors: `Config` `bad_sql`; `Unsupported` `sql_unsupported` for a clause that is not supported.
    pub fn parse(sql: &str) -> Result<Option<Self>> {
        // Most statements read.
        if !may_change(sql) {
            return Ok(None);
        }
        Self::of(one(sql)?)
    }

    fn of(statement: Statement) -> Result<Option<Self>> {
        match statement {
            Statement::Statement(inner) => {
                let Some(StatementParts {
                    name, change, with, ..
                }) = parts_of(*inner)?
                else {
                    return Ok(None);
                };
                Ok(Some(Self {
                    table: table_name(&name)?,
                    change,
                    with,
                    explanation: None,
                }))
            }
            Statement::Explain(explanation) => {
                let inner = Self::of(explanation.statement.as_ref().clone())?;
                Ok(inner.map(|change| Self {
                    explanation: Some(explanation),
                    ..change
                }))
            }
            _ => Ok(None),
        }
    }

    /// Whether it only asks how it would be run.
    pub fn is_explained(&self) -> bool {
        self.explanation.is_some()
    }

    pub(super) fn verb(&self) -> &'static str {
        match &self.change {
            TableChange::Create { .. } => "CREATE TABLE",
            TableChange::Insert { .. } => "INSERT",
            TableChange::Delete(_) => "DELETE",
            TableChange::Update { .. } => "UPDATE",
            TableChange::Merge(_) => "MERGE",
            TableChange::Truncate => "TRUNCATE",
            TableChange::Drop { .. } => "DROP TABLE",
            TableChange::AddColumn { .. }
            | TableChange::WidenColumn(_)
            | TableChange::DropNotNull(_)
            | TableChange::RenameColumn { .. }
            | TableChange::DropColumn { .. } => "ALTER TABLE",
        }
    }

    /// The name of the column that it adds, and those of the structs around it, outermost first.
    pub(super) fn added_path(&self) -> Result<(String, Vec<String>)> {
        let path = match &self.change {
            TableChange::AddColumn { column, .. } => ColumnPath::of(&column.name).0,
            _ => Vec::new(),
        };
        let parts = path.split_last();
        let (name, around) =
            parts.ok_or_else(|| Error::bug("change_failed", "a statement adds no column"))?;
        Ok((name.clone(), around.to_vec()))
    }

    /// Whether it deletes or replaces some rows.
    pub(super) fn deletes_rows(&self) -> bool {
        matches!(
            self.change,
            TableChange::Delete(_) | TableChange::Update { .. } | TableChange::Merge(_)
        )
    }

    pub(super) fn changes_rows(&self) -> bool {
        !matches!(self.change, TableChange::Drop { .. })
    }

    /// The query of its rows, ready to be planned: those that come, with the places of those that go before them. `table` has the columns
    /// of the table.
    ///
    /// Errors: `Config` `bad_sql` for columns that the table does not have; `Unsupported` as for other queries.
    pub(super) fn query(&self, table: &Schema) -> Result<Option<Statement>> {
        let query = match &self.change {
            TableChange::Create {
                rows: None,
                columns,
                ..
            } => typed_columns(columns)?,
            TableChange::Create {
                rows: Some(rows), ..
            } => rows.as_ref().clone(),
            TableChange::Insert { columns, rows } => {
                let mut rows = rows.as_ref().clone();
                fit_rows(&mut rows, &named_fields(table, columns));
                rows
            }
            TableChange::Delete(rows) => self.placed(rows, Vec::new())?,
            TableChange::Update { rows, values } => {
                let fields = table.fields().iter();
                let items = fields.map(|field| new_value(field, values));
                self.placed(rows, items.collect())?
            }
            TableChange::Merge(merge) => merge.query(&self.table, table)?,
            TableChange::AddColumn { column, .. } | TableChange::WidenColumn(column) => {
                typed_columns(std::slice::from_ref(column))?
            }
            TableChange::Truncate
            | TableChange::Drop { .. }
            | TableChange::DropNotNull(_)
            | TableChange::RenameColumn { .. }
            | TableChange::DropColumn { .. } => return Ok(None),
        };
        let mut statement = settled(self.after_with(query)?)?;
        if let Some(explanation) = &self.explanation {
            statement = Statement::Explain(ExplainStatement {
                statement: Box::new(statement),
                ..explanation.clone()
            });
        }
        Ok(Some(statement))
    }

    /// The query with the queries before the statement, which one with queries of its own has around it.
    fn after_with(&self, mut query: Query) -> Result<Query> {
        let Some(with) = &self.with else {
            return Ok(query);
        };
        if query.with.is_some() {
            let inner = SetExpr::Query(Box::new(query));
            query = parsed("SELECT 1")?;
            query.body = Box::new(inner);
        }
        query.with = Some(with.clone());
        Ok(query)
    }

    /// `SELECT file, position, … FROM the table with places WHERE …`
    fn placed(&self, rows: &RowChoice, items: Vec<SelectItem>) -> Result<Query> {
        let text = format!(
            "SELECT {FILE_COLUMN}, {POSITION_COLUMN} FROM {}",
            placed_table(&self.table, &rows.alias),
        );
        let mut query = parsed(&text)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.selection.clone_from(&rows.condition);
            select.projection.extend(items);
        }
        Ok(query)
    }
}

/// The query, ready to be planned.
pub(super) fn settled(query: Query) -> Result<Statement> {
    let mut statement = Statement::Statement(Box::new(Sql::Query(Box::new(query))));
    settle(&mut statement)?;
    Ok(statement)
}

/// The table with the places of its rows, as a query names it.
pub(super) fn placed_table(table: &TableName, alias: &Ident) -> String {
    format!(
        "{}.{} AS {}",
        quoted(table.namespace.as_str()),
        quoted(&format!("{}{PLACED}", table.name)),
        quoted(&normal(alias)),
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a text has a word with which such a statement begins, or one that is refused in words of its own.
fn may_change(sql: &str) -> bool {
    let words = [
        "insert", "delete", "update", "create", "truncate", "drop", "alter", "merge",
    ];
    let text = sql.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

pub(super) fn parsed(text: &str) -> Result<Query> {
    let query = Parser::new(&ForebayDialect)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_query());
    let query = query.map_err(|error| {
        Error::bug("change_failed", "failed to make the query of a statement").with_source(error)
    })?;
    Ok(*query)
}

/// The columns that an `INSERT` names, or all.
fn named_fields<'a>(table: &'a Schema, names: &[String]) -> Vec<&'a Field> {
    match names {
        [] => table.fields().iter().map(AsRef::as_ref).collect(),
        names => {
            let fields = names.iter();
            let fields = fields.filter_map(|name| table.field_with_name(name).ok());
            fields.collect()
        }
    }
}

fn new_value(field: &Field, values: &[(String, Expr)]) -> SelectItem {
    let column = Ident::with_quote('"', field.name());
    match values.iter().find(|(changed, _)| changed == field.name()) {
        Some((_, value)) => {
            let mut expr = value.clone();
            exact(&mut expr, field.data_type());
            SelectItem::ExprWithAlias {
                expr,
                alias: column,
            }
        }
        None => SelectItem::UnnamedExpr(Expr::Identifier(column)),
    }
}

/// A query whose columns have the declared types.
fn typed_columns(columns: &[ColumnDef]) -> Result<Query> {
    let mut query = parsed("SELECT 1 WHERE false")?;
    let items = columns.iter().map(|column| SelectItem::ExprWithAlias {
        expr: typed_null(column),
        alias: column.name.clone(),
    });
    if let SetExpr::Select(select) = query.body.as_mut() {
        let Select { projection, .. } = select.as_mut();
        *projection = items.collect();
    }
    Ok(query)
}

fn typed_null(column: &ColumnDef) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::value(Value::Null)),
        data_type: column.data_type.clone(),
        array: false,
        format: None,
    }
}
