//! Tables: listed, loaded, created, registered, renamed and dropped.

use std::collections::{BTreeMap, HashSet};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use axum::response::{IntoResponse, Response};
use forebay_core::{Error, Ident, Result, TableName};
use forebay_lake::{Table, TableDefinition};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::answer::json as answer;

use super::answer::Answered;
use super::call::{CatalogCall, no_such_namespace, no_such_table, one_level};
use super::config::newest;
use super::listing::PageRequest;
use super::namespaces;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CreateRequest {
    name: String,
    schema: Value,
    partition_spec: Option<Value>,
    write_order: Option<Value>,
    #[serde(default)]
    stage_create: bool,
    properties: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegisterRequest {
    name: String,
    metadata_location: String,
    #[serde(default)]
    overwrite: bool,
}

#[derive(Deserialize)]
struct RenameRequest {
    source: TableIdentifier,
    destination: TableIdentifier,
}

/// A table in a body.
#[derive(Debug, Deserialize)]
pub(super) struct TableIdentifier {
    namespace: Vec<String>,
    name: String,
}

impl TableIdentifier {
    /// Errors: `Config` `bad_identifier`, `Data` `bad_request`.
    pub(super) fn table(&self) -> Result<TableName> {
        Ok(TableName::new(
            one_level(&self.namespace)?,
            self.name.parse()?,
        ))
    }

    /// Errors: `NotFound` `no_such_namespace` for a name that none can have.
    fn existing_namespace(&self) -> Result<Ident> {
        one_level(&self.namespace).map_err(|_| no_such_namespace(&self.namespace.join(".")))
    }

    /// A table that should be there.
    ///
    /// Errors: `NotFound` `no_such_table` for a name that none can have.
    pub(super) fn existing(&self) -> Result<TableName> {
        let name = || format!("{}.{}", self.namespace.join("."), self.name);
        self.table().map_err(|_| no_such_table(&name()))
    }
}

pub(super) async fn list(call: CatalogCall) -> Answered {
    let namespace = call.namespace()?;
    namespaces::check(&call, &namespace).await?;
    let request = PageRequest::of(&call)?;
    let store = call.site.lake().store();
    let branch = newest(&call);
    let heads = store.tables_in(&branch, &namespace, &request.after, request.limit());
    let names = heads.await?.into_iter();
    let names = names.map(|head| head.table.name.to_string()).collect();
    let shown = |name: &str| json!({"namespace": [namespace.as_str()], "name": name});
    Ok(answer(&request.page("identifiers", names, shown)))
}

pub(super) async fn show(call: CatalogCall) -> Answered {
    let table = loaded(&call, &call.table()?).await?;
    let refs_only = call.parameter("snapshots") == Some("refs");
    let tag = etag(&table, refs_only);
    if call.headers.get(IF_NONE_MATCH) == Some(&tag) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let mut shown = load_answer(&call, &table)?;
    if refs_only {
        keep_named_snapshots(&mut shown["metadata"]);
    }
    let mut response = answer(&shown);
    response.headers_mut().insert(ETAG, tag);
    Ok(response)
}

/// A metadata file is written once, so its name identifies its content.
fn etag(table: &Table, refs_only: bool) -> HeaderValue {
    let (_, file) = table
        .metadata_location()
        .rsplit_once('/')
        .unwrap_or_default();
    let part = if refs_only { "-refs" } else { "" };
    let name: String = file.chars().filter(char::is_ascii_graphic).collect();
    let name = name.replace('"', "");
    HeaderValue::from_str(&format!("\"{name}{part}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn keep_named_snapshots(metadata: &mut Value) {
    let refs = metadata["refs"].as_object();
    let named: HashSet<i64> = refs
        .into_iter()
        .flat_map(|refs| refs.values())
        .filter_map(|reference| reference["snapshot-id"].as_i64())
        .collect();
    if let Some(snapshots) = metadata["snapshots"].as_array_mut() {
        let is_named = |one: &Value| {
            one["snapshot-id"]
                .as_i64()
                .is_some_and(|id| named.contains(&id))
        };
        snapshots.retain(is_named);
    }
}

pub(super) async fn loaded(call: &CatalogCall, name: &TableName) -> Result<Table> {
    let table = call.site.lake().table(&newest(call), name).await?;
    table.ok_or_else(|| no_such_table(&name.to_string()))
}

/// `LoadTableResult` of a table.
pub(super) fn load_answer(call: &CatalogCall, table: &Table) -> Result<Value> {
    Ok(json!({
        "metadata-location": table.metadata_location(),
        "metadata": table.metadata_json()?,
        "config": call.site.file_properties(),
    }))
}

pub(super) async fn exists(call: CatalogCall) -> Answered {
    let name = call.table()?;
    let store = call.site.lake().store();
    match store.head(&newest(&call), &name).await? {
        Some(_) => Ok(StatusCode::NO_CONTENT.into_response()),
        None => Err(no_such_table(&name.to_string()).into()),
    }
}

/// Any location that is asked for is overridden.
pub(super) async fn create(call: CatalogCall, request: Request<Body>) -> Answered {
    let CreateRequest {
        name,
        schema,
        partition_spec,
        write_order,
        stage_create,
        properties,
    } = call.read(request).await?;
    let namespace = call.namespace()?;
    let table = TableName::new(namespace, name.parse()?);
    namespaces::check(&call, &table.namespace).await?;
    let lake = call.site.lake();
    if lake.store().head(&newest(&call), &table).await?.is_some() {
        return Err(exists_already(&table).into());
    }
    let definition = TableDefinition {
        schema,
        partition_spec,
        sort_order: write_order,
        properties: properties.unwrap_or_default(),
    };
    let planned = lake.plan_external_table(table, definition).await?;
    if stage_create {
        let metadata = planned.metadata_json()?;
        let config = call.site.file_properties();
        return Ok(answer(&json!({"metadata": metadata, "config": config})));
    }
    let author = call.author();
    let created = lake.create_external_table(&call.branch, planned, &author);
    Ok(answer(&load_answer(&call, &created.await?)?))
}

fn exists_already(table: &TableName) -> Error {
    Error::conflict("table_exists", format!("Table already exists: {table}"))
}

pub(super) async fn register(call: CatalogCall, request: Request<Body>) -> Answered {
    let RegisterRequest {
        name,
        metadata_location,
        overwrite,
    } = call.read(request).await?;
    let table = TableName::new(call.namespace()?, name.parse()?);
    namespaces::check(&call, &table.namespace).await?;
    if overwrite {
        let what = "a registered table does not replace another: drop that one first";
        return Err(Error::unsupported("update_refused", what).into());
    }
    let _turn = call.site.changes().acquire().await;
    let lake = call.site.lake();
    let author = call.author();
    let registered = lake.register_external(&call.branch, &table, &metadata_location, &author);
    Ok(answer(&load_answer(&call, &registered.await?)?))
}

/// Files of a dropped table stay until its history expires, also of one that should be purged.
pub(super) async fn remove(call: CatalogCall) -> Answered {
    let table = call.table()?;
    refuse_loaded(&call, &table).await?;
    let author = call.author();
    let lake = call.site.lake();
    lake.drop_external(&call.branch, &table, &author).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn rename(call: CatalogCall, request: Request<Body>) -> Answered {
    let RenameRequest {
        source,
        destination,
    } = call.read(request).await?;
    let from = source.existing()?;
    refuse_loaded(&call, &from).await?;
    namespaces::check(&call, &destination.existing_namespace()?).await?;
    let to = destination.table()?;
    let author = call.author();
    let lake = call.site.lake();
    lake.rename_external(&call.branch, &from, &to, &author)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The next run of a pipeline would create its table again, with only the rows after its position.
///
/// Errors: `Unsupported` `table_in_use`.
async fn refuse_loaded(call: &CatalogCall, name: &TableName) -> Result<()> {
    let table = loaded(call, name).await?;
    let pipelines = call.state().registry().all();
    let loads = pipelines.iter().find(|status| {
        let target = status.spec.load.lake();
        target.is_some_and(|target| forebay_pipeline::engine::is_owned(&table, &target.table))
    });
    let Some(status) = loads else {
        return Ok(());
    };
    let what = format!("pipeline {} loads {name}", status.pipeline);
    Err(Error::unsupported("table_in_use", what).with_hint(format!(
        "`forebay pipeline reset {}` drops its tables and starts it over",
        status.pipeline
    )))
}

/// Reports of scans and commits are accepted and not kept.
pub(super) async fn metrics(call: CatalogCall, request: Request<Body>) -> Answered {
    let _: IgnoredAny = call.read(request).await?;
    let response: Response = StatusCode::NO_CONTENT.into_response();
    Ok(response)
}
