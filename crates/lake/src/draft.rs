//! A change of one table that is not committed yet.

mod branches;
mod columns;
mod keyed;
mod same_rows;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use forebay_core::{Context, Error, Result, TableName, Timestamp};
use iceberg::spec::{
    FormatVersion, PartitionSpecRef, SortOrder, TableMetadata, TableMetadataBuilder,
    TableMetadataRef,
};
use parking_lot::Mutex;
use roaring::RoaringTreemap;
use uuid::Uuid;

use crate::age::check_age;
use crate::bitemporal::StagedRows;
use crate::compact::CompactionUpdate;
use crate::error::from_iceberg;
use crate::metadata::{METADATA_LOG_MAX, METADATA_LOG_PROPERTY, rebuilt};
use crate::rewrite::{TableRewrite, find_obstacle};
use crate::scan::ScanFile;
use crate::schema::{WidenedFields, WidenedSchema};
use crate::storage::LakeStorage;
use crate::upsert::{ParentLink, RowDeletes, WrittenKeys};
use crate::{
    DataFile, PartitionField, Table, TableWriter, WideningObstacle, WriterOptions, schema,
};

/// A table as it will be: its schema may have grown, files may have been added. Writing files needs no
/// coordination; [`crate::Lake::commit`] makes it visible.
#[derive(Debug)]
pub struct Draft {
    name: TableName,
    uuid: Uuid,
    storage: Arc<LakeStorage>,
    /// Its files are younger.
    made_at: Timestamp,
    base: Option<Table>,
    /// The table as it will be, but for its files and properties. `None` until a new table is created.
    metadata: Option<TableMetadataRef>,
    schema_changed: bool,
    files: Vec<DataFile>,
    /// Columns that became doubles.
    widened: WidenedFields,
    /// Files that were written before that.
    stale: Vec<DataFile>,
    /// Rows by key, when they replace those of the table.
    keys: Option<Arc<Mutex<WrittenKeys>>>,
    /// The column by which drafts of child tables know its rows.
    row_ids: Option<String>,
    /// Its rows go with rows of a parent table.
    parent: Option<ParentLink>,
    /// Rows of a bitemporal table: its files are written in the commit.
    staged: Option<Arc<Mutex<StagedRows>>>,
    /// Its rows come in the place of all rows of the table.
    replaces_rows: bool,
    /// Files that come in the place of files with the same rows.
    compaction: Option<Arc<CompactionUpdate>>,
    /// Rows of the table that it deletes.
    row_deletes: Vec<RowDeletes>,
    properties: BTreeMap<String, String>,
    /// Required values of properties when the change lands.
    expected: BTreeMap<String, Option<String>>,
    /// The change depends on all rows of the table.
    expects_same_rows: bool,
}

impl Draft {
    pub(crate) fn of(table: Table, now: Timestamp) -> Self {
        let storage = Arc::clone(table.storage());
        let metadata = Some(Arc::clone(table.metadata()));
        Self {
            base: Some(table.clone()),
            metadata,
            ..Self::empty(table.name().clone(), table.uuid(), storage, now)
        }
    }

    pub(crate) fn new(name: TableName, storage: Arc<LakeStorage>, now: Timestamp) -> Self {
        Self::empty(name, Uuid::new_v4(), storage, now)
    }

    fn empty(name: TableName, uuid: Uuid, storage: Arc<LakeStorage>, made_at: Timestamp) -> Self {
        let files = Vec::new();
        let properties = BTreeMap::new();
        let expected = BTreeMap::new();
        Self {
            name,
            uuid,
            storage,
            made_at,
            base: None,
            metadata: None,
            schema_changed: false,
            files,
            widened: WidenedFields::new(),
            stale: Vec::new(),
            keys: None,
            row_ids: None,
            parent: None,
            staged: None,
            replaces_rows: false,
            compaction: None,
            row_deletes: Vec::new(),
            properties,
            expected,
            expects_same_rows: false,
        }
    }

    pub fn name(&self) -> &TableName {
        &self.name
    }

    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Whether the table is there already (else this draft creates it).
    pub fn exists(&self) -> bool {
        self.base.is_some()
    }

