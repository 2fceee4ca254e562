//! The parts of a statement that changes a table, and words for the forms that are not supported.

use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, Assignment, AssignmentTarget, ColumnDef,
    ColumnOption, CreateTable, Delete, Expr, FromTable, Ident, Insert, ObjectName, ObjectType,
    Query, SetExpr, Statement as Sql, TableFactor, TableObject, TableWithJoins, Truncate, Update,
    With,
};
use forebay_core::{Error, Result};

use super::merge::merging;
use super::statement::{RowChoice, TableChange};
use crate::column_path::ColumnPath;
use crate::name::normal;

/// A statement in parts.
pub(super) struct StatementParts {
    /// The table that it changes.
    pub(super) name: ObjectName,
    pub(super) change: TableChange,
    pub(super) with: Option<With>,
}

type Parts = (ObjectName, TableChange);

/// The parts of a statement; `None` for one that only reads.
///
/// Errors: `Config` `bad_sql`; `Unsupported` `sql_unsupported`.
pub(super) fn parts_of(statement: Sql) -> Result<Option<StatementParts>> {
    let (statement, with) = match statement {
        Sql::Query(query) => match changing(*query) {
            Some((statement, with)) => (statement, with),
            None => return Ok(None),
        },
        other => (other, None),
    };
    let (name, change) = match statement {
        Sql::Insert(insert) => insertion(insert)?,
        Sql::Delete(delete) => deletion(delete)?,
        Sql::Update(update) => replacement(update)?,
        Sql::Merge(merge) => {
            let (name, merge) = merging(merge)?;
            (name, TableChange::Merge(Box::new(merge)))
        }
        Sql::CreateTable(create) => creation(create)?,
        Sql::Truncate(truncate) => truncation(truncate)?,
        Sql::AlterTable(alter) => alteration(alter)?,
        // Nothing depends on a table, so CASCADE and RESTRICT are the same.
        Sql::Drop {
            object_type: ObjectType::Table,
            if_exists,
            names,
            purge: false,
            temporary: false,
            ..
        } => {
            let is_optional = if_exists;
            (only_name(names)?, TableChange::Drop { is_optional })
        }
        other => return check_supported(&other).map(|()| None),
    };
    Ok(Some(StatementParts { name, change, with }))
}

/// The statement behind `WITH`, where that changes a table.
fn changing(query: Query) -> Option<(Sql, Option<With>)> {
    match *query.body {
        SetExpr::Insert(statement)
        | SetExpr::Update(statement)
        | SetExpr::Delete(statement)
        | SetExpr::Merge(statement) => Some((statement, query.with)),
        _ => None,
    }
}

/// Errors: `Unsupported` `sql_unsupported` for statements that others have, with what to write here.
fn check_supported(statement: &Sql) -> Result<()> {
    let (what, hint) = match statement {
        Sql::CreateView(_) => (
            "CREATE VIEW",
            "store its rows with CREATE TABLE t AS SELECT …, or name the query in WITH",
        ),
        Sql::CreateSchema { .. } => (
            "CREATE SCHEMA",
            "leave it out: CREATE TABLE namespace.t makes its namespace",
        ),
        Sql::CreateIndex(_) => (
            "CREATE INDEX",
            "leave it out: files are pruned by the bounds of their columns; partitions are set by a pipeline",
        ),
        Sql::Drop {
            object_type: ObjectType::Table,
            ..
        } => (
            "DROP TABLE with PURGE or TEMPORARY",
            "write DROP TABLE t; `forebay tables clean` deletes files that are no longer needed",
        ),
        Sql::Drop { .. } => (
            "DROP of anything but a table",
            "write DROP TABLE t; there are no views, indexes and functions to drop",
        ),
        _ => return Ok(()),
    };
    Err(unsupported(what, hint))
}

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
    let (name, alias) = only_table(update.table)?;
    let values = assignments(update.assignments, &alias)?;
    let condition = update.selection;
    let rows = RowChoice { alias, condition };
    Ok((name, TableChange::Update { rows, values }))
}

