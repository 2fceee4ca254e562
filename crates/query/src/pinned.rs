//! One state of the lake: all that a statement reads comes from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use datafusion::catalog::TableProvider;
use forebay_core::{Error, ErrorKind, RefName, RowRange, TableName};
use forebay_lake::bitemporal::is_bitemporal;
use forebay_lake::{Lake, Table};
use forebay_store::AsOf;
use futures::{FutureExt, StreamExt};

use crate::as_of;
use crate::new_rows;
use crate::period_rows::{PeriodRows, View};
use crate::raw::{PayloadReader, WithPayload};
use crate::table::placed::PlacedTable;
use crate::table::{LakeTable, StateRows};
use crate::time_clause::{ClausedName, Span};

/// Namespace of the raw zone's index tables.
const RAW: &str = "raw";

/// Behind the name of the table that a statement changes: the one with the places of its rows.
pub(crate) const PLACED: &str = "@rows";

/// Tables whose metadata is read at the same time.
const TABLES_READ_AT_ONCE: usize = 16;

/// One state of the lake, shared by everything that a statement reads.
#[derive(Clone)]
pub(crate) struct Pinned {
    pub(crate) lake: Lake,
    pub(crate) branch: RefName,
    pub(crate) as_of: AsOf,
    payloads: Option<Arc<dyn PayloadReader>>,
    /// The new rows of tables, for the statement of a pipeline; see [`new_rows`].
    new: Arc<BTreeMap<TableName, Vec<RowRange>>>,
    names: Arc<OnceLock<Vec<TableName>>>,
    views: Arc<OnceLock<Vec<TableName>>>,
    placed: Option<PlacedTable>,
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
            new: Arc::default(),
            names: Arc::default(),
            views: Arc::default(),
            placed: None,
        }
    }

    /// The same for a statement that reads only new rows of some tables.
    #[must_use]
    pub(crate) fn with_new_rows(mut self, new: BTreeMap<TableName, Vec<RowRange>>) -> Self {
        self.new = Arc::new(new);
        self
    }

    /// The rows of a table that are new to the statement.
    ///
    /// Errors: `Config` `no_new_rows`.
    async fn new_rows(
        &self,
        name: &TableName,
        named: &ClausedName<'_>,
    ) -> forebay_core::Result<Option<Arc<dyn TableProvider>>> {
        let ranges = self.new.get(name);
        let ranges = ranges.ok_or_else(|| new_rows::refuse_outside(name))?;
        let Some(table) = self.lake.table(&self.as_of, name).await? else {
            return Ok(None);
        };
        if named.system.is_some() || named.valid.is_some() || is_bitemporal(&table) {
            return Err(new_rows::refuse_times(name));
        }
        let mut rows = Vec::with_capacity(ranges.len());
        for range in ranges {
            let state = self.lake.at_snapshot(&table, range.snapshot).await?;
            let state = state.ok_or_else(|| new_rows::gone(name))?;
            rows.push(StateRows {
                table: state,
                after: range.after,
            });
        }
        Ok(Some(Arc::new(LakeTable::new(table).with_rows(rows))))
    }

    /// The same for a statement that changes a table.
    pub(crate) fn with_placed(self, placed: Option<PlacedTable>) -> Self {
        Self { placed, ..self }
    }

    /// Lists all tables, so that the engine's synchronous listing finds them.
    pub(crate) async fn list(&self) -> forebay_core::Result<&[TableName]> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let names = self.lake.tables(&self.as_of).await?;
        Ok(self.names.get_or_init(|| names))
    }

    /// Lists the views of bitemporal tables too. A table that cannot be read has none.
    pub(crate) async fn list_views(&self) -> forebay_core::Result<()> {
        let names = self.list().await?;
        if self.views.get().is_some() {
            return Ok(());
        }
        let tables = names.iter().filter(|name| name.namespace.as_str() != RAW);
        // Boxed one by one: a stream that borrows its items cannot be proven `Send`.
        let reads: Vec<_> = tables.map(|name| self.views_of(name).boxed()).collect();
        let views = futures::stream::iter(reads)
            .buffered(TABLES_READ_AT_ONCE)
            .concat()
            .await;
        let is_free = |view: &TableName| !names.contains(view);
        let views = views.into_iter().filter(is_free).collect();
        self.views.get_or_init(|| views);
        Ok(())
    }

    async fn views_of(&self, name: &TableName) -> Vec<TableName> {
        let table = self.lake.table(&self.as_of, name).await;
        if !table.is_ok_and(|table| table.as_ref().is_some_and(is_bitemporal)) {
            return Vec::new();
        }
        let views = View::names_of(name.name.as_str());
        let views = views.filter_map(|view| view.parse().ok());
        views
            .map(|view| TableName::new(name.namespace.clone(), view))
            .collect()
    }

    /// The listed views of bitemporal tables.
    pub(crate) fn listed_views(&self) -> &[TableName] {
        self.views.get().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn listed(&self) -> &[TableName] {
        self.names.get().map_or(&[], Vec::as_slice)
    }

    /// The state that a table without periods is read in.
    ///
    /// Errors: `Config` `not_bitemporal`, `bad_as_of`.
    pub(crate) fn state_of(&self, named: &ClausedName<'_>) -> forebay_core::Result<AsOf> {
        match (&named.system, &named.valid) {
            (None, None) => Ok(self.as_of.clone()),
            (Some(Span::AsOf(version)), None) => as_of::parse(version, &self.branch),
            _ => {
                let what = format!(
                    "{} has no periods: it is not a bitemporal table",
                    named.name
                );
                Err(Error::config("not_bitemporal", what)
                    .with_hint("FOR SYSTEM_TIME AS OF 'time' reads any table as it was"))
            }
        }
    }

    /// A bitemporal table, or one of its views `t__current` and `t__now`; `None` for every other name.
    async fn bitemporal(
        &self,
        name: &TableName,
        named: &ClausedName<'_>,
    ) -> forebay_core::Result<Option<Arc<dyn TableProvider>>> {
        let Some((table, view)) = self.find_bitemporal(name, named).await? else {
            return Ok(None);
        };
        let rows = PeriodRows::of(named, view)?;
        let table = match rows.state() {
            // The rows that were believed then are those of the table as it was.
            Some(commit) => self.lake.table(&AsOf::Commit(commit), table.name()).await?,
            None => Some(table),
        };
        table
            .map(|table| rows.of_table(Arc::new(LakeTable::new(table))))
            .transpose()
    }

    async fn find_bitemporal(
        &self,
        name: &TableName,
        named: &ClausedName<'_>,
    ) -> forebay_core::Result<Option<(Table, Option<View>)>> {
        if let Some(table) = self.state_at(name, named).await? {
            return Ok(is_bitemporal(&table).then_some((table, None)));
        }
        let Some((base, view)) = View::parse(name.name.as_str()) else {
            return Ok(None);
        };
        let Ok(base) = base.parse() else {
            return Ok(None);
        };
        let base = TableName::new(name.namespace.clone(), base);
        let table = self.state_at(&base, named).await?;
        Ok(table.filter(is_bitemporal).map(|table| (table, Some(view))))
    }

    /// The table in the state of the statement. One that was dropped, or made again since the time that a clause names, is the one of
    /// that time.
    async fn state_at(
        &self,
        name: &TableName,
        named: &ClausedName<'_>,
    ) -> forebay_core::Result<Option<Table>> {
        let now = self.lake.table(&self.as_of, name).await?;
        let Some(Span::AsOf(text)) = &named.system else {
            return Ok(now);
        };
        if now.as_ref().is_some_and(|now| !is_bitemporal(now)) {
            return Ok(now);
        }
        let then = match as_of::parse(text, &self.branch) {
            Ok(as_of) => self.lake.table(&as_of, name).await,
            Err(_) => return Ok(now),
        };
        match (then, now) {
            (Ok(Some(then)), Some(now)) if then.uuid() == now.uuid() => Ok(Some(now)),
            (Ok(Some(then)), _) => Ok(Some(then)),
            // That state is not kept: the columns are.
            (_, now) => Ok(now),
        }
    }

    /// A clause that names a tag names its commit. Any other text stays, to be read or refused as it is.
    async fn with_commit_of_tag<'n>(
        &self,
        named: ClausedName<'n>,
    ) -> forebay_core::Result<ClausedName<'n>> {
        let Some(Span::AsOf(text)) = &named.system else {
            return Ok(named);
        };
        if as_of::parse(text, &self.branch).is_ok() {
            return Ok(named);
        }
        let Ok(tag) = text.parse::<RefName>() else {
            return Ok(named);
        };
        let found = match self.lake.store().branch(&tag).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(named),
            found => found?,
        };
        let commit = found.head.filter(|_| found.is_tag);
        Ok(match commit {
            Some(commit) => ClausedName {
                system: Some(Span::AsOf(commit.to_string())),
                ..named
            },
            None => named,
        })
    }

    pub(crate) async fn table(
        &self,
        namespace: &str,
        name: &str,
    ) -> forebay_core::Result<Option<Arc<dyn TableProvider>>> {
        if let (Some(placed), true) = (&self.placed, name.ends_with(PLACED)) {
            return Ok(Some(Arc::new(placed.clone())));
        }
        let named = ClausedName::parse(name);
        let (Ok(namespace), Ok(name)) = (namespace.parse(), named.name.parse()) else {
            return Ok(None);
        };
        let named = self.with_commit_of_tag(named).await?;
        let name = TableName::new(namespace, name);
        if named.is_new {
            return self.new_rows(&name, &named).await;
        }
        if let Some(table) = self.bitemporal(&name, &named).await? {
            return Ok(Some(table));
        }
        if named.system.is_none() && self.lake.table(&self.as_of, &name).await?.is_none() {
            return Ok(None);
        }
        let as_of = self.state_of(&named)?;
        let Some(table) = self.lake.table(&as_of, &name).await? else {
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
