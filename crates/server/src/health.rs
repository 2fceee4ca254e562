//! Whether the process lives, and whether it can take and load data now.

use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use forebay_core::Error;

use crate::answer::Refusal;
use crate::state::State;

/// The process answers: restarting it would not help.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The store answers and pushes are taken. A pipeline that fails does not make the process unready: the others work.
/// The reason is shown only to callers that may see the state of the pipelines.
pub(crate) async fn ready(Shared(state): Shared<State>, headers: HeaderMap) -> Response {
    if state.is_draining() {
        return Refusal(Error::unavailable(
            "draining",
            "the server is shutting down",
        ))
        .into_response();
    }
    match state.probe().probe().await {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => {
            let may_see = state.access().check_status(&headers).is_ok();
            let why = if may_see {
                error.to_string()
            } else {
                "the store does not answer".to_owned()
            };
            let error = Error::unavailable("not_ready", why);
            Refusal(error).into_response()
        }
    }
}
