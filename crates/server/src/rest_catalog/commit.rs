//! Commits: of one table, or of several at once.

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use forebay_core::{Error, Result, TableName};
use forebay_lake::{EXTERNAL_TABLES_MAX, ExternalChange, ExternalCommit, Table};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::json as answer;

use super::answer::Answered;
use super::call::{CatalogCall, no_such_table};
use super::namespaces;
use super::tables::{TableIdentifier, load_answer};

#[derive(Deserialize)]
struct CommitRequest {
    identifier: Option<TableIdentifier>,
    #[serde(default)]
    requirements: Vec<Value>,
    #[serde(default)]
    updates: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct TransactionRequest {
    table_changes: Vec<CommitRequest>,
}

pub(super) async fn one(call: CatalogCall, request: Request<Body>) -> Answered {
    let table = call.table()?;
    let body: CommitRequest = call.read(request).await?;
    let other = body.identifier.as_ref().map(TableIdentifier::existing);
    if other.transpose()?.is_some_and(|other| other != table) {
        let what = "the table of the body is not that of the path";
        return Err(Error::data("bad_request", what).into());
    }
    let committed = commit(&call, vec![parsed(table, body)?]).await?;
    let committed = committed.into_iter().next();
    let table = committed.ok_or_else(|| no_such_table("the table of the commit"))?;
    Ok(answer(&load_answer(&call, &table)?))
}

pub(super) async fn many(call: CatalogCall, request: Request<Body>) -> Answered {
    let body: TransactionRequest = call.read(request).await?;
    if body.table_changes.len() > EXTERNAL_TABLES_MAX {
        let what = format!("a transaction changes at most {EXTERNAL_TABLES_MAX} tables");
        return Err(Error::data("bad_request", what).into());
    }
    let changes = body.table_changes.into_iter().map(|change| {
        let missing = || Error::data("bad_request", "a change names no table");
        let table = change.identifier.as_ref().ok_or_else(missing)?.existing()?;
        parsed(table, change)
    });
    let changes = changes.collect::<Result<Vec<_>>>()?;
    commit(&call, changes).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn parsed(table: TableName, body: CommitRequest) -> Result<ExternalChange> {
    ExternalChange::parse(table, body.requirements, body.updates)
}

async fn commit(call: &CatalogCall, changes: Vec<ExternalChange>) -> Result<Vec<Table>> {
    for change in changes.iter().filter(|change| change.creates_table()) {
        namespaces::check(call, &change.table().namespace).await?;
    }
    let _turn = call.site.changes().acquire().await;
    let commit = ExternalCommit {
        branch: call.branch.clone(),
        author: call.author(),
        changes,
    };
    call.site.lake().commit_external(commit).await
}
