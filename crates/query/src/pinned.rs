//! One state of the lake: all that a statement reads comes from it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use datafusion::catalog::TableProvider;
use forebay_core::{RefName, TableName};
use forebay_lake::Lake;
use forebay_store::AsOf;

use crate::as_of;
use crate::raw::{PayloadReader, WithPayload};
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

    pub(crate) fn listed(&self) -> &[TableName] {
        self.names.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) async fn table(
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
