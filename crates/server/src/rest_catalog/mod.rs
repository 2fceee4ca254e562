//! Iceberg's REST catalog: other engines list, load and change tables.
//!
//! The paths are those of Iceberg's OpenAPI description below `/iceberg`; the prefix of a path is a branch of the lake. Every call needs the
//! catalog token, or comes from this machine. [`forebay_lake`] decides which commits are allowed; here are only the protocol and its limits.

mod answer;
mod call;
mod commit;
mod config;
mod listing;
mod namespaces;
mod tables;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::peers::{Peer, PeerKey};
use crate::state::State;

use self::answer::CatalogRefusal;

/// The handlers of `CATALOG_ROUTES`.
pub(crate) fn router(state: &State) -> Router<State> {
    let access = from_fn_with_state(state.clone(), check_access);
    Router::new()
        .route("/iceberg/v1/config", get(config::show))
        .route(
            "/iceberg/v1/{prefix}/namespaces",
            get(namespaces::list).post(namespaces::create),
        )
        .route(
            "/iceberg/v1/{prefix}/namespaces/{namespace}",
            get(namespaces::show)
                .head(namespaces::exists)
                .delete(namespaces::remove),
        )
        .route(
            "/iceberg/v1/{prefix}/namespaces/{namespace}/properties",
            post(namespaces::change),
        )
        .route(
            "/iceberg/v1/{prefix}/namespaces/{namespace}/tables",
            get(tables::list).post(tables::create),
        )
        .route(
            "/iceberg/v1/{prefix}/namespaces/{namespace}/register",
            post(tables::register),
        )
        .route(
            "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}",
            get(tables::show)
                .head(tables::exists)
                .post(commit::one)
                .delete(tables::remove),
        )
        .route(
            "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
            post(tables::metrics),
        )
        .route("/iceberg/v1/{prefix}/tables/rename", post(tables::rename))
        .route(
            "/iceberg/v1/{prefix}/transactions/commit",
            post(commit::many),
        )
        .route_layer(access)
}

/// Refuses callers without the catalog token before anything of theirs is read.
async fn check_access(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let peer = PeerKey::of(request.extensions().get::<Peer>().copied());
    match state.access().check_catalog(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => CatalogRefusal(state.failed(peer, error)).into_response(),
    }
}
