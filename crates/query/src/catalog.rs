//! The lake's tables as the engine looks them up: every name of one statement resolves in one pinned state.
//!
//! Tables are loaded when a statement names them. Only a statement over `information_schema` lists all names.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::TableType;

use crate::address::{CATALOG, NO_NAMESPACE};
use crate::error::external;
use crate::information::{self, InformationSchema};
use crate::pinned::Pinned;
use crate::system::{self, System};
use crate::time_clause::ClausedName;

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
        let listed = self.pinned.listed().iter();
        let all = listed.chain(self.pinned.listed_views());
        let here = all.filter(|table| table.namespace.as_str() == self.name);
        let names: BTreeSet<String> = here.map(|table| table.name.to_string()).collect();
        names.into_iter().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.pinned.table(&self.name, name).await.map_err(external)
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let mut views = self.pinned.listed_views().iter();
        let is_view =
            views.any(|view| view.namespace.as_str() == self.name && view.name.as_str() == name);
        Ok(Some(match is_view {
            true => TableType::View,
            false => TableType::Base,
        }))
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
        let name = ClausedName::parse(name);
        let as_of = self.0.state_of(&name).map_err(external)?;
        let table = system::TABLES
            .iter()
            .find(|table| table.name() == name.name);
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
