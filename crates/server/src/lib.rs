//! The HTTP side of `forebay serve`: pushes, health, metrics, and what the pipelines are doing.
//!
//! A push is answered when its [journal](forebay_pipeline::journal) says that it is durable, and never before. Nothing here
//! extracts, loads or decides when a pipeline runs.

mod answer;
mod aws;
mod guard;
mod health;
mod ingest;
mod listen;
mod metrics;
mod observe;
mod openapi;
mod pipelines;
mod state;

use axum::Router;
use axum::routing::{get, post};

pub use listen::{Listening, listen};
pub use state::{Probe, State};

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

/// What answers each of `ROUTES`.
pub fn router(state: State) -> Router {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/pipelines", get(pipelines::list))
        .route("/v1/pipelines/{pipeline}", get(pipelines::show))
        .route("/v1/ingest/{pipeline}", post(ingest::ingest))
        .route("/", post(aws::call))
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(axum::middleware::from_fn_with_state(
            state.clone(),
            observe::observe,
        ))
        .with_state(state)
}
