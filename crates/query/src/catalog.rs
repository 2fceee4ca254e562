//! The lake's tables as the engine looks them up: every name of one statement resolves in one pinned state.
//!
//! Tables are loaded when a statement names them. Only a statement over `information_schema` lists all names.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;
use forebay_core::{RefName, TableName};
use forebay_lake::Lake;
use forebay_store::AsOf;

use crate::as_of;
use crate::error::external;
use crate::information::{self, InformationSchema};
use crate::raw::{PayloadReader, WithPayload};
use crate::state::{CATALOG, NO_NAMESPACE};
use crate::system::{self, System};
use crate::table::LakeTable;

/// Namespace of the raw zone's index tables.
const RAW: &str = "raw";

/// One state of the lake, shared by everything that a statement reads.
#[derive(Clone)]
pub(crate) struct Pinned {
    pub(crate) lake: Lake,
    pub(crate) branch: RefName,
    pub(crate) as_of: AsOf,
    payloads: Option<Arc<dyn PayloadReader>>,
    names: Arc<OnceLock<Vec<TableName>>>,
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pinned({:?})", self.as_of)
    }
}

impl Pinned {
    pub(crate) fn new(
        lake: Lake,
        branch: RefName,
        as_of: AsOf,
        payloads: Option<Arc<dyn PayloadReader>>,
    ) -> Self {
        Self {
            lake,
            branch,
            as_of,
            payloads,
            names: Arc::default(),
        }
    }

    /// Lists all tables, so that the engine's synchronous listing finds them.
    pub(crate) async fn list(&self) -> forebay_core::Result<&[TableName]> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let names = self.lake.tables(&self.as_of).await?;
        Ok(self.names.get_or_init(|| names))
    }

    fn listed(&self) -> &[TableName] {
        self.names.get().map_or(&[], Vec::as_slice)
    }

    async fn table(
        &self,
        namespace: &str,
        name: &str,
    ) -> forebay_core::Result<Option<Arc<dyn TableProvider>>> {
        let (name, as_of) = as_of::split(name, &self.branch, &self.as_of)?;
        let (Ok(namespace), Ok(name)) = (namespace.parse(), name.parse()) else {
            return Ok(None);
        };
        let Some(table) = self
            .lake
            .table(&as_of, &TableName::new(namespace, name))
            .await?
        else {
            return Ok(None);
        };
        let is_raw = table.name().namespace.as_str() == RAW;
        let table: Arc<dyn TableProvider> = Arc::new(LakeTable::new(table));
        Ok(Some(match &self.payloads {
            Some(payloads) if is_raw => Arc::new(WithPayload::new(table, payloads.clone())),
            _ => table,
        }))
    }
}

/// The only catalog.
#[derive(Debug)]
pub(crate) struct Catalogs(pub(crate) Pinned);

impl CatalogProviderList for Catalogs {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn register_catalog(
        &self,
        _: String,
        _: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(Catalog(self.0.clone())) as _)
    }
}

#[derive(Debug)]
struct Catalog(Pinned);

impl CatalogProvider for Catalog {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema_names(&self) -> Vec<String> {
        let mut names: BTreeSet<&str> = self
            .0
            .listed()
            .iter()
            .map(|table| table.namespace.as_str())
            .collect();
        names.insert(system::NAMESPACE);
        names.into_iter().map(str::to_owned).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            NO_NAMESPACE => None,
            information::NAMESPACE => {
                let catalogs = Arc::new(Catalogs(self.0.clone()));
                Some(Arc::new(InformationSchema::new(catalogs)))
            }
            system::NAMESPACE => Some(Arc::new(SystemNamespace(self.0.clone()))),
            _ => Some(Arc::new(Namespace {
                pinned: self.0.clone(),
                name: name.to_owned(),
            })),
        }
    }
}

#[derive(Debug)]
struct Namespace {
    pinned: Pinned,
    name: String,
}

#[async_trait]
impl SchemaProvider for Namespace {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        let here = self
            .pinned
            .listed()
            .iter()
            .filter(|table| table.namespace.as_str() == self.name);
        here.map(|table| table.name.to_string()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.pinned.table(&self.name, name).await.map_err(external)
    }

    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|table| table == name)
    }
}

/// `lake.*`: the catalog and the tables about themselves.
#[derive(Debug)]
struct SystemNamespace(Pinned);

#[async_trait]
impl SchemaProvider for SystemNamespace {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        system::TABLES
            .iter()
            .map(|table| table.name().to_owned())
            .collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (name, as_of) = as_of::split(name, &self.0.branch, &self.0.as_of).map_err(external)?;
        let table = system::TABLES.iter().find(|table| table.name() == name);
        let pinned = Pinned::new(self.0.lake.clone(), self.0.branch.clone(), as_of, None);
        Ok(table.map(|table| Arc::new(System::new(*table, pinned)) as _))
    }

    async fn table_type(&self, _: &str) -> Result<Option<TableType>> {
        Ok(Some(TableType::View))
    }

    fn table_exist(&self, name: &str) -> bool {
        system::TABLES.iter().any(|table| table.name() == name)
    }
}
