//! Around every request: a name for it, its count and its time, and at most one line in the log.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use forebay_core::ErrorKind;
use tracing::Instrument;

use crate::answer::{Told, shorten};
use crate::peers::Peer;
use crate::request_id::{Ids, REQUEST_ID, RequestId};
use crate::state::State;

/// Longest name that a caller may give its request.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Counts every request under its route, never under the path of the caller.
pub(crate) async fn observe(
    Shared(state): Shared<State>,
    route: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let begun = state.clock().monotonic();
    let id = given(request.headers()).unwrap_or_else(|| fresh(state.ids()));
    let seen = Seen {
        id: id.clone(),
        method: request.method().clone(),
        uri: request.uri().clone(),
        peer: request.extensions().get::<Peer>().copied(),
    };
    request.extensions_mut().insert(RequestId(id.clone()));
    let route = route.as_ref().map(MatchedPath::as_str);
    let parent = request.headers().get("traceparent");
    let span = tracing::trace_span!(
        target: crate::TRACE,
        "request",
        http.request.method = %seen.method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        traceparent = parent.and_then(|value| value.to_str().ok()),
        request = id.to_str().ok(),
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = state.clock().monotonic().saturating_sub(begun);
    state.requests().count(route, response.status(), took);
    span.record("http.response.status_code", response.status().as_u16());
    span.in_scope(|| log(&seen, &response, took));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// The caller's id of its request, if it can be shown.
fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let given = headers.get(REQUEST_ID)?;
    let bytes = given.as_bytes();
    let fit =
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    fit.then(|| given.clone())
}

fn fresh(ids: &Ids) -> HeaderValue {
    HeaderValue::from_str(&ids.next()).unwrap_or(HeaderValue::from_static("unnamed"))
}

/// The logged fields of a request.
struct Seen {
    id: HeaderValue,
    method: Method,
    uri: Uri,
    peer: Option<Peer>,
}

/// Server errors are logged as errors, unauthenticated requests as warnings, refused ones as information.
fn log(seen: &Seen, response: &Response, took: Duration) {
    let logged = response.extensions().get::<Told>();
    let status = response.status();
    macro_rules! say {
        ($level:ident, $what:literal) => {
            tracing::$level!(
                request = seen.id.to_str().unwrap_or_default(),
                method = %seen.method,
                path = shorten(seen.uri.path()),
                peer = seen.peer.map(|Peer(peer)| tracing::field::display(peer)),
                status = status.as_u16(),
                took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                code = logged.map(|Told(error)| error.code()),
                error = logged.map(|Told(error)| tracing::field::display(error)),
                $what
            )
        };
    }
    let denied = logged.is_some_and(|Told(error)| error.kind() == ErrorKind::Denied);
    match status {
        _ if denied => say!(warn, "request not authenticated"),
        StatusCode::TOO_MANY_REQUESTS => say!(debug, "request deferred"),
        StatusCode::SERVICE_UNAVAILABLE => say!(warn, "request not served"),
        status if status.is_server_error() => say!(error, "request failed"),
        status if status.is_client_error() => say!(info, "request refused"),
        _ => say!(debug, "request answered"),
    }
}