    /// The schema as it will be, with Iceberg field ids in the metadata of every field at every depth
    /// (`PARQUET:field_id`). `None` before [`Draft::create`] on a new table.
    pub fn schema(&self) -> Option<SchemaRef> {
        // A schema made from an Arrow schema converts back to one.
        self.metadata
            .as_ref()
            .and_then(|metadata| schema::to_arrow(metadata.current_schema()).ok())
    }

    /// Gives a new table its first schema and its partitioning.
    ///
    /// Errors: `Config` when a partition field does not fit the schema; `reserved_column_name`.
    pub fn create(&mut self, schema: &SchemaRef, partition: &[PartitionField]) -> Result<()> {
        if self.metadata.is_some() {
            return Err(Error::bug(
                "already_created",
                "a table that has a schema is created again",
            ))
            .context("table", &self.name);
        }
        let metadata = self
            .first_metadata(schema, partition)
            .context("table", &self.name)?;
        self.metadata = Some(Arc::new(metadata));
        self.schema_changed = true;
        Ok(())
    }

    /// Grows the table so that rows of `schema` fit: columns that it lacks are added (also inside structs and
    /// lists), types are widened where Iceberg allows (int→long, float→double, decimal precision), a column that
    /// `schema` lacks stays and becomes optional. Columns are matched by the name that the data has for them; one whose path
    /// another column has, whatever the case, gets a number (`ID_2`). Returns the changes, for people
    /// (`added column note: string`); empty when the schema already fits.
    ///
    /// Errors: `Config` `incompatible_type` when a type cannot be widened, `type_too_deep`, `reserved_column_name`.
    pub fn evolve(&mut self, schema: &SchemaRef) -> Result<Vec<String>> {
        let metadata = self.planned()?;
        let schema =
            schema::assign(Some(metadata.current_schema()), schema).context("table", &self.name)?;
        schema::check_new_columns(Some(metadata.current_schema()), &schema)
            .context("table", &self.name)?;
        let evolved = schema::evolve(
            metadata.current_schema(),
            metadata.last_column_id(),
            &schema,
        );
        let (grown, changes) = evolved.context("table", &self.name)?;
        if changes.is_empty() {
            return Ok(changes);
        }
        self.change_schema(grown)?;
        Ok(changes)
    }

    /// The rows of this draft, also when there are none, come in the place of all rows that the table has when it is committed.
    pub fn replace_rows(&mut self) {
        self.replaces_rows = true;
    }

    /// Deletes rows of a file that a scan of the table has planned, by their positions in it. The commit is refused when another writer has
    /// deleted one of them, or moved it to another file, since.
    pub fn delete_rows(&mut self, file: &ScanFile, rows: RoaringTreemap) {
        if !rows.is_empty() {
            self.row_deletes.push(RowDeletes::of(file.clone(), rows));
        }
    }

    pub(crate) fn row_deletes(&self) -> &[RowDeletes] {
        &self.row_deletes
    }

    pub(crate) fn replaces_rows(&self) -> bool {
        self.replaces_rows
    }

    /// Puts files in the place of others with the same rows; nothing else may be part of the draft.
    pub(crate) fn compact(&mut self, update: Arc<CompactionUpdate>) {
        self.compaction = Some(update);
    }

    pub(crate) fn compaction(&self) -> Option<&Arc<CompactionUpdate>> {
        self.compaction.as_ref()
    }

    /// Whether it has rows.
    pub(crate) fn has_rows(&self) -> bool {
        let staged = self.staged.as_ref();
        !self.files.is_empty() || staged.is_some_and(|staged| !staged.lock().is_empty())
    }

    /// Whether `schema` has doubles over columns of whole numbers.
    pub fn would_widen(&self, schema: &SchemaRef) -> Result<bool> {
        Ok(self.planned_widening(schema)?.is_some())
    }

    /// Why the columns of whole numbers over which `schema` has doubles may not become doubles; `None` when they may, or there are
    /// none. Reads the manifests of the table, and at the footers of its files for columns in lists.
    pub async fn widening_obstacle(&self, schema: &SchemaRef) -> Result<Option<WideningObstacle>> {
        let Some(widened) = self.planned_widening(schema)? else {
            return Ok(None);
        };
        let ids: BTreeSet<i32> = widened.fields.values().copied().collect();
        if let Some(name) = self.key_column_among(&ids) {
            let reason = format!("column `{name}` is part of the key");
            return Ok(Some(WideningObstacle { reason }));
        }
        let Some(base) = &self.base else {
            return Ok(None);
        };
        find_obstacle(base, &ids).await.context("table", &self.name)
    }

