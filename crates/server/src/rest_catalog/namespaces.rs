//! Namespaces: those that were created, and those that have tables.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use forebay_core::{Error, Ident, Result};
use forebay_lake::is_system_namespace;
use forebay_store::{NamespaceRecord, PropertyChange};
use serde::Deserialize;
use serde_json::json;

use crate::answer::json as answer;

use super::answer::Answered;
use super::call::{CatalogCall, no_such_namespace, one_level};
use super::config::newest;
use super::listing::PageRequest;

#[derive(Deserialize)]
struct CreateRequest {
    namespace: Vec<String>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ChangeRequest {
    #[serde(default)]
    removals: Vec<String>,
    #[serde(default)]
    updates: BTreeMap<String, String>,
}

/// No namespace has others in it.
pub(super) async fn list(call: CatalogCall) -> Answered {
    if let Some(parent) = call.parameter("parent") {
        let name = parent.parse().map_err(|_| no_such_namespace(parent))?;
        check(&call, &name).await?;
        return Ok(answer(&json!({"namespaces": [], "next-page-token": null})));
    }
    let request = PageRequest::of(&call)?;
    let store = call.site.lake().store();
    let with_tables = store.namespaces_with_tables(&newest(&call)).await?;
    let recorded = store.namespaces().await?;
    let recorded = recorded.into_iter().map(|record| record.name);
    let names: BTreeSet<String> = with_tables
        .into_iter()
        .chain(recorded)
        .map(|name| name.to_string())
        .collect();
    let names = names.into_iter().filter(|name| *name > request.after);
    let names = names.take(request.limit()).collect();
    let listed = request.page("namespaces", names, |name| json!([name]));
    Ok(answer(&listed))
}

async fn has_tables(call: &CatalogCall, name: &Ident) -> Result<bool> {
    let store = call.site.lake().store();
    let first = store.tables_in(&newest(call), name, "", 1).await?;
    Ok(!first.is_empty())
}

/// Errors: `NotFound` `no_such_namespace`.
pub(super) async fn check(call: &CatalogCall, name: &Ident) -> Result<()> {
    let recorded = call.site.lake().store().namespace(name).await?;
    match recorded.is_some() || has_tables(call, name).await? {
        true => Ok(()),
        false => Err(no_such_namespace(name.as_str())),
    }
}

pub(super) async fn create(call: CatalogCall, request: Request<Body>) -> Answered {
    let CreateRequest {
        namespace,
        properties,
    } = call.read(request).await?;
    let name = one_level(&namespace)?;
    refuse_system(&name)?;
    if has_tables(&call, &name).await? {
        let what = format!("Namespace already exists: {name}");
        return Err(Error::conflict("namespace_exists", what).into());
    }
    let record = NamespaceRecord {
        name,
        properties: properties.clone(),
    };
    call.site.lake().store().create_namespace(record).await?;
    Ok(answer(
        &json!({"namespace": namespace, "properties": properties}),
    ))
}

pub(super) async fn show(call: CatalogCall) -> Answered {
    let name = call.namespace()?;
    let recorded = call.site.lake().store().namespace(&name).await?;
    if recorded.is_none() {
        check(&call, &name).await?;
    }
    let mut properties = recorded.map(|record| record.properties).unwrap_or_default();
    // Trino stages the creation of a table only in a namespace with a location. The table's own is chosen by the server all the same.
    let location = || format!("{}/tables", call.site.lake().root());
    properties
        .entry("location".to_owned())
        .or_insert_with(location);
    Ok(answer(
        &json!({"namespace": [name.as_str()], "properties": properties}),
    ))
}

pub(super) async fn exists(call: CatalogCall) -> Answered {
    let name = call.namespace()?;
    check(&call, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn remove(call: CatalogCall) -> Answered {
    let name = call.namespace()?;
    if has_tables(&call, &name).await? {
        let what = format!("Namespace {name} is not empty");
        return Err(Error::conflict("namespace_not_empty", what).into());
    }
    if !call.site.lake().store().drop_namespace(&name).await? {
        return Err(no_such_namespace(name.as_str()).into());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn change(call: CatalogCall, request: Request<Body>) -> Answered {
    let ChangeRequest { removals, updates } = call.read(request).await?;
    let name = call.namespace()?;
    refuse_system(&name)?;
    check(&call, &name).await?;
    if let Some(both) = removals.iter().find(|key| updates.contains_key(*key)) {
        let what = format!("the property `{both}` is both set and removed");
        return Err(Error::data("bad_properties", what).into());
    }
    let updated: Vec<String> = updates.keys().cloned().collect();
    let change = PropertyChange {
        removals: removals.clone(),
        updates,
    };
    let before = call.site.lake().store().change_namespace(&name, change);
    let before = before.await?;
    let (removed, missing): (Vec<_>, Vec<_>) = removals
        .into_iter()
        .partition(|key| before.contains_key(key));
    Ok(answer(
        &json!({"updated": updated, "removed": removed, "missing": missing}),
    ))
}

fn refuse_system(name: &Ident) -> Result<()> {
    if !is_system_namespace(name.as_str()) {
        return Ok(());
    }
    let what = format!("the namespace {name} belongs to Forebay itself");
    Err(Error::unsupported("table_read_only", what))
}
