//! The HTTP side of `forebay serve`: pushes, health, metrics, and the status of pipelines.
//!
//! A push is answered when it is durable in its [journal](forebay_journal), and never before. Nothing here
//! extracts, loads or decides when a pipeline runs. A request is parsed no further than its credentials allow.

mod access;
mod answer;
mod aws;
mod body;
mod catalog_site;
mod credentials;
mod examiners;
mod guard;
mod health;
mod ingest;
mod listen;
mod metrics;
mod middleware;
mod openapi;
mod page;
mod peers;
mod pipelines;
mod replays;
mod request_counts;
mod request_id;
mod rest_catalog;
mod state;
mod timed;
mod tls;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

pub use access::Access;
pub use catalog_site::CatalogSite;
pub use listen::{Listening, listen};
pub use metrics::{MetricFamily, MetricKind, metric_families};
pub use state::{Probe, State};
pub use tls::TlsFiles;

/// Explanations of the error codes of this crate, for `forebay explain`.
pub const CODES: &str = include_str!("../codes.md");

/// Target of spans that are made for traces and not for the log.
pub const TRACE: &str = "forebay_trace";

/// Every path there is.
const ROUTES: [&str; 8] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/v1/pipelines",
    "/v1/pipelines/{pipeline}",
    "/v1/ingest/{pipeline}",
    "/",
];

/// Paths of the catalog for other engines, which Iceberg describes.
const CATALOG_ROUTES: [&str; 10] = [
    "/iceberg/v1/config",
    "/iceberg/v1/{prefix}/namespaces",
    "/iceberg/v1/{prefix}/namespaces/{namespace}",
    "/iceberg/v1/{prefix}/namespaces/{namespace}/properties",
    "/iceberg/v1/{prefix}/namespaces/{namespace}/tables",
    "/iceberg/v1/{prefix}/namespaces/{namespace}/register",
    "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "/iceberg/v1/{prefix}/tables/rename",
    "/iceberg/v1/{prefix}/transactions/commit",
];

/// The handlers of `ROUTES` and `CATALOG_ROUTES`.
pub fn router(state: State) -> Router {
    let status = from_fn_with_state(state.clone(), middleware::access::check_status);
    let status = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/v1/pipelines", get(pipelines::list))
        .route("/v1/pipelines/{pipeline}", get(pipelines::show))
        .route("/", get(page::show))
        .route_layer(status);
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/ingest/{pipeline}", post(ingest::ingest))
        .route("/", post(aws::call))
        .merge(status)
        .merge(rest_catalog::router(&state))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(from_fn_with_state(state.clone(), middleware::access::check))
        .layer(from_fn_with_state(state.clone(), middleware::observe))
        .with_state(state)
}
