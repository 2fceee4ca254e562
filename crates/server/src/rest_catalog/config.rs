//! `GET /iceberg/v1/config`: the endpoints of the catalog, and the branch of a client.

use std::fmt::Write as _;

use axum::response::Response;
use forebay_core::RefName;
use forebay_store::AsOf;
use serde_json::json;

use crate::answer::json as answer;

use super::answer::Answered;
use super::call::{CatalogCall, no_such_branch};

/// In the words of Iceberg's description.
const ENDPOINTS: [&str; 17] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
    "GET /v1/config",
];

/// The warehouse of a client is a branch.
pub(super) async fn show(call: CatalogCall) -> Answered {
    let warehouse = call.parameter("warehouse").unwrap_or("main");
    let branch: RefName = warehouse.parse().map_err(|_| no_such_branch(warehouse))?;
    if branch != RefName::main() {
        let branches = call.site.lake().store().branches().await?;
        if !branches.iter().any(|known| known.name == branch) {
            return Err(no_such_branch(warehouse).into());
        }
    }
    Ok(shown(&branch))
}

fn shown(branch: &RefName) -> Response {
    answer(&json!({
        "defaults": {},
        "overrides": {"prefix": path_part(branch)},
        "endpoints": ENDPOINTS,
    }))
}

/// Clients put the prefix into a path as it is.
fn path_part(branch: &RefName) -> String {
    let mut part = String::new();
    for byte in branch.as_str().bytes() {
        if byte == b'/' {
            let _ = write!(part, "%{byte:02X}");
        } else {
            part.push(char::from(byte));
        }
    }
    part
}

/// The newest state of the branch of a call.
pub(super) fn newest(call: &CatalogCall) -> AsOf {
    AsOf::Head(call.branch.clone())
}
