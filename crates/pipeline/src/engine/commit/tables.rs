//! The tables that one commit of a pipeline touches, each with its open files.

mod claim;
mod fit;
mod rule;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use forebay_core::{
    Context, Error, Ident, LIST_INDEX, NamedTables, PARENT_ID, Position, ROOT_ID, ROW_ID, RefName,
    Result, TableName, Timestamp,
};
use forebay_lake::bitemporal;
use forebay_lake::upsert::NO_KEY_COLUMN;
use forebay_lake::{
    Draft, LOADERS_PROPERTY, Lake, OWNER_PROPERTY, PartitionField, Table, TableWriter,
    WriterOptions, loader_names, reads_property,
};
use forebay_store::{AsOf, Head};
use object_store::path::Path;
use tokio::runtime::Handle;

use self::fit::may_widen;
use self::rule::{RowKey, RowRule};
use crate::platform::iceberg::IcebergTarget;
use crate::platform::query::read_property;

/// `raw.<pipeline>`.
pub(in crate::engine) fn raw(pipeline: &Ident) -> Result<TableName> {
    Ok(TableName::new("raw".parse()?, pipeline.clone()))
}

/// Columns that every child table has.
const CHILD_COLUMNS: [&str; 4] = [ROW_ID, PARENT_ID, ROOT_ID, LIST_INDEX];

/// Whether a child table of `main` could have this name.
pub fn may_be_child(name: &TableName, main: &TableName) -> bool {
    let rest = name.name.as_str().strip_prefix(main.name.as_str());
    name.namespace == main.namespace && rest.is_some_and(|rest| rest.starts_with("__"))
}

/// Whether a table belongs to `main`. A table without a recorded owner does when it looks like a child table.
pub fn is_owned(table: &Table, main: &TableName) -> bool {
    belongs_to(table.name(), main, owner(table).as_deref(), &table.schema())
}

/// The recorded main table that a table is or belongs to.
pub fn owner(table: &Table) -> Option<String> {
    table.properties().remove(OWNER_PROPERTY)
}

/// The pipelines recorded as loaders of a table; none in tables of earlier versions.
pub(in crate::engine) fn loaders(table: &Table) -> BTreeSet<String> {
    let recorded = table.properties().remove(LOADERS_PROPERTY);
    loader_names(recorded.as_deref())
}

/// Heads of the main table and its child tables on a branch. A table of another pipeline may have the name of a child.
pub(in crate::engine) async fn owned_heads(
    lake: &Lake,
    branch: &RefName,
    main: &TableName,
) -> Result<Vec<Head>> {
    let as_of = AsOf::Head(branch.clone());
    let mut owned = Vec::new();
    let near = lake
        .store()
        .tables_in(&as_of, &main.namespace, "", usize::MAX);
    for head in near.await? {
        if head.table == *main {
            owned.push(head);
        } else if may_be_child(&head.table, main)
            && let Some(table) = lake.table(&as_of, &head.table).await?
            && is_owned(&table, main)
        {
            owned.push(head);
        }
    }
    Ok(owned)
}

fn belongs_to(name: &TableName, main: &TableName, owner: Option<&str>, schema: &SchemaRef) -> bool {
    match owner {
        Some(owner) => owner == main.to_string(),
        None => {
            let has_column = |column: &&str| schema.column_with_name(column).is_some();
            name == main || may_be_child(name, main) && CHILD_COLUMNS.iter().all(has_column)
        }
    }
}

/// Tables being written; everything is invisible until [`Tables::finish`]'s drafts are committed.
pub(in crate::engine) struct Tables {
    lake: Lake,
    branch: RefName,
    pipeline: Ident,
    runtime: Handle,
    /// The lineage property of the main table.
    reads: Option<(String, String)>,
    /// The property of the main table that says what was read for its rows.
    noted: Option<(String, String)>,
    open: BTreeMap<TableName, Open>,
    /// When the rows that come were committed before; `None` for rows that come for the first time.
    system_time: Option<Timestamp>,
    /// Changes of tables, for display: `quakes.events: added column note`.
    pub(in crate::engine) changes: Vec<String>,
}

struct Open {
    draft: Draft,
    writer: Option<TableWriter>,
    /// Files at given paths.
    files: BTreeMap<Path, TableWriter>,
    /// The last schema that was found to fit; most batches have the same.
    fits: Option<SchemaRef>,
    options: WriterOptions,
    /// Whether the pipeline is known to own the target.
    is_claimed: bool,
    /// What its rows do to others.
    key: Option<RowKey>,
}

impl Open {
    fn new(draft: Draft, options: WriterOptions) -> Self {
        Self {
            draft,
            writer: None,
            files: BTreeMap::new(),
            fits: None,
            options,
            is_claimed: false,
            key: None,
        }
    }

