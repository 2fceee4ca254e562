//! The status of the pipelines, as JSON.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use forebay_control::orchestrate::Status;
use forebay_core::Error;
use forebay_pipeline::engine::Figures;
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::state::State;

pub(crate) async fn list(Shared(state): Shared<State>) -> Json<Value> {
    let pipelines: Vec<Value> = state.registry().all().iter().map(shown).collect();
    let broken = state.registry().broken();
    let broken = broken
        .iter()
        .map(|(file, why)| json!({"file": file, "error": why}));
    Json(json!({"pipelines": pipelines, "broken": broken.collect::<Vec<_>>()}))
}

pub(crate) async fn show(
    Shared(state): Shared<State>,
    pipeline: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let pipeline = crate::ingest::name(pipeline)?;
    let all = state.registry().all();
    let found = all
        .iter()
        .find(|status| status.pipeline.as_str() == pipeline);
    let status = found.ok_or_else(|| {
        Error::not_found(
            "no_such_pipeline",
            format!("pipeline `{pipeline}` not found"),
        )
        .with_hint("call GET /v1/pipelines to list the pipelines")
    })?;
    Ok(Json(shown(status)))
}

fn shown(status: &Status) -> Value {
    let figures = &status.figures;
    let get = Figures::get;
    let mut value = serde_json::to_value(status).unwrap_or_default();
    value["since"] = status.since.to_string().into();
    value["next_at"] = status.next_at.map(|at| at.to_string()).into();
    value["succeeded_at"] = status.succeeded_at.map(|at| at.to_string()).into();
    value["schedule"] = schedule(status).into();
    value["splits"] = get(&figures.splits).into();
    value["source_bytes"] = figures.source.bytes().into();
    value["payloads"] = get(&figures.payloads).into();
    value["rows_committed"] = get(&figures.committed).into();
    value["commits"] = get(&figures.commits).into();
    value["quarantined"] = get(&figures.quarantined).into();
    value
}

/// When it runs, in the words of the pipeline file: `every 15m`, `continuous`, or `manual`.
pub(crate) fn schedule(status: &Status) -> String {
    match &status.spec.schedule {
        Some(schedule) => format!("every {}", schedule.every),
        None if status.spec.is_continuous() => "continuous".to_owned(),
        None => "manual".to_owned(),
    }
}
