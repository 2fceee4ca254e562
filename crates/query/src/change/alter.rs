//! Changes of the columns of a table: one that is added, a wider type, nulls where there were none. Files stay as they are.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use forebay_core::{Error, Result};
use forebay_lake::{Draft, Table};
use forebay_store::AsOf;

use super::apply::{check_column, unchanged};
use super::statement::ChangeStatement;
use super::{ChangeReport, ChangeSession};
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
        let column = self.declared_column(statement, sql, as_of).await?;
        let schema = table.schema();
        let is_there = |field: &Arc<Field>| field.name().eq_ignore_ascii_case(column.name());
        if schema.fields().iter().any(is_there) {
            if is_optional {
                return Ok(unchanged("ALTER TABLE"));
            }
            let what = format!("{} has a column {} already", table.name(), column.name());
            return Err(Error::config("bad_sql", what).with_hint("choose another name"));
        }
        let fields = schema.fields().iter().cloned().chain([Arc::new(column)]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        self.evolve(statement, table, &schema).await
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
        let fields = schema.fields().iter().map(|field| {
            let field = field.as_ref().clone();
            match field.name() == column.name() {
                true => field.with_data_type(column.data_type().clone()),
                false => field,
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
        let others = schema.fields().iter().filter(|field| field.name() != name);
        // The lake takes a column that is not there for one that may be null.
        let others = Arc::new(Schema::new(others.cloned().collect::<Vec<_>>()));
        self.evolve(statement, table, &others).await
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
        let answer = self.rows(statement, sql, as_of, None, None).await?;
        let schema = canonical::schema(&answer.schema)?;
        Ok(schema.field(0).clone().with_nullable(true))
    }
}
