//! `information_schema`: the engine's own, with `columns` that name types as `DESCRIBE` does and count positions from 1.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{CatalogProviderList, SchemaProvider, Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::address::CATALOG;
use crate::describe::sql_type;
use crate::made_rows;

/// The name of the namespace.
pub(crate) const NAMESPACE: &str = INFORMATION_SCHEMA;
/// The table that is ours.
const COLUMNS: &str = "columns";

/// The namespace over the catalogs that it describes.
pub(crate) struct InformationSchema {
    catalogs: Arc<dyn CatalogProviderList>,
    engine: InformationSchemaProvider,
}

impl fmt::Debug for InformationSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InformationSchema")
    }
}

impl InformationSchema {
    pub(crate) fn new(catalogs: Arc<dyn CatalogProviderList>) -> Self {
        Self {
            engine: InformationSchemaProvider::new(catalogs.clone()),
            catalogs,
        }
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.engine.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if name != COLUMNS {
            return self.engine.table(name).await;
        }
        Ok(Some(Arc::new(Columns(self.catalogs.clone()))))
    }

    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.engine.table_exist(name)
    }
}

/// `columns`; its rows are made when a query reads them.
struct Columns(Arc<dyn CatalogProviderList>);

impl fmt::Debug for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Columns")
    }
}

impl Columns {
    /// One row a column of every table, in the order of names.
    async fn rows(&self) -> Result<RecordBatch> {
        let mut rows = ColumnRows::default();
        let Some(catalog) = self.0.catalog(CATALOG) else {
            return rows.finish();
        };
        for namespace in catalog.schema_names() {
            let Some(tables) = catalog.schema(&namespace) else {
                continue;
            };
            for name in tables.table_names() {
                if let Some(table) = tables.table(&name).await? {
                    rows.add(&namespace, &name, &table.schema());
                }
            }
        }
        rows.finish()
    }
}

#[async_trait]
impl TableProvider for Columns {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows().await?;
        made_rows::scan(rows, projection)
    }
}

/// Rows of `columns`.
#[derive(Default)]
struct ColumnRows {
    namespaces: Vec<String>,
    tables: Vec<String>,
    names: Vec<String>,
    positions: Vec<i64>,
    nullable: Vec<&'static str>,
    types: Vec<String>,
    precisions: Vec<Option<i64>>,
    scales: Vec<Option<i64>>,
}

impl ColumnRows {
    fn add(&mut self, namespace: &str, table: &str, schema: &Schema) {
        for (position, field) in (1_i64..).zip(schema.fields()) {
            let kind = field.data_type();
            self.namespaces.push(namespace.to_owned());
            self.tables.push(table.to_owned());
            self.names.push(field.name().clone());
            self.positions.push(position);
            self.nullable
                .push(if field.is_nullable() { "YES" } else { "NO" });
            self.types.push(sql_type(kind));
            self.precisions.push(precision(kind));
            self.scales.push(scale(kind));
        }
    }

    fn finish(self) -> Result<RecordBatch> {
        let rows = self.names.len();
        let texts = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let columns = vec![
            texts(vec![CATALOG.to_owned(); rows]),
            texts(self.namespaces),
            texts(self.tables),
            texts(self.names),
            Arc::new(Int64Array::from(self.positions)),
            Arc::new(StringArray::from(vec![None::<&str>; rows])),
            Arc::new(StringArray::from(self.nullable)),
            texts(self.types),
            Arc::new(Int64Array::from(self.precisions)),
            Arc::new(Int64Array::from(self.scales)),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

fn schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let whole = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
    Arc::new(Schema::new(vec![
        text("table_catalog", false),
        text("table_schema", false),
        text("table_name", false),
        text("column_name", false),
        whole("ordinal_position", false),
        text("column_default", true),
        text("is_nullable", false),
        text("data_type", false),
        whole("numeric_precision", true),
        whole("numeric_scale", true),
    ]))
}

/// Digits of a decimal, bits of other numbers, as in Postgres.
fn precision(kind: &DataType) -> Option<i64> {
    Some(match kind {
        DataType::Int32 => 32,
        DataType::Int64 => 64,
        DataType::Float32 => 24,
        DataType::Float64 => 53,
        DataType::Decimal128(digits, _) => i64::from(*digits),
        _ => return None,
    })
}

fn scale(kind: &DataType) -> Option<i64> {
    match kind {
        DataType::Int32 | DataType::Int64 => Some(0),
        DataType::Decimal128(_, scale) => Some(i64::from(*scale)),
        _ => None,
    }
}
