//! New tables of other engines. The folder is the server's: `tables/<uuid>`, whatever location a caller asks for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use forebay_core::{Error, RefName, Result, TableName, Timestamp};
use futures::StreamExt;
use iceberg::TableUpdate;
use iceberg::spec::{
    FormatVersion, Schema, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec,
};
use object_store::path::Path;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::draft::first_properties;
use crate::metadata::{rebuilt, stamped};
use crate::{Lake, Table};
use forebay_objects::from_objects;
use forebay_store::{AsOf, Commit};

use super::commit::{
    PlannedState, WrittenState, as_bad_update, commit_heads, discard, is_stale,
    refused as not_read, write,
};
use super::numbers::check_numbers;
use super::rules::{check_key, check_namespace, refused};
use super::{commit_property, fresh_commit_id, parse};

const VERSION_PROPERTY: &str = "format-version";

/// A table as another engine asks for it.
#[derive(Debug, Default)]
pub struct TableDefinition {
    pub schema: Value,
    pub partition_spec: Option<Value>,
    pub sort_order: Option<Value>,
    pub properties: BTreeMap<String, String>,
}

/// A table that is in no catalog yet.
#[derive(Debug)]
pub struct PlannedTable {
    table: TableName,
    metadata: TableMetadata,
}

impl PlannedTable {
    /// As the REST protocol has it.
    pub fn metadata_json(&self) -> Result<Value> {
        super::heads::json_of(&self.metadata)
    }
}

impl Lake {
    /// Lays out a table in a new folder, which is made where a local disk needs it.
    ///
    /// Errors: `Data` `bad_update`, `Unsupported` `update_refused`, `table_read_only`.
    pub async fn plan_external_table(
        &self,
        table: TableName,
        definition: TableDefinition,
    ) -> Result<PlannedTable> {
        check_namespace(&table)?;
        let uuid = Uuid::new_v4();
        let folder = folder(uuid);
        let location = self.storage().location(&folder);
        let metadata = first_metadata(definition, uuid, location)?;
        crate::schema::to_arrow(metadata.current_schema()).map_err(as_bad_update)?;
        let now = self.clock().now();
        let metadata = stamped(&metadata, now)?;
        check_numbers(&metadata, now)?;
        self.storage().create_table_folders(&folder).await?;
        Ok(PlannedTable { table, metadata })
    }

    /// Creates a planned table.
    ///
    /// Errors: `Conflict` `table_exists`; `Config` `view_name_taken`; those of [`Lake::commit_external`].
    pub async fn create_external_table(
        &self,
        branch: &RefName,
        planned: PlannedTable,
        author: &str,
    ) -> Result<Table> {
        let PlannedTable { table, metadata } = planned;
        let as_of = AsOf::Head(branch.clone());
        self.check_table_name(&as_of, &table).await?;
        let id = fresh_commit_id(self.clock().now());
        let at = Timestamp(metadata.last_updated_ms().saturating_mul(1_000));
        let metadata = rebuilt(&metadata, None, at, |builder| {
            builder.set_properties(commit_property(id).into_iter().collect())
        })?;
        let state = PlannedState {
            table: table.clone(),
            previous: None,
            metadata,
        };
        let states = write(self, vec![state]).await?;
        let heads = states.iter().map(WrittenState::head_change).collect();
        let message = format!("create {table}");
        let commit = Commit::of_heads(id, branch.clone(), author.to_owned(), message, heads);
        if let Err(error) = commit_heads(self, commit).await {
            if !is_stale(&error) {
                return Err(error);
            }
            discard(self, &states).await;
            return Err(super::heads::table_exists(&table));
        }
        let landed = states.into_iter().next();
        let landed =
            landed.ok_or_else(|| Error::bug("no_state", "a table was created without a state"))?;
        landed.landed(self)
    }
}

fn folder(uuid: Uuid) -> Path {
    Path::from_iter(["tables", &uuid.to_string()])
}

fn first_metadata(
    definition: TableDefinition,
    uuid: Uuid,
    location: String,
) -> Result<TableMetadata> {
    let TableDefinition {
        schema,
        partition_spec,
        sort_order,
        mut properties,
    } = definition;
    let version = match properties.remove(VERSION_PROPERTY).as_deref() {
        None | Some("2") => FormatVersion::V2,
        Some("3") => FormatVersion::V3,
        Some(other) => return Err(refused(format!("format version {other} is not supported"))),
    };
    let spec = partition_spec.map(|spec| parse("partition spec", spec));
    let spec: UnboundPartitionSpec = spec.transpose()?.unwrap_or_default();
    let order = sort_order.map(|order| parse("sort order", with_order_id(order)));
    let order = order.transpose()?.unwrap_or_else(SortOrder::unsorted_order);
    let schema: Schema = parse("schema", with_schema_id(schema))?;
    let properties = all_properties(properties)?;
    let builder = TableMetadataBuilder::new(schema, spec, order, location, version, properties);
    let built = builder.and_then(|builder| builder.assign_uuid(uuid).build());
    built
        .map(|built| built.metadata)
        .map_err(|e| not_read("lay out the new table", e))
}

/// Those of every new table, with those of the caller over them.
fn all_properties(given: BTreeMap<String, String>) -> Result<HashMap<String, String>> {
    let mut properties = first_properties();
    for (key, value) in given {
        if properties.get(&key) != Some(&value) {
            check_key(&key)?;
            properties.insert(key, value);
        }
    }
    Ok(properties)
}

