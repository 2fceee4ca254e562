//! Before every request: whether its host and its caller may be answered.

use axum::extract::{Request, State as Shared};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;
use crate::peers::{Peer, PeerKey};
use crate::state::State;

/// Refuses requests that no program of this machine has sent of its own will.
pub(crate) async fn check(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let checked = state
        .access()
        .check_origin(request.headers(), request.uri());
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal(error).into_response(),
    }
}

/// Refuses callers that may not see the state of the pipelines.
pub(crate) async fn check_status(
    Shared(state): Shared<State>,
    request: Request,
    next: Next,
) -> Response {
    let peer = PeerKey::of(request.extensions().get::<Peer>().copied());
    match state.access().check_status(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => Refusal(state.failed(peer, error)).into_response(),
    }
}
