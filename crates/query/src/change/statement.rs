//! From text to a statement that changes a table, and to the query that gives its rows.

use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, AssignmentTarget, CastKind, ColumnDef,
    ColumnOption, CreateTable, Delete, Expr, FromTable, Ident, Insert, ObjectName, ObjectType,
    Query, Select, SelectItem, SetExpr, Statement as Sql, TableFactor, TableObject, TableWithJoins,
    Truncate, Update, Value,
};
use datafusion::sql::sqlparser::parser::Parser;
use forebay_core::{Error, Result, TableName};

use super::target::table_name;
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
}

/// The rows of the table that a statement concerns.
#[derive(Debug, Clone)]
pub(super) struct RowChoice {
    alias: Ident,
    condition: Option<Expr>,
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
        let changed = match statement {
            Statement::Statement(inner) => match *inner {
                Sql::Insert(insert) => insertion(insert)?,
                Sql::Delete(delete) => deletion(delete)?,
                Sql::Update(update) => replacement(update)?,
                Sql::CreateTable(create) => creation(create)?,
                Sql::Truncate(truncate) => truncation(truncate)?,
                Sql::AlterTable(alter) => alteration(alter)?,
                Sql::Drop {
                    object_type: ObjectType::Table,
                    if_exists,
                    names,
                    cascade: false,
                    purge: false,
                    ..
                } => (
                    only_name(names)?,
                    TableChange::Drop {
                        is_optional: if_exists,
                    },
                ),
                _ => return Ok(None),
            },
            Statement::Explain(explanation) => {
                let inner = Self::of(explanation.statement.as_ref().clone())?;
                return Ok(inner.map(|change| Self {
                    explanation: Some(explanation),
                    ..change
                }));
            }
            _ => return Ok(None),
        };
        let (name, change) = changed;
        Ok(Some(Self {
            table: table_name(&name)?,
            change,
            explanation: None,
        }))
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
            TableChange::Truncate => "TRUNCATE",
            TableChange::Drop { .. } => "DROP TABLE",
            TableChange::AddColumn { .. }
            | TableChange::WidenColumn(_)
            | TableChange::DropNotNull(_) => "ALTER TABLE",
        }
    }

    pub(super) fn changes_rows(&self) -> bool {
        !matches!(self.change, TableChange::Drop { .. })
    }

    /// The query of its rows, ready to be planned: those that come, with the places of those that go before them. `columns` are those of
    /// the table.
    ///
    /// Errors: `Config` `bad_sql` for columns that the table does not have; `Unsupported` as for other queries.
    pub(super) fn query(&self, columns: &[String]) -> Result<Option<Statement>> {
        let query = match &self.change {
            TableChange::Create {
                rows: None,
                columns,
                ..
            } => typed_columns(columns)?,
            TableChange::Create {
                rows: Some(rows), ..
            }
            | TableChange::Insert { rows, .. } => rows.as_ref().clone(),
            TableChange::Delete(rows) => self.placed(rows, Vec::new())?,
            TableChange::Update { rows, values } => {
                let items = columns.iter().map(|name| new_value(name, values));
                self.placed(rows, items.collect())?
            }
            TableChange::AddColumn { column, .. } | TableChange::WidenColumn(column) => {
                typed_columns(std::slice::from_ref(column))?
            }
            TableChange::Truncate | TableChange::Drop { .. } | TableChange::DropNotNull(_) => {
                return Ok(None);
            }
        };
        let mut statement = Statement::Statement(Box::new(Sql::Query(Box::new(query))));
        settle(&mut statement)?;
        if let Some(explanation) = &self.explanation {
            statement = Statement::Explain(ExplainStatement {
                statement: Box::new(statement),
                ..explanation.clone()
            });
        }
        Ok(Some(statement))
    }

    /// `SELECT file, position, … FROM the table with places WHERE …`
    fn placed(&self, rows: &RowChoice, items: Vec<SelectItem>) -> Result<Query> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let text = format!(
            "SELECT {FILE_COLUMN}, {POSITION_COLUMN} FROM {}.{} AS {}",
            quoted(self.table.namespace.as_str()),
            quoted(&format!("{}{PLACED}", self.table.name)),
            quoted(&normal(&rows.alias)),
        );
        let mut query = parsed(&text)?;
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.selection.clone_from(&rows.condition);
            select.projection.extend(items);
        }
        Ok(query)
    }
}