    /// Tells the draft the key, once for each schema.
    fn set_key(&mut self) -> Result<()> {
        let Some(key) = self.key.as_mut().filter(|key| !key.is_set) else {
            return Ok(());
        };
        key.rule.apply(&mut self.draft)?;
        key.is_set = true;
        Ok(())
    }

    /// The same for a table that may still lack columns of the key.
    fn set_known_key(&mut self) -> Result<()> {
        let Some(key) = self.key.as_mut().filter(|_| self.draft.schema().is_some()) else {
            return Ok(());
        };
        key.is_set = false;
        match self.set_key() {
            Err(error) if error.code() == NO_KEY_COLUMN => Ok(()),
            done => done,
        }
    }

    /// Closes every file.
    fn close(&mut self) -> Result<()> {
        let writers = self.writer.take().into_iter();
        for writer in writers.chain(std::mem::take(&mut self.files).into_values()) {
            self.draft.append(writer.finish()?);
        }
        Ok(())
    }
}

impl Tables {
    pub(in crate::engine) fn new(
        lake: Lake,
        branch: RefName,
        pipeline: Ident,
        runtime: Handle,
    ) -> Self {
        Self {
            lake,
            branch,
            pipeline,
            runtime,
            reads: None,
            noted: None,
            open: BTreeMap::new(),
            system_time: None,
            changes: Vec::new(),
        }
    }

    /// Rows of bitemporal tables that come from here on were committed at `at` before.
    pub(in crate::engine) fn set_system_time(&mut self, at: Timestamp) {
        self.system_time = Some(at);
    }

    /// Bytes of rows that wait for the commit in memory.
    pub(in crate::engine) fn staged_bytes(&self) -> usize {
        self.open
            .values()
            .map(|open| open.draft.staged_bytes())
            .sum()
    }

    /// Others of the same pipeline: what is written to these is committed apart.
    pub(in crate::engine) fn apart(&self) -> Self {
        let tables = Self::new(
            self.lake.clone(),
            self.branch.clone(),
            self.pipeline.clone(),
            self.runtime.clone(),
        );
        Self {
            reads: self.reads.clone(),
            ..tables
        }
    }

    /// The main table is made of these.
    pub(in crate::engine) fn read_from(&mut self, tables: &NamedTables) {
        self.reads = Some(reads_property(&self.pipeline, tables));
    }

    /// The rows of the main table are, from the next commit on, those of this position of its source.
    pub(in crate::engine) fn note_read(&mut self, position: &Position) {
        let key = read_property(&self.pipeline);
        self.noted = Some((key, position.0.to_string()));
    }

    /// Sets that property of the main table, if it exists or is being made.
    pub(in crate::engine) fn set_noted(&mut self, target: &IcebergTarget) -> Result<()> {
        let Some((key, value)) = self.noted.take() else {
            return Ok(());
        };
        self.set_property(&target.table, &key, &value).map(drop)
    }

    /// Hands that property on to tables that are committed apart.
    pub(in crate::engine) fn take_noted(&mut self, other: &mut Self) {
        self.noted = other.noted.take();
    }

    /// What was written comes in the place of all rows of the main table and its child tables, also of those into which nothing
    /// was written. Closes every file and returns the changes to commit.
    ///
    /// Errors: `Config` `table_shared` when other pipelines have rows in the table.
    pub(in crate::engine) fn replace(&mut self, target: &IcebergTarget) -> Result<Vec<Draft>> {
        self.claim_rows(target, "")?;
        let heads = owned_heads(&self.lake, &self.branch, &target.table);
        for head in self.runtime.clone().block_on(heads)? {
            self.opened(&head.table, &WriterOptions::default())?;
        }
        for open in self.open.values_mut() {
            open.draft.replace_rows();
        }
        self.set_noted(target)?;
        self.finish()
    }

    /// Adds rows of a pipeline to its main table, or to the child table of the list at `child`.
    ///
    /// Errors: `Config` `table_taken` when the table belongs to another pipeline.
    pub(in crate::engine) fn write_rows(
        &mut self,
        target: &IcebergTarget,
        child: &str,
        records: &RecordBatch,
    ) -> Result<()> {
        let (name, partition) = target.place(child)?;
        let options = self.claim_rows(target, child)?;
        self.write(&name, records, partition, &options)
    }