/// Clients may leave out ids that the server assigns.
pub(super) fn with_default_ids(mut update: Value) -> Value {
    if let Some(schema) = update.get_mut("schema") {
        *schema = with_schema_id(schema.take());
    }
    if let Some(order) = update.get_mut("sort-order") {
        *order = with_order_id(order.take());
    }
    update
}

fn with_schema_id(mut schema: Value) -> Value {
    if let Value::Object(fields) = &mut schema {
        fields.entry("schema-id").or_insert(json!(0));
        fields.entry("type").or_insert(json!("struct"));
    }
    schema
}

fn with_order_id(mut order: Value) -> Value {
    let is_sorted = order["fields"]
        .as_array()
        .is_some_and(|fields| !fields.is_empty());
    if let Value::Object(fields) = &mut order {
        let id = i32::from(is_sorted);
        fields.entry("order-id").or_insert(json!(id));
    }
    order
}

/// The empty table that a staged creation begins with: its first schema, partition spec and sort order have the ids that the updates name.
///
/// Errors: `Unsupported` `update_refused` for a folder that the server did not choose.
pub(super) async fn staged_metadata(lake: &Lake, updates: &[TableUpdate]) -> Result<TableMetadata> {
    let first = FirstUpdates::of(updates)?;
    let location = match first.location {
        Some(location) => location.trim_end_matches('/').to_owned(),
        None => lake.storage().location(&folder(first.uuid)),
    };
    if lake.storage().path(&location).ok() != Some(folder(first.uuid)) {
        let what =
            "the location of a table is chosen by the server: it is the one of the staged table";
        return Err(refused(what).with_context("location", location));
    }
    check_unused(lake, &folder(first.uuid)).await?;
    first.metadata(location)
}

/// No table may take the folder of another.
async fn check_unused(lake: &Lake, folder: &Path) -> Result<()> {
    let metadata = folder.clone().join("metadata");
    let mut found = lake.objects().list(Some(&metadata));
    while let Some(object) = found.next().await {
        let object = object.map_err(|e| from_objects("list objects", &metadata, e))?;
        let name = object.location.filename().unwrap_or_default();
        if name.ends_with(".metadata.json") {
            return Err(refused("the folder belongs to another table"));
        }
    }
    Ok(())
}

/// The first update of each kind.
struct FirstUpdates<'u> {
    uuid: Uuid,
    version: FormatVersion,
    location: Option<&'u str>,
    schema: &'u Schema,
    spec: Option<&'u UnboundPartitionSpec>,
    order: Option<&'u SortOrder>,
}

impl<'u> FirstUpdates<'u> {
    fn of(updates: &'u [TableUpdate]) -> Result<Self> {
        let schema = updates.iter().find_map(|update| match update {
            TableUpdate::AddSchema { schema } => Some(schema),
            _ => None,
        });
        let version = updates.iter().find_map(|update| match update {
            TableUpdate::UpgradeFormatVersion { format_version } => Some(*format_version),
            _ => None,
        });
        let uuid = updates.iter().find_map(|update| match update {
            TableUpdate::AssignUuid { uuid } => Some(*uuid),
            _ => None,
        });
        Ok(Self {
            // Clients that do not stage a table leave it out.
            uuid: uuid.unwrap_or_else(Uuid::new_v4),
            version: version.unwrap_or(FormatVersion::V2).max(FormatVersion::V2),
            location: updates.iter().find_map(|update| match update {
                TableUpdate::SetLocation { location } => Some(location.as_str()),
                _ => None,
            }),
            schema: schema.ok_or_else(|| Error::data("bad_update", "a new table has no schema"))?,
            spec: updates.iter().find_map(|update| match update {
                TableUpdate::AddSpec { spec } => Some(spec),
                _ => None,
            }),
            order: updates.iter().find_map(|update| match update {
                TableUpdate::AddSortOrder { sort_order } => Some(sort_order),
                _ => None,
            }),
        })
    }

    fn metadata(&self, location: String) -> Result<TableMetadata> {
        let failed = |e: serde_json::Error| {
            Error::data(
                "bad_update",
                format!("failed to lay out the new table: {e}"),
            )
        };
        let schema = Arc::new(self.schema.clone());
        let mut schema_json = serde_json::to_value(schema.as_ref()).map_err(failed)?;
        schema_json["schema-id"] = json!(0);
        let spec = self.spec.cloned().unwrap_or_default().with_spec_id(0);
        let spec = spec
            .bind(schema)
            .map_err(|e| not_read("bind the partition spec", e))?;
        let last_partition = spec.fields().iter().map(|field| field.field_id).max();
        let unsorted = SortOrder::unsorted_order();
        let order = self.order.filter(|order| !order.fields.is_empty());
        let order_id = i32::from(order.is_some());
        let mut order = serde_json::to_value(order.unwrap_or(&unsorted)).map_err(failed)?;
        order["order-id"] = json!(order_id);
        let properties = first_properties();
        let mut value = json!({
            "format-version": self.version as u8, "table-uuid": self.uuid, "location": location,
            "last-sequence-number": 0, "last-updated-ms": 0,
            "last-column-id": self.schema.highest_field_id(),
            "schemas": [schema_json], "current-schema-id": 0,
            "partition-specs": [spec], "default-spec-id": 0, "last-partition-id": last_partition.unwrap_or(999),
            "sort-orders": [order], "default-sort-order-id": order_id,
            "properties": properties, "snapshots": [], "snapshot-log": [], "metadata-log": [],
        });
        if self.version == FormatVersion::V3 {
            value["next-row-id"] = json!(0);
        }
        serde_json::from_value(value).map_err(failed)
    }
}