    fn key_column_among(&self, ids: &BTreeSet<i32>) -> Option<String> {
        let keys = self.key_columns()?;
        let mut columns = keys.columns();
        let found = columns.find(|column| ids.contains(&column.id));
        found.map(|column| column.name.clone())
    }

    /// Makes the columns of whole numbers over which `schema` has doubles doubles, at every depth. The files of the table are
    /// written again in the commit, and so are those of this draft. Returns the changes, for people.
    pub fn widen(&mut self, schema: &SchemaRef) -> Result<Vec<String>> {
        let Some(WidenedSchema {
            schema,
            fields,
            changes,
        }) = self.planned_widening(schema)?
        else {
            return Ok(Vec::new());
        };
        self.change_schema(schema)?;
        self.widened.extend(fields);
        self.stale.append(&mut self.files);
        Ok(changes)
    }

    fn planned_widening(&self, schema: &SchemaRef) -> Result<Option<WidenedSchema>> {
        let metadata = self.planned()?;
        let current = metadata.current_schema();
        let widened = schema::assign(Some(current), schema)
            .and_then(|schema| schema::widen(current, metadata.last_column_id(), &schema));
        widened.context("table", &self.name)
    }

    fn change_schema(&mut self, schema: iceberg::spec::Schema) -> Result<()> {
        let metadata = self.planned()?;
        let last = Timestamp(metadata.last_updated_ms().saturating_mul(1_000));
        let built = rebuilt(metadata, None, last, |builder| {
            builder.add_current_schema(schema)
        });
        self.metadata = Some(Arc::new(built.context("table", &self.name)?));
        self.schema_changed = true;
        Ok(())
    }

    /// A writer of data files for the schema as it is now; make a new one after [`Draft::evolve`] and [`Draft::widen`].
    pub fn writer(&self, options: WriterOptions) -> Result<TableWriter> {
        TableWriter::new(self, options)
    }

    /// The same change without its files: to preview the effect on rows before the change takes them.
    pub fn trial(&self) -> Self {
        let storage = Arc::clone(&self.storage);
        let made_at = self.made_at;
        Self {
            base: self.base.clone(),
            metadata: self.metadata.clone(),
            keys: self.keys.clone(),
            staged: self.staged.clone(),
            ..Self::empty(self.name.clone(), self.uuid, storage, made_at)
        }
    }

    /// Adds written files to the change.
    pub fn append(&mut self, files: Vec<DataFile>) {
        self.files.extend(files);
        self.note_upsert_key();
    }

    /// Gives up the change and deletes its files. Only for a change that was never given to [`crate::Lake::commit`]: after an error of
    /// that it may not be known whether it landed. Files that cannot be deleted are left to [`crate::Lake::clean`].
    pub async fn discard(self) {
        for file in self.files.iter().chain(&self.stale) {
            self.storage.delete_unnamed(&file.path).await;
        }
    }

    /// A table property as it will be.
    pub fn property(&self, key: &str) -> Option<String> {
        let planned = || self.metadata.as_ref()?.properties().get(key);
        self.properties.get(key).or_else(planned).cloned()
    }

    /// Sets a table property in the same commit.
    pub fn set_property(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.properties.insert(key.into(), value.into());
    }

    /// The change is for a table whose property has this value, or is unset for `None`: the commit is refused when it is something
    /// else by then.
    ///
    /// Errors: `Conflict` `property_moved` when it is already.
    pub fn expect_property(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        self.expected
            .insert(key.to_owned(), value.map(str::to_owned));
        self.check_properties(self.base.as_ref())
            .context("table", &self.name)
    }

    // The inputs of `write` for files, and of `commit` for the commit.

    /// Errors: `Bug` before a new table was created.
    pub(crate) fn planned(&self) -> Result<&TableMetadataRef> {
        let missing = || {
            Error::bug(
                "no_schema",
                "a new table is used before it was given a schema",
            )
        };
        self.metadata
            .as_ref()
            .ok_or_else(missing)
            .context("table", &self.name)
    }

