//! Rewrites expressions over a table's columns into expressions over the columns that a file really has, by field id.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, cast, lit};
use datafusion::physical_expr_adapter::{PhysicalExprAdapter, PhysicalExprAdapterFactory};

use super::columns::field_id;
use super::nested::Reshape;
use super::uuid::{self, UuidText};

/// Makes an adapter for each file's schema.
#[derive(Debug)]
pub(super) struct ByFieldId;

impl PhysicalExprAdapterFactory for ByFieldId {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let file_has_ids = file.fields().iter().any(|field| field_id(field).is_some());
        Ok(Arc::new(Adapter {
            table,
            file,
            file_has_ids,
        }))
    }
}

#[derive(Debug)]
struct Adapter {
    table: SchemaRef,
    file: SchemaRef,
    /// A file from outside without any ids is read by name, as Iceberg's name mapping does.
    file_has_ids: bool,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        expr.transform(|expr| {
            let Some(column) = expr.as_any().downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            let Ok(wanted) = self.table.field_with_name(column.name()) else {
                return Ok(Transformed::no(expr));
            };
            Ok(Transformed::yes(self.read(wanted)?))
        })
        .data()
    }
}

impl Adapter {
    /// Reads the column `wanted` from the file: as it is, cast, reshaped, or null when the file lacks it.
    fn read(&self, wanted: &Field) -> Result<Arc<dyn PhysicalExpr>> {
        let Some((at, found)) = find(&self.file, wanted, self.file_has_ids) else {
            return Ok(lit(ScalarValue::try_from(wanted.data_type())?));
        };
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(found.name(), at));
        if found.data_type() == wanted.data_type() {
            Ok(column)
        } else if uuid::is_shown(found.data_type(), wanted.data_type()) {
            let kind = wanted.data_type().clone();
            Ok(Arc::new(UuidText::new(column, kind)))
        } else if wanted.data_type().is_nested() {
            Ok(Arc::new(Reshape::new(
                column,
                found.clone(),
                wanted.clone(),
            )))
        } else {
            cast(column, &self.file, wanted.data_type().clone())
        }
    }
}

fn find<'a>(file: &'a Schema, wanted: &Field, by_id: bool) -> Option<(usize, &'a Field)> {
    let id = field_id(wanted);
    let is_wanted = |field: &Field| {
        if by_id {
            id.is_some() && field_id(field) == id
        } else {
            field.name() == wanted.name()
        }
    };
    file.fields()
        .iter()
        .enumerate()
        .find(|(_, field)| is_wanted(field))
        .map(|(at, field)| (at, field.as_ref()))
}
