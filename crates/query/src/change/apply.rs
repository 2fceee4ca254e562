//! Runs a statement once: plans its query on the newest state, writes the rows that come, and commits them with the places of those that go.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{ColumnDef, ColumnOption};
use forebay_core::{CommitId, Error, Result};
use forebay_lake::{CommitRequest, Draft, OWNER_PROPERTY, Table, source_name};
use forebay_store::{AsOf, Commit, Head};

use super::declared::check_kept;
use super::new_names::{check_copied, check_declared};
use super::statement::{ChangeStatement, TableChange};
use super::target::{check_changeable, no_such_table};
use super::write::{PLACE_COLUMNS, RowPlaces, WrittenRows, write_rows};
use super::{ChangeReport, ChangeSession};
use crate::engine::canonical;
use crate::row_fit::RowFit;
use crate::session::{Answer, PlannedQuery};
use crate::table::placed::PlacedTable;

/// A table as it is when the statement is planned.
struct PinnedTable {
    as_of: AsOf,
    table: Option<Table>,
}

/// What the rows of a statement are made of.
pub(super) struct RowSource {
    /// The columns of the table.
    pub(super) schema: SchemaRef,
    /// The table with the places of its rows, for a statement that takes rows away.
    pub(super) placed: Option<PlacedTable>,
    pub(super) fit: Option<RowFit>,
}

impl RowSource {
    /// Of a statement without a table.
    pub(super) fn none() -> Self {
        Self {
            schema: Arc::new(Schema::empty()),
            placed: None,
            fit: None,
        }
    }
}

impl ChangeSession {
    pub(super) async fn attempt(
        &self,
        statement: &ChangeStatement,
        sql: &str,
    ) -> Result<ChangeReport> {
        let pinned = self.pin(statement).await?;
        if let Some(table) = &pinned.table {
            if let TableChange::Create { is_optional, .. } = &statement.change {
                return already_there(table, *is_optional);
            }
            check_changeable(table, statement, &self.options)?;
            if statement.deletes_rows() {
                table.check_row_deletes()?;
            }
        }
        match (&statement.change, pinned.table) {
            (TableChange::Create { columns, rows, .. }, _) => {
                let has_rows = rows.is_some();
                self.create(statement, sql, &pinned.as_of, columns, has_rows)
                    .await
            }
            (TableChange::Drop { is_optional: true }, None) => Ok(unchanged("DROP TABLE")),
            (_, None) => Err(no_such_table(&statement.table)),
            (TableChange::Drop { .. }, Some(table)) => self.drop_table(statement, &table).await,
            (TableChange::Truncate, Some(table)) => self.truncate(statement, &table).await,
            (TableChange::Insert { columns, .. }, Some(table)) => {
                let columns = check_given(&table, columns)?;
                self.insert(statement, sql, &pinned.as_of, &table, &columns)
                    .await
            }
            (TableChange::AddColumn { is_optional, .. }, Some(table)) => {
                self.add_column(statement, sql, &pinned.as_of, &table, *is_optional)
                    .await
            }
            (TableChange::WidenColumn(_), Some(table)) => {
                self.widen_column(statement, sql, &pinned.as_of, &table)
                    .await
            }
            (TableChange::DropNotNull(name), Some(table)) => {
                self.drop_not_null(statement, &table, name).await
            }
            (TableChange::RenameColumn { column, to }, Some(table)) => {
                self.rename_column(statement, &table, column, to).await
            }
            (
                TableChange::DropColumn {
                    column,
                    is_optional,
                },
                Some(table),
            ) => {
                self.drop_column(statement, &table, column, *is_optional)
                    .await
            }
            (TableChange::Merge(merge), Some(table)) => {
                self.merge(statement, sql, &pinned.as_of, table, merge)
                    .await
            }
            (TableChange::Delete(_) | TableChange::Update { .. }, Some(table)) => {
                self.replace(statement, sql, &pinned.as_of, table).await
            }
        }
    }

    /// The plan of a statement, which changes nothing.
    pub async fn explain(&self, statement: &ChangeStatement, sql: &str) -> Result<Answer> {
        let pinned = self.pin(statement).await?;
        let mut source = RowSource::none();
        if let Some(table) = pinned.table {
            check_changeable(&table, statement, &self.options)?;
            source.schema = table.schema();
            source.placed = Some(PlacedTable::of(table).await?);
        } else if !matches!(statement.change, TableChange::Create { .. }) {
            return Err(no_such_table(&statement.table));
        }
        let query = statement.query(&source.schema)?.ok_or_else(|| {
            let what = format!("EXPLAIN {} is not supported", statement.verb());
            Error::unsupported("sql_unsupported", what)
                .with_hint("it reads no rows: there is no plan")
        })?;
        let planned = PlannedQuery {
            statement: query,
            as_of: pinned.as_of,
            placed: source.placed,
            fit: None,
            makes_table: false,
        };
        self.query.run_planned(sql, planned).await
    }