/// The values that columns of a table are set to.
///
/// Errors: `Config` `bad_sql` for a column that is set twice; `Unsupported` `sql_unsupported`.
pub(super) fn assignments(list: Vec<Assignment>, table: &Ident) -> Result<Vec<(String, Expr)>> {
    let mut values = Vec::new();
    for assignment in list {
        let name = match &assignment.target {
            AssignmentTarget::ColumnName(name) => match name.0.as_slice() {
                [part] => part.as_ident().map(normal),
                [of, part] if of.as_ident().map(normal) == Some(normal(table)) => {
                    part.as_ident().map(normal)
                }
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
    Ok(values)
}

fn creation(create: CreateTable) -> Result<Parts> {
    if let Some(part) = refused_part(&create) {
        return Err(unsupported(
            &format!("CREATE TABLE with more than columns, their types and NOT NULL ({part})"),
            refused_hint(part),
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

/// The first part of a statement that no table keeps.
fn refused_part(create: &CreateTable) -> Option<&'static str> {
    let options = create.columns.iter().flat_map(|column| &column.options);
    let mut options = options.filter_map(|option| refused_option(&option.option));
    if let Some(part) = options.next() {
        return Some(part);
    }
    let parts = [
        (create.or_replace, "OR REPLACE"),
        (create.temporary, "TEMPORARY"),
        (create.external, "EXTERNAL"),
        (!create.constraints.is_empty(), "a constraint"),
        (create.like.is_some(), "LIKE"),
        (create.clone.is_some(), "CLONE"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.primary_key.is_some(), "PRIMARY KEY"),
        (create.order_by.is_some(), "ORDER BY"),
        (create.cluster_by.is_some(), "CLUSTER BY"),
        (create.location.is_some(), "LOCATION"),
        (create.comment.is_some(), "COMMENT"),
        (
            create.query.is_some() && !create.columns.is_empty(),
            "columns beside AS SELECT",
        ),
        (
            create.query.is_none() && create.columns.is_empty(),
            "no columns",
        ),
    ];
    let mut parts = parts.into_iter();
    parts.find_map(|(is_there, part)| is_there.then_some(part))
}

fn refused_option(option: &ColumnOption) -> Option<&'static str> {
    Some(match option {
        ColumnOption::Null | ColumnOption::NotNull => return None,
        ColumnOption::Default(_) => "DEFAULT",
        ColumnOption::PrimaryKey(_) => "PRIMARY KEY",
        ColumnOption::Unique(_) => "UNIQUE",
        ColumnOption::ForeignKey(_) => "REFERENCES",
        ColumnOption::Check(_) => "CHECK",
        ColumnOption::Generated { .. } | ColumnOption::Identity(_) => "GENERATED",
        ColumnOption::Comment(_) => "COMMENT",
        _ => "an option of a column",
    })
}

fn refused_hint(part: &str) -> &'static str {
    match part {
        "DEFAULT" => {
            "leave it out and give the value in INSERT: INSERT INTO t (id, at) VALUES (1, now()); columns that are not named are null"
        }
        "PRIMARY KEY" | "UNIQUE" => {
            "leave it out: keys are those of a pipeline with `mode: upsert`; MERGE INTO replaces rows by a key"
        }
        "CHECK" | "REFERENCES" => {
            "leave it out, and filter the rows in INSERT … SELECT … WHERE; rules for loaded rows are `check` steps of a pipeline"
        }
        "OR REPLACE" => "write DROP TABLE IF EXISTS t before CREATE TABLE",
        _ => {
            "write CREATE TABLE t (id bigint NOT NULL, name text), or CREATE TABLE t AS SELECT …; partitions are set by a pipeline"
        }
    }
}

fn truncation(truncate: Truncate) -> Result<Parts> {
    let names = truncate.table_names.into_iter().map(|target| target.name);
    Ok((only_name(names.collect())?, TableChange::Truncate))
}

fn alteration(alter: AlterTable) -> Result<Parts> {
    let operations = <[AlterTableOperation; 1]>::try_from(alter.operations);
    let Ok([operation]) = operations else {
        return Err(unknown_alteration());
    };
    let change = match operation {
        AlterTableOperation::AddColumn {
            if_not_exists,
            column_def,
            column_position: None,
            ..
        } => match column_def.options.as_slice() {
            [] => TableChange::AddColumn {
                column: column_def,
                is_optional: if_not_exists,
            },
            [option, ..] => {
                let part = refused_option(&option.option).unwrap_or("NOT NULL");
                return Err(unsupported(
                    &format!("ADD COLUMN with {part}"),
                    "leave it out: rows that are there have null; UPDATE gives them a value",
                ));
            }
        },
        AlterTableOperation::AlterColumn { column_name, op } => match op {
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
        AlterTableOperation::RenameColumn {
            old_column_name,
            new_column_name,
        } => TableChange::RenameColumn {
            column: ColumnPath::of(&old_column_name),
            to: normal(&new_column_name),
        },
        // Nothing depends on a column.
        AlterTableOperation::DropColumn {
            column_names,
            if_exists,
            ..
        } => match column_names.as_slice() {
            [name] => TableChange::DropColumn {
                column: ColumnPath::of(name),
                is_optional: if_exists,
            },
            _ => return Err(unknown_alteration()),
        },
        AlterTableOperation::RenameTable { .. } => {
            return Err(unsupported(
                "this form of ALTER TABLE (RENAME TO)",
                "write CREATE TABLE new AS SELECT * FROM old, then DROP TABLE old",
            ));
        }
        _ => return Err(unknown_alteration()),
    };
    Ok((alter.name, change))
}

fn unknown_alteration() -> Error {
    unsupported(
        "this form of ALTER TABLE",
        "write ADD COLUMN name type, ALTER COLUMN name TYPE type, ALTER COLUMN name DROP NOT NULL, RENAME COLUMN a TO b or DROP COLUMN name, one at a time; CREATE TABLE t AS SELECT … makes any other form",
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
pub(super) fn only_table(table: TableWithJoins) -> Result<(ObjectName, Ident)> {
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

pub(super) fn unsupported(what: &str, hint: &str) -> Error {
    Error::unsupported("sql_unsupported", format!("{what} is not supported")).with_hint(hint)
}