    /// Opens the main table of a pipeline, or that of the list at `child`; returns how its files are written.
    ///
    /// Errors: `Config` `table_taken` when the table belongs to another pipeline, `table_is_bitemporal` for rows without periods.
    pub(in crate::engine) fn claim_rows(
        &mut self,
        target: &IcebergTarget,
        child: &str,
    ) -> Result<WriterOptions> {
        let (name, _) = target.place(child)?;
        let options = WriterOptions {
            file_bytes_target: target.file_bytes.0,
            ..WriterOptions::default()
        };
        self.claim(&name, &target.table, &options)
            .context("table", &name)?;
        self.check_kind(&name, target).context("table", &name)?;
        self.check_alone(&name, target).context("table", &name)?;
        let rule = RowRule::of(target);
        let rule = match child.is_empty() {
            true => rule,
            false => rule
                .map(|rule| rule.of_children(&target.table))
                .transpose()
                .context("table", &name)?,
        };
        if let Some(rule) = rule {
            self.set_rule(&name, rule)?;
        }
        Ok(options)
    }

    fn set_rule(&mut self, name: &TableName, rule: RowRule) -> Result<()> {
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        if open.key.is_some() {
            return Ok(());
        }
        let replaces = matches!(rule, RowRule::Upsert { .. });
        open.key = Some(RowKey {
            rule,
            is_set: false,
        });
        open.set_known_key()?;
        match replaces && open.draft.exists() {
            true => self.open_children(name),
            false => Ok(()),
        }
    }

    /// Opens the child tables that are there: their rows go with the rows that are replaced, also when none come.
    fn open_children(&mut self, main: &TableName) -> Result<()> {
        let as_of = AsOf::Head(self.branch.clone());
        let (lake, runtime) = (self.lake.clone(), self.runtime.clone());
        let heads = runtime.block_on(lake.store().child_heads(&as_of, main))?;
        for Head { table: name, .. } in heads {
            let table = runtime.block_on(lake.table(&as_of, &name))?;
            if table.is_some_and(|table| is_owned(&table, main)) {
                self.opened(&name, &WriterOptions::default())?;
                self.set_rule(&name, RowRule::Follow(main.clone()))?;
            }
        }
        Ok(())
    }

    /// Adds rows. A missing table is created with `partition`; missing columns are added.
    pub(in crate::engine) fn write(
        &mut self,
        name: &TableName,
        records: &RecordBatch,
        partition: &[PartitionField],
        options: &WriterOptions,
    ) -> Result<()> {
        self.ensure(name, &records.schema(), partition, options)
            .context("table", name)?;
        let system_time = self.system_time;
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        open.set_key()?;
        if let Some(at) = system_time {
            open.draft.set_system_time(at);
        }
        let writer = match &mut open.writer {
            Some(writer) => writer,
            none => none.insert(open.draft.writer(open.options.clone())?),
        };
        writer.write(records).context("table", name)
    }

    pub(in crate::engine) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Creates the main table of a pipeline without rows, if it does not exist. Returns whether it was created.
    pub(in crate::engine) fn create(
        &mut self,
        target: &IcebergTarget,
        schema: &SchemaRef,
    ) -> Result<bool> {
        let (name, partition) = target.place("")?;
        if self.open.contains_key(&name) {
            return Ok(false);
        }
        let draft = self
            .runtime
            .block_on(self.lake.draft(&self.branch, &name))?;
        if draft.exists() {
            return Ok(false);
        }
        let options = self.claim_rows(target, "")?;
        self.ensure(&name, schema, partition, &options)
            .context("table", &name)?;
        // Also a table without rows is one of its mode.
        let open = self.open.get_mut(&name).ok_or_else(|| gone(&name))?;
        open.set_known_key()?;
        Ok(true)
    }

    /// Adds rows to the file at a given path below the workspace: a raw object's index. See [`WriterOptions::has_table_id`].
    pub(in crate::engine) fn write_at(
        &mut self,
        name: &TableName,
        records: &RecordBatch,
        path: &Path,
        has_table_id: bool,
    ) -> Result<()> {
        let options = WriterOptions {
            path: Some(path.clone()),
            has_table_id,
            ..WriterOptions::default()
        };
        self.ensure(name, &records.schema(), &[], &options)
            .context("table", name)?;
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        let writer = match open.files.entry(path.clone()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(open.draft.writer(options)?),
        };
        writer.write(records).context("table", name)
    }

    /// Sets a property of an existing or new table; any other table is left alone. Returns whether it was set.
    pub(in crate::engine) fn set_property(
        &mut self,
        name: &TableName,
        key: &str,
        value: &str,
    ) -> Result<bool> {
        if !self.open.contains_key(name) {
            let draft = self.runtime.block_on(self.lake.draft(&self.branch, name))?;
            let is_so = draft.property(key).as_deref() == Some(value);
            if !draft.exists() || is_so {
                return Ok(is_so);
            }
            let open = Open::new(draft, WriterOptions::default());
            self.open.insert(name.clone(), open);
        }
        let open = self.open.get_mut(name).ok_or_else(|| gone(name))?;
        if open.draft.property(key).as_deref() != Some(value) {
            open.draft.set_property(key, value);
        }
        Ok(true)
    }