    async fn pin(&self, statement: &ChangeStatement) -> Result<PinnedTable> {
        let as_of = self.query.head().await?;
        let table = self.lake.table(&as_of, &statement.table).await?;
        Ok(PinnedTable { as_of, table })
    }

    async fn create(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
        columns: &[ColumnDef],
        has_rows: bool,
    ) -> Result<ChangeReport> {
        self.lake.check_table_name(as_of, &statement.table).await?;
        let source = RowSource::none();
        let answer = self.rows(statement, sql, as_of, source).await?;
        if has_rows {
            check_copied(&answer.schema)?;
        } else {
            check_declared(&answer.schema)?;
            check_kept(&answer.schema)?;
        }
        let schema = canonical::schema(&answer.schema)?;
        let schema = match has_rows {
            true => nullable(&schema),
            false => declared(&schema, columns),
        };
        let branch = &self.options.query.branch;
        let mut draft = self.lake.draft(branch, &statement.table).await?;
        if draft.exists() {
            return Err(Error::conflict(
                "schema_moved",
                "the table was created by another writer",
            ));
        }
        draft.create(&schema, &[])?;
        let written = write_rows(&mut draft, answer, &schema, RowPlaces::None).await?;
        let tag = match has_rows {
            true => format!("SELECT {}", written.rows),
            false => "CREATE TABLE".to_owned(),
        };
        self.commit(statement, draft, written, tag).await
    }

    async fn insert(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
        table: &Table,
        columns: &[String],
    ) -> Result<ChangeReport> {
        let schema = table.schema();
        let source = RowSource {
            schema: Arc::clone(&schema),
            placed: None,
            fit: Some(RowFit::of(&schema, columns, 0)),
        };
        let answer = self.rows(statement, sql, as_of, source).await?;
        let mut draft = self.draft_of(table)?;
        let schema = part_of(&schema, columns);
        let written = write_rows(&mut draft, answer, &schema, RowPlaces::None).await?;
        let tag = format!("INSERT 0 {}", written.rows);
        self.commit(statement, draft, written, tag).await
    }

    async fn replace(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
        table: Table,
    ) -> Result<ChangeReport> {
        let schema = table.schema();
        let columns = match &statement.change {
            TableChange::Update { values, .. } => {
                let mut set = values.iter();
                set.try_for_each(|(name, _)| check_column(&table, name))?;
                names(&schema)
            }
            _ => Vec::new(),
        };
        let placed = PlacedTable::of(table).await?;
        let source = RowSource {
            schema: Arc::clone(&schema),
            placed: Some(placed.clone()),
            fit: Some(RowFit::of(&schema, &columns, PLACE_COLUMNS)),
        };
        let answer = self.rows(statement, sql, as_of, source).await?;
        let mut draft = self.draft_of(placed.table())?;
        let schema = part_of(&schema, &columns);
        let written = write_rows(&mut draft, answer, &schema, RowPlaces::Replaced).await?;
        let count = written.delete_from(&placed, &mut draft);
        let tag = format!("{} {count}", statement.verb());
        self.commit(statement, draft, written, tag).await
    }

    async fn truncate(&self, statement: &ChangeStatement, table: &Table) -> Result<ChangeReport> {
        let mut draft = self.draft_of(table)?;
        draft.replace_rows();
        let id = self.commit_draft(statement, draft).await?;
        Ok(ChangeReport {
            tag: "TRUNCATE TABLE".to_owned(),
            commit: Some(id),
        })
    }

    async fn drop_table(&self, statement: &ChangeStatement, table: &Table) -> Result<ChangeReport> {
        let id = (self.options.commit_id)();
        let head = Head {
            table: table.name().clone(),
            uuid: table.uuid(),
            metadata_location: table.metadata_location().to_owned(),
        };
        let commit = Commit::of_heads(
            id,
            self.options.query.branch.clone(),
            self.options.author.clone(),
            message(statement),
            vec![head.into_drop()],
        );
        self.lake.store().commit(commit).await?;
        Ok(ChangeReport {
            tag: "DROP TABLE".to_owned(),
            commit: Some(id),
        })
    }

    /// A draft that is refused when a pipeline begins or ends to load the table.
    pub(super) fn draft_of(&self, table: &Table) -> Result<Draft> {
        let mut draft = self.lake.draft_of(table);
        let owner = draft.property(OWNER_PROPERTY);
        draft.expect_property(OWNER_PROPERTY, owner.as_deref())?;
        Ok(draft)
    }

