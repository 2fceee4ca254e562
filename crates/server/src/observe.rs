//! Around every request: a name for it, its count and its time, and at most one line in the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use forebay_core::{Clock, ErrorKind};
use tracing::Instrument;

use crate::answer::{Told, shorten};
use crate::peers::Peer;
use crate::state::State;

/// The header that carries a request's name, both ways.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Longest name that a caller may give its request.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Makes names of requests: the same nowhere else, and cheap.
#[derive(Debug)]
pub(crate) struct Ids {
    process: u64,
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        let process = clock.now().micros().cast_unsigned();
        let next = AtomicU64::new(0);
        Self { process, next }
    }

    fn next(&self) -> String {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:014x}-{n:08x}", self.process)
    }
}

/// A request's name.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) HeaderValue);

/// Counts every request under its route, never under what the caller wrote.
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

/// What the caller calls its request, if that is fit to be shown.
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

/// What the log says of a request.
struct Seen {
    id: HeaderValue,
    method: Method,
    uri: Uri,
    peer: Option<Peer>,
}

/// What failed here is an error, an unauthenticated request is a warning, a refused one is information.
fn log(seen: &Seen, response: &Response, took: Duration) {
    let told = response.extensions().get::<Told>();
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
                code = told.map(|Told(error)| error.code()),
                error = told.map(|Told(error)| tracing::field::display(error)),
                $what
            )
        };
    }
    let denied = told.is_some_and(|Told(error)| error.kind() == ErrorKind::Denied);
    match status {
        _ if denied => say!(warn, "request not authenticated"),
        StatusCode::TOO_MANY_REQUESTS => say!(debug, "request deferred"),
        StatusCode::SERVICE_UNAVAILABLE => say!(warn, "request not served"),
        status if status.is_server_error() => say!(error, "request failed"),
        status if status.is_client_error() => say!(info, "request refused"),
        _ => say!(debug, "request answered"),
    }
}
