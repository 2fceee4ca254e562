//! One connection: TLS or none, HTTP/1.1 or HTTP/2, until its caller, its time or the process ends it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use forebay_core::Error;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::head;
use super::slots::Slot;
use super::{DRAIN_TIME_MAX, Patience};
use crate::answer::Refusal;
use crate::guard::Guarded;
use crate::peers::Peer;
use crate::timed::Timed;
use crate::tls::Tls;

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The time for a head in a slot that is kept for health checks.
const RESERVED_HEAD_TIME: Duration = Duration::from_secs(5);

/// Requests at once of one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;

/// Bytes that an HTTP/2 connection may send before they are read from it: of one request, and of all.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// The preface of an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The peer and its time limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) patience: Patience,
}

/// A connection and its context.
pub(super) struct Connection {
    pub(super) caller: Caller,
    pub(super) slot: Slot,
    pub(super) router: Router,
    pub(super) stop: CancellationToken,
}

/// Runs a connection to its end, or to `$end`, and from there to the end of the requests under way.
macro_rules! run {
    ($connection:expr, $end:expr) => {{
        let mut connection = pin!($connection);
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = $end => {
                connection.as_mut().graceful_shutdown();
                timeout(DRAIN_TIME_MAX, connection).await.unwrap_or(Ok(()))
            }
        }
    }};
}

impl Connection {
    /// When the process is ending, to the end of the request under way.
    pub(super) async fn serve(self, stream: TcpStream, tls: Option<Arc<Tls>>) {
        let stream = Timed::new(stream, self.caller.patience.write);
        let Some(tls) = tls else {
            return self.speak(stream).await;
        };
        let stop = self.stop.clone();
        let head_time = self.head_time();
        let shaken = tokio::select! {
            shaken = timeout(head_time, tls.acceptor().accept(stream)) => shaken,
            () = stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => self.speak(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, peer = %self.caller.peer.0, "the TLS handshake failed");
            }
            Err(_) => {
                tracing::debug!(peer = %self.caller.peer.0, "the TLS handshake took too long");
            }
        }
    }

    fn head_time(&self) -> Duration {
        let time = self.caller.patience.head;
        if self.slot.was_reserved() {
            time.min(RESERVED_HEAD_TIME)
        } else {
            time
        }
    }

    async fn speak<S>(self, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = tokio::select! {
            begun = timeout(self.head_time(), begin(&mut stream)) => begun,
            () = self.stop.cancelled() => return,
        };
        let Ok(Ok(begun)) = begun else { return };
        let is_http2 = begun == PREFACE;
        let ambiguous = Arc::new(AtomicBool::new(false));
        let stream = Guarded::new(stream, begun, !is_http2, ambiguous.clone());
        let stream = TokioIo::new(stream);
        let head_time = self.head_time();
        let life = self.caller.patience.life;
        let stop = self.stop.clone();
        let activity = Arc::new(Activity::default());
        let shared = Arc::new(Shared {
            slot: self.slot,
            peer: self.caller.peer,
            router: self.router,
            ambiguous,
            activity: activity.clone(),
        });
        let service = service_fn(move |request| shared.clone().answer(request));
        let ended = if is_http2 {
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            http.timer(TokioTimer::new())
                .max_header_list_size(HEAD_BYTES_MAX as u32)
                .max_concurrent_streams(STREAMS_MAX)
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(head_time)
                .keep_alive_timeout(head_time);
            let end = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(life) => {}
                    () = activity.idle(head_time) => {}
                }
            };
            run!(http.serve_connection(stream, service), end)
        } else {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(head_time)
                .max_header_size(HEAD_BYTES_MAX)
                .max_buf_size(HEAD_BYTES_MAX);
            let end = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(life) => {}
                }
            };
            run!(http.serve_connection(stream, service), end)
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// Reads until the protocol is clear: the preface of HTTP/2, or anything else.
async fn begin(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut begun = vec![0; PREFACE.len()];
    let mut length = 0;
    while length < PREFACE.len() {
        let more = stream.read(&mut begun[length..]).await?;
        length += more;
        if more == 0 || begun[..length] != PREFACE[..length] {
            break;
        }
    }
    begun.truncate(length);
    Ok(begun)
}

/// Shared state of the requests of a connection.
struct Shared {
    slot: Slot,
    peer: Peer,
    router: Router,
    ambiguous: Arc<AtomicBool>,
    activity: Arc<Activity>,
}

impl Shared {
    async fn answer(
        self: Arc<Self>,
        mut request: Request<hyper::body::Incoming>,
    ) -> Result<Response, std::convert::Infallible> {
        let _active = Active::new(&self.activity);
        request.extensions_mut().insert(self.peer);
        if self.ambiguous.swap(false, Ordering::Relaxed) {
            return Ok(Refusal(two_lengths()).into_response());
        }
        if let Err(error) = head::check(&request) {
            return Ok(Refusal(error).into_response());
        }
        if let Err(error) = self.slot.admit(request.uri().path()).await {
            return Ok(Refusal(error).into_response());
        }
        self.router.clone().oneshot(request.map(Body::new)).await
    }
}

/// Tracks requests on a connection.
#[derive(Debug, Default)]
struct Activity {
    active: AtomicU64,
    begun: AtomicU64,
}

impl Activity {
    /// Returns when the connection was idle for this time.
    async fn idle(&self, time: Duration) {
        let mut before = u64::MAX;
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            if begun == before && self.active.load(Ordering::Relaxed) == 0 {
                return;
            }
            before = begun;
            tokio::time::sleep(time).await;
        }
    }
}

/// A request under way.
struct Active<'a>(&'a Activity);

impl<'a> Active<'a> {
    fn new(activity: &'a Activity) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.active.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

fn two_lengths() -> Error {
    let what = "the request has both `Content-Length` and `Transfer-Encoding`";
    Error::data("two_lengths", what).with_hint("send one of them")
}
