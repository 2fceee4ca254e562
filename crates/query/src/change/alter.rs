//! Changes of the columns of a table: one that is added, renamed or dropped, a wider type, nulls where there were none. Files stay as they are.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use forebay_core::{Error, Result};
use forebay_lake::{Draft, NO_SUCH_COLUMN, OWNER_PROPERTY, Table, check_new_column, data_schema};
use forebay_store::AsOf;

use super::added::{Added, with_column};
use super::apply::{RowSource, check_column, unchanged};
use super::declared::check_kept;
use super::new_names::{already_named, check_type};
use super::statement::ChangeStatement;
use super::{ChangeReport, ChangeSession};
use crate::column_path::ColumnPath;
use crate::engine::canonical;

impl ChangeSession {
    pub(super) async fn add_column(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
        table: &Table,
        is_optional: bool,
    ) -> Result<ChangeReport> {
        let declared = self.declared_column(statement, sql, as_of).await?;
        let (name, path) = statement.added_path()?;
        check_new_column(&name)?;
        check_type(declared.data_type())?;
        let schema = table.schema();
        let column = declared.with_name(&name);
        match with_column(&schema, &data_schema(&schema), &path, column)? {
            Added::Schema(schema) => self.evolve(statement, table, &Arc::new(schema)).await,
            Added::Known(_) if is_optional => Ok(unchanged("ALTER TABLE")),
            Added::Known(known) => Err(already_named(&table.name().to_string(), &known)),
        }
    }

    pub(super) async fn widen_column(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
        table: &Table,
    ) -> Result<ChangeReport> {
        let column = self.declared_column(statement, sql, as_of).await?;
        check_column(table, column.name())?;
        let schema = table.schema();
        let data = data_schema(&schema);
        let fields = schema.fields().iter().zip(data.fields());
        let fields = fields.map(|(field, data)| {
            let data = data.as_ref().clone();
            match field.name() == column.name() {
                true => data.with_data_type(column.data_type().clone()),
                false => data,
            }
        });
        let wanted = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mut draft = self.draft_of(table)?;
        draft.evolve(&wanted)?;
        let widened = draft.schema();
        let widened = widened.as_ref().and_then(|schema| {
            let field = schema.field_with_name(column.name()).ok()?;
            Some(field.data_type().equals_datatype(column.data_type()))
        });
        if widened != Some(true) {
            let what = format!(
                "column {} cannot get this type: it would hold less",
                column.name()
            );
            return Err(Error::config("bad_sql", what).with_hint(
                "types are widened: int to bigint, real to double, a decimal to more digits; CREATE TABLE t AS SELECT … casts to any other",
            ));
        }
        self.altered(statement, draft).await
    }

    pub(super) async fn drop_not_null(
        &self,
        statement: &ChangeStatement,
        table: &Table,
        name: &str,
    ) -> Result<ChangeReport> {
        check_column(table, name)?;
        let schema = table.schema();
        let data = data_schema(&schema);
        let others = schema.fields().iter().zip(data.fields());
        let others = others.filter(|(field, _)| field.name() != name);
        // The lake takes a column that is not there for one that may be null.
        let others = others.map(|(_, data)| Arc::clone(data));
        let others = Arc::new(Schema::new(others.collect::<Vec<_>>()));
        self.evolve(statement, table, &others).await
    }

    pub(super) async fn rename_column(
        &self,
        statement: &ChangeStatement,
        table: &Table,
        column: &ColumnPath,
        to: &str,
    ) -> Result<ChangeReport> {
        check_not_loaded(table, "renamed")?;
        let mut draft = self.draft_of(table)?;
        draft.rename_column(&column.0, to)?;
        self.altered(statement, draft).await
    }

    pub(super) async fn drop_column(
        &self,
        statement: &ChangeStatement,
        table: &Table,
        column: &ColumnPath,
        is_optional: bool,
    ) -> Result<ChangeReport> {
        check_not_loaded(table, "dropped")?;
        let mut draft = self.draft_of(table)?;
        match draft.drop_column(&column.0) {
            Err(error) if is_optional && error.code() == NO_SUCH_COLUMN => {
                Ok(unchanged("ALTER TABLE"))
            }
            Err(error) => Err(error),
            Ok(()) => self.altered(statement, draft).await,
        }
    }

    async fn evolve(
        &self,
        statement: &ChangeStatement,
        table: &Table,
        schema: &SchemaRef,
    ) -> Result<ChangeReport> {
        let mut draft = self.draft_of(table)?;
        draft.evolve(schema)?;
        self.altered(statement, draft).await
    }

    async fn altered(&self, statement: &ChangeStatement, draft: Draft) -> Result<ChangeReport> {
        let id = self.commit_draft(statement, draft).await?;
        Ok(ChangeReport {
            tag: "ALTER TABLE".to_owned(),
            commit: Some(id),
        })
    }

    /// The column that a statement declares, in the type that a table has for it.
    async fn declared_column(
        &self,
        statement: &ChangeStatement,
        sql: &str,
        as_of: &AsOf,
    ) -> Result<Field> {
        let source = RowSource::none();
        let answer = self.rows(statement, sql, as_of, source).await?;
        check_kept(&answer.schema)?;
        let schema = canonical::schema(&answer.schema)?;
        Ok(schema.field(0).clone().with_nullable(true))
    }
}

/// The next rows of a pipeline would bring a column back under its name, whoever changes it.
///
/// Errors: `Config` `table_in_use`.
fn check_not_loaded(table: &Table, done: &str) -> Result<()> {
    if !table.properties().contains_key(OWNER_PROPERTY) {
        return Ok(());
    }
    let what = format!(
        "no column of {} can be {done}: a pipeline loads it and would add the column again",
        table.name()
    );
    Err(Error::config("table_in_use", what).with_hint(
        "rename or leave out the column in a `transform` of the pipeline and rebuild the table; UPDATE … SET a = NULL with --force removes values",
    ))
}