/// Whether a text has a word with which such a statement begins.
fn may_change(sql: &str) -> bool {
    let words = [
        "insert", "delete", "update", "create", "truncate", "drop", "alter",
    ];
    let text = sql.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

fn parsed(text: &str) -> Result<Query> {
    let query = Parser::new(&ForebayDialect)
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_query());
    let query = query.map_err(|error| {
        Error::bug("change_failed", "failed to make the query of a statement").with_source(error)
    })?;
    Ok(*query)
}

fn new_value(name: &str, values: &[(String, Expr)]) -> SelectItem {
    let column = Ident::with_quote('"', name);
    match values.iter().find(|(changed, _)| changed == name) {
        Some((_, value)) => SelectItem::ExprWithAlias {
            expr: value.clone(),
            alias: column,
        },
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

type Parts = (ObjectName, TableChange);

fn insertion(insert: Insert) -> Result<Parts> {
    let is_plain = insert.or.is_none()
        && insert.on.is_none()
        && insert.returning.is_none()
        && insert.partitioned.is_none()
        && insert.assignments.is_empty()
        && !insert.overwrite
        && !insert.replace_into;
    let (TableObject::TableName(name), Some(rows), true) = (insert.table, insert.source, is_plain)
    else {
        return Err(unsupported(
            "INSERT with OVERWRITE, ON CONFLICT, RETURNING, PARTITION, SET or DEFAULT VALUES",
            "write INSERT INTO t (a, b) VALUES (1, 2), or INSERT INTO t SELECT …",
        ));
    };
    let columns = insert.columns.iter().map(normal).collect();
    Ok((name, TableChange::Insert { columns, rows }))
}

fn deletion(delete: Delete) -> Result<Parts> {
    let is_plain = delete.tables.is_empty()
        && delete.using.is_none()
        && delete.returning.is_none()
        && delete.order_by.is_empty()
        && delete.limit.is_none();
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = delete.from;
    match (<[TableWithJoins; 1]>::try_from(from), is_plain) {
        (Ok([table]), true) => {
            let (name, alias) = only_table(table)?;
            let condition = delete.selection;
            Ok((name, TableChange::Delete(RowChoice { alias, condition })))
        }
        _ => Err(unsupported(
            "DELETE with several tables, USING, RETURNING, ORDER BY or LIMIT",
            "choose the rows by a subquery: DELETE FROM t WHERE id IN (SELECT …)",
        )),
    }
}

fn replacement(update: Update) -> Result<Parts> {
    let is_plain = update.from.is_none()
        && update.returning.is_none()
        && update.or.is_none()
        && update.limit.is_none();
    if !is_plain {
        return Err(unsupported(
            "UPDATE with FROM, RETURNING or LIMIT",
            "read the value by a subquery: UPDATE t SET a = (SELECT max(v.a) FROM v WHERE v.id = t.id) WHERE …",
        ));
    }
    let mut values = Vec::new();
    for assignment in update.assignments {
        let name = match &assignment.target {
            AssignmentTarget::ColumnName(name) => match name.0.as_slice() {
                [part] => part.as_ident().map(normal),
                _ => None,
            },
            AssignmentTarget::Tuple(_) => None,
        };
        let name = name.ok_or_else(|| {
            unsupported(
                "UPDATE of a field of a struct, or of several columns at once",
                "write SET a = 1, b = 2 with the names of columns",
            )
        })?;
        if values.iter().any(|(known, _)| *known == name) {
            let what = format!("column {name} is set twice");
            return Err(Error::config("bad_sql", what).with_hint("set it once"));
        }
        values.push((name, assignment.value));
    }
    let (name, alias) = only_table(update.table)?;
    let condition = update.selection;
    let rows = RowChoice { alias, condition };
    Ok((name, TableChange::Update { rows, values }))
}

fn creation(create: CreateTable) -> Result<Parts> {
    let is_plain = !create.or_replace
        && !create.temporary
        && !create.external
        && create.constraints.is_empty()
        && create.like.is_none()
        && create.clone.is_none()
        && create.partition_by.is_none()
        && create.primary_key.is_none()
        && (create.query.is_none() || create.columns.is_empty());
    let options = create.columns.iter().flat_map(|column| &column.options);
    let is_known =
        |option: &ColumnOption| matches!(option, ColumnOption::Null | ColumnOption::NotNull);
    let mut options = options.map(|option| &option.option);
    if !is_plain || !options.all(is_known) || create.columns.is_empty() && create.query.is_none() {
        return Err(unsupported(
            "CREATE TABLE with more than columns, their types and NOT NULL",
            "write CREATE TABLE t (id bigint NOT NULL, name text), or CREATE TABLE t AS SELECT …; partitions are set by a pipeline",
        ));
    }
    Ok((
        create.name,
        TableChange::Create {
            columns: create.columns,
            rows: create.query,
            is_optional: create.if_not_exists,
        },
    ))
}

fn truncation(truncate: Truncate) -> Result<Parts> {
    let names = truncate.table_names.into_iter().map(|target| target.name);
    Ok((only_name(names.collect())?, TableChange::Truncate))
}

fn alteration(alter: AlterTable) -> Result<Parts> {
    let operations = <[AlterTableOperation; 1]>::try_from(alter.operations);
    let change = match operations {
        Ok(
            [
                AlterTableOperation::AddColumn {
                    if_not_exists,
                    column_def,
                    column_position: None,
                    ..
                },
            ],
        ) if column_def.options.is_empty() => TableChange::AddColumn {
            column: column_def,
            is_optional: if_not_exists,
        },
        Ok([AlterTableOperation::AlterColumn { column_name, op }]) => match op {
            AlterColumnOperation::DropNotNull => TableChange::DropNotNull(normal(&column_name)),
            AlterColumnOperation::SetDataType {
                data_type,
                using: None,
                ..
            } => TableChange::WidenColumn(ColumnDef {
                name: column_name,
                data_type,
                options: Vec::new(),
            }),
            _ => return Err(unknown_alteration()),
        },
        _ => return Err(unknown_alteration()),
    };
    Ok((alter.name, change))
}

fn unknown_alteration() -> Error {
    unsupported(
        "this form of ALTER TABLE",
        "write ADD COLUMN name type, ALTER COLUMN name TYPE type, or ALTER COLUMN name DROP NOT NULL, one at a time; CREATE TABLE t AS SELECT … makes any other form",
    )
}

fn only_name(names: Vec<ObjectName>) -> Result<ObjectName> {
    match <[ObjectName; 1]>::try_from(names) {
        Ok([name]) => Ok(name),
        Err(_) => Err(unsupported(
            "a change of several tables in one statement",
            "write one statement for each",
        )),
    }
}

/// The name of the table, and its alias in the statement.
fn only_table(table: TableWithJoins) -> Result<(ObjectName, Ident)> {
    let TableWithJoins { relation, joins } = table;
    match relation {
        TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } if joins.is_empty() => {
            let last = name.0.last().and_then(|part| part.as_ident()).cloned();
            let alias = alias.map(|alias| alias.name).or(last);
            let alias = alias.unwrap_or_else(|| Ident::new("t"));
            Ok((name, alias))
        }
        _ => Err(unsupported(
            "a change of rows of anything but one table",
            "name the table, and read others in subqueries",
        )),
    }
}

fn unsupported(what: &str, hint: &str) -> Error {
    Error::unsupported("sql_unsupported", format!("{what} is not supported")).with_hint(hint)
}