    pub(super) async fn rows(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
        source: RowSource,
    ) -> Result<Answer> {
        let query = statement.query(&source.schema)?;
        let query = query.ok_or_else(|| Error::bug("change_failed", "a statement has no rows"))?;
        let planned = PlannedQuery {
            statement: query,
            as_of: as_of.clone(),
            placed: source.placed,
            fit: source.fit,
            makes_table: false,
        };
        self.query.run_planned(sql, planned).await
    }

    pub(super) async fn commit(
        &self,
        statement: &ChangeStatement,
        mut draft: Draft,
        written: WrittenRows,
        tag: String,
    ) -> Result<ChangeReport> {
        let is_created = !draft.exists();
        if !is_created && written.is_empty() {
            return Ok(ChangeReport { tag, commit: None });
        }
        draft.append(written.files);
        let id = self.commit_draft(statement, draft).await?;
        Ok(ChangeReport {
            tag,
            commit: Some(id),
        })
    }

    pub(super) async fn commit_draft(
        &self,
        statement: &ChangeStatement,
        draft: Draft,
    ) -> Result<CommitId> {
        let id = (self.options.commit_id)();
        let request = CommitRequest {
            id,
            branch: self.options.query.branch.clone(),
            author: self.options.author.clone(),
            message: message(statement),
            run: None,
            drafts: vec![draft],
            positions: Vec::new(),
        };
        self.lake.commit(request).await?;
        Ok(id)
    }
}

fn message(statement: &ChangeStatement) -> String {
    format!("{} {}", statement.verb(), statement.table)
}

pub(super) fn unchanged(tag: &str) -> ChangeReport {
    ChangeReport {
        tag: tag.to_owned(),
        commit: None,
    }
}

/// Errors: `Config` `table_exists`.
fn already_there(table: &Table, is_optional: bool) -> Result<ChangeReport> {
    if is_optional {
        return Ok(unchanged("CREATE TABLE"));
    }
    let what = format!("table {} exists already", table.name());
    Err(Error::config("table_exists", what)
        .with_hint("write INSERT INTO, DROP TABLE before, or CREATE TABLE IF NOT EXISTS"))
}

pub(super) fn names(schema: &SchemaRef) -> Vec<String> {
    let fields = schema.fields().iter();
    fields.map(|field| field.name().clone()).collect()
}

/// The columns that an `INSERT` gives values for: those that it names, or all.
pub(super) fn check_given(table: &Table, named: &[String]) -> Result<Vec<String>> {
    if named.is_empty() {
        return Ok(names(&table.schema()));
    }
    for (at, name) in named.iter().enumerate() {
        check_column(table, name)?;
        if named[..at].contains(name) {
            let what = format!("column {name} is named twice");
            return Err(Error::config("bad_sql", what).with_hint("name it once"));
        }
    }
    let schema = table.schema();
    let is_missing = |field: &&Arc<Field>| !field.is_nullable() && !named.contains(field.name());
    match schema.fields().iter().find(is_missing) {
        None => Ok(named.to_vec()),
        Some(field) => {
            let what = format!(
                "column {} may not be null and is given no value",
                field.name()
            );
            Err(Error::config("bad_sql", what).with_hint("name it, and give it a value"))
        }
    }
}

pub(super) fn check_column(table: &Table, name: &str) -> Result<()> {
    let schema = table.schema();
    if schema.field_with_name(name).is_ok() {
        return Ok(());
    }
    let names = names(&schema);
    let error = Error::config("bad_sql", format!("{} has no column {name}", table.name()));
    Err(
        match crate::error::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => error.with_hint(format!("did you mean {near}?")),
            None => error.with_hint(format!("columns are {}", names.join(", "))),
        },
    )
}

/// Fields of a table by name, in this order, under their names in the data.
pub(super) fn part_of(schema: &SchemaRef, names: &[String]) -> SchemaRef {
    let fields = names.iter().filter_map(|name| {
        let field = schema.field_with_name(name).ok()?;
        let data_name = source_name(field).to_owned();
        Some(field.clone().with_name(data_name).with_nullable(true))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Any column of a query may be null one day.
fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn declared(schema: &SchemaRef, columns: &[ColumnDef]) -> SchemaRef {
    let fields = schema.fields().iter().zip(columns);
    let fields = fields.map(|(field, column)| {
        let mut options = column.options.iter();
        let is_required = options.any(|option| matches!(option.option, ColumnOption::NotNull));
        field.as_ref().clone().with_nullable(!is_required)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