    /// The table may only be changed while the property is `value`. Fails at once if it differs.
    ///
    /// Errors: `Conflict` `property_moved`.
    pub(in crate::engine) fn expect_property(
        &mut self,
        name: &TableName,
        key: &str,
        value: Option<&str>,
    ) -> Result<()> {
        match self.open.get_mut(name) {
            Some(open) => open.draft.expect_property(key, value),
            None => Ok(()),
        }
    }

    /// Closes every file and returns the changes to commit.
    pub(in crate::engine) fn finish(&mut self) -> Result<Vec<Draft>> {
        let mut drafts = Vec::new();
        self.identify_parents();
        for (name, mut open) in std::mem::take(&mut self.open) {
            open.close().context("table", &name)?;
            // Every row for a new table was refused: it is not created.
            if open.draft.schema().is_some() {
                drafts.push(open.draft);
            }
        }
        Ok(drafts)
    }

    /// Rows that child tables follow are known by their id.
    fn identify_parents(&mut self) {
        let rules = self.open.values().filter_map(|open| open.key.as_ref());
        let parents = rules.filter_map(|key| match &key.rule {
            RowRule::Follow(parent) => Some(parent.clone()),
            _ => None,
        });
        for parent in parents.collect::<BTreeSet<_>>() {
            if let Some(open) = self.open.get_mut(&parent) {
                open.draft.identify_rows(ROW_ID);
            }
        }
    }

    /// Discards everything that was written and not [finished](Self::finish), and deletes its files: a run that fails again
    /// and again on a full disk must not fill it.
    pub(in crate::engine) fn discard(&mut self) {
        self.changes.clear();
        for mut open in std::mem::take(&mut self.open).into_values() {
            let writers = open.writer.take().into_iter();
            for writer in writers.chain(std::mem::take(&mut open.files).into_values()) {
                open.draft.append(writer.abandon());
            }
            self.runtime.block_on(open.draft.discard());
        }
    }

    fn ensure(
        &mut self,
        name: &TableName,
        schema: &SchemaRef,
        partition: &[PartitionField],
        options: &WriterOptions,
    ) -> Result<()> {
        let runtime = self.runtime.clone();
        let open = self.opened(name, options)?;
        if open.fits.as_ref().is_some_and(|fits| fits == schema) {
            return Ok(());
        }
        let table = table_schema(schema);
        if open.draft.schema().is_none() {
            open.draft.create(&table, partition)?;
        } else {
            let mut changes = widen(&runtime, open, &table)?;
            changes.extend(open.draft.evolve(&table)?);
            if !changes.is_empty() {
                // Files written so far keep the schema they were written with.
                open.close()?;
                open.set_known_key()?;
            }
            open.fits = Some(schema.clone());
            let changes = changes.into_iter();
            self.changes
                .extend(changes.map(|change| format!("{name}: {change}")));
            return Ok(());
        }
        open.fits = Some(schema.clone());
        Ok(())
    }

    fn opened(&mut self, name: &TableName, options: &WriterOptions) -> Result<&mut Open> {
        if !self.open.contains_key(name) {
            let draft = self.runtime.block_on(self.lake.draft(&self.branch, name))?;
            self.open
                .insert(name.clone(), Open::new(draft, options.clone()));
        }
        self.open.get_mut(name).ok_or_else(|| gone(name))
    }

    /// A property of a table as it will be.
    pub(in crate::engine) fn property(
        &self,
        name: &TableName,
        key: &str,
    ) -> Result<Option<String>> {
        if let Some(open) = self.open.get(name) {
            return Ok(open.draft.property(key));
        }
        let draft = self.runtime.block_on(self.lake.draft(&self.branch, name))?;
        Ok(draft.property(key))
    }
}

/// The columns of the table that takes rows of this schema.
fn table_schema(rows: &SchemaRef) -> SchemaRef {
    match rows.column_with_name(bitemporal::DELETE_COLUMN) {
        Some(_) => bitemporal::table_schema(rows),
        None => rows.clone(),
    }
}

/// Widens columns of whole numbers to doubles where `schema` has them and the table supports it.
fn widen(runtime: &Handle, open: &mut Open, schema: &SchemaRef) -> Result<Vec<String>> {
    if !may_widen(runtime, &open.draft, schema)? {
        return Ok(Vec::new());
    }
    // Files written so far keep the schema they were written with, until the commit.
    open.close()?;
    open.draft.widen(schema)
}

fn gone(name: &TableName) -> Error {
    Error::bug("table_not_open", format!("the table {name} is not open"))
}