    pub(crate) fn iceberg_schema(&self) -> Result<iceberg::spec::SchemaRef> {
        Ok(Arc::clone(self.planned()?.current_schema()))
    }

    /// The spec that new files are written by; its id goes into [`DataFile`].
    pub(crate) fn partition_spec(&self) -> Result<PartitionSpecRef> {
        Ok(Arc::clone(self.planned()?.default_partition_spec()))
    }

    /// The folder of the table in the object store; data files lie in `data` below it.
    pub(crate) fn folder(&self) -> object_store::path::Path {
        match &self.metadata {
            // An imported table may be stored under another name.
            Some(metadata) => self
                .storage
                .path(metadata.location())
                .unwrap_or_else(|_| folder(self.uuid)),
            None => folder(self.uuid),
        }
    }

    pub(crate) fn storage(&self) -> &Arc<LakeStorage> {
        &self.storage
    }

    /// Errors: `Conflict` `draft_too_old`: [`crate::Lake::clean`] may already have deleted its files.
    pub(crate) fn check_age(&self, now: Timestamp) -> Result<()> {
        check_age(self.made_at, now).context("table", &self.name)
    }

    pub(crate) fn base(&self) -> Option<&Table> {
        self.base.as_ref()
    }

    pub(crate) fn files(&self) -> &[DataFile] {
        &self.files
    }

    pub(crate) fn widened(&self) -> &WidenedFields {
        &self.widened
    }

    /// Writes its own files again that were written before a column was widened.
    pub(crate) async fn renew(&mut self, rewrite: &TableRewrite) -> Result<()> {
        let table = Arc::clone(self.planned()?);
        let stale = std::mem::take(&mut self.stale);
        let keys = self.written_keys();
        let renewed = rewrite.renew(&table, stale, keys.as_deref()).await;
        self.files.extend(renewed.context("table", &self.name)?);
        Ok(())
    }

    pub(crate) fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// Errors: `Conflict` `property_moved` when `head` has a property that was expected to be something else.
    pub(crate) fn check_properties(&self, head: Option<&Table>) -> Result<()> {
        let now = |key: &str| head?.metadata().properties().get(key);
        let moved = |(key, value): &(&String, &Option<String>)| now(key) != value.as_ref();
        let Some((key, _)) = self.expected.iter().find(moved) else {
            return Ok(());
        };
        let what = format!("another writer changed the property `{key}`");
        let error = Error::conflict("property_moved", what);
        Err(error.with_hint("read the table again and redo the change"))
    }

    /// Whether the table is new or its schema grew.
    pub(crate) fn schema_changed(&self) -> bool {
        self.schema_changed
    }

    pub(crate) fn is_untouched(&self) -> bool {
        self.parent.is_none() && !self.has_changes()
    }

    fn has_changes(&self) -> bool {
        self.schema_changed
            || self.has_rows()
            || self.replaces_rows
            || self.compaction.is_some()
            || !self.row_deletes.is_empty()
            || !self.properties.is_empty()
    }

    fn first_metadata(
        &self,
        schema: &SchemaRef,
        partition: &[PartitionField],
    ) -> Result<TableMetadata> {
        schema::check_new_columns(None, schema)?;
        let first = schema::to_iceberg(&schema::assign(None, schema)?)?;
        let spec = crate::partition::unbound_spec(partition, &first)?;
        let location = self.storage.location(&folder(self.uuid));
        let order = SortOrder::unsorted_order();
        let builder = TableMetadataBuilder::new(
            first,
            spec,
            order,
            location,
            FormatVersion::V2,
            first_properties(),
        );
        let built = builder.and_then(|builder| builder.assign_uuid(self.uuid).build());
        built
            .map(|built| built.metadata)
            .map_err(|e| from_iceberg("lay out the new table", e))
    }
}

fn folder(uuid: Uuid) -> object_store::path::Path {
    object_store::path::Path::from_iter(["tables", &uuid.to_string()])
}

pub(crate) fn first_properties() -> HashMap<String, String> {
    let properties = [
        (METADATA_LOG_PROPERTY, METADATA_LOG_MAX.to_string()),
        // Old states of the lake need files that the newest metadata no longer names, so other engines must not
        // collect them.
        ("gc.enabled", "false".to_owned()),
        ("write.parquet.compression-codec", "zstd".to_owned()),
    ];
    properties
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}
