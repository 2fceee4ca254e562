//! Connections: as many as a bound, none that hangs, all of them ended politely.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use forebay_core::{Error, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::answer::Refusal;
use crate::guard::Guarded;

/// Connections at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// How long a caller may take to send the head of a request, and an idle connection may stay.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How long requests under way may take once the process is ending.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// A pause after the system refused a connection, as when no file handle is left.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// A port that is taken.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    pub address: SocketAddr,
    head_time: Duration,
    connections: usize,
}

/// Takes the port. Errors: `Unavailable` `no_port`.
pub async fn listen(address: &str) -> Result<Listening> {
    let failed = |error: std::io::Error| {
        Error::unavailable("no_port", format!("failed to listen on {address}"))
            .with_source(error)
            .with_hint(
                "another process may have the port; choose another with `--listen ADDRESS:PORT`",
            )
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listening {
        listener,
        address,
        head_time: HEAD_TIME_MAX,
        connections: CONNECTIONS_MAX,
    })
}

impl Listening {
    /// Gives callers another time than 30 s for the head of a request.
    #[must_use]
    pub fn with_head_time(mut self, head_time: Duration) -> Self {
        self.head_time = head_time;
        self
    }

    /// Takes fewer connections at once than 10,000, as when the process may not open so many files.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, CONNECTIONS_MAX);
        self
    }

    /// Serves until `stop`, then waits for the requests under way, for a bounded time.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.connections));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &room) => accepted,
                () = stop.cancelled() => break,
            };
            if let Some((stream, peer, permit)) = accepted {
                let caller = Caller {
                    peer,
                    head_time: self.head_time,
                };
                let connection = connection(stream, caller, router.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
        }
        // Callers see a refused connection from here on, not one that nobody answers.
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(DRAIN_TIME_MAX, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!("requests were still under way when the time to end was up");
        }
    }
}

/// Who is served, and how patiently.
#[derive(Debug, Clone, Copy)]
struct Caller {
    peer: Peer,
    head_time: Duration,
}

/// Serves one connection; when the process is ending, to the end of the request under way.
async fn connection(stream: TcpStream, caller: Caller, router: Router, stop: CancellationToken) {
    let ambiguous = Arc::new(AtomicBool::new(false));
    let stream = Guarded::new(stream, ambiguous.clone());
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(caller.peer);
        let (router, refused) = (router.clone(), ambiguous.swap(false, Ordering::Relaxed));
        async move {
            if refused {
                return Ok(Refusal(two_lengths()).into_response());
            }
            router.oneshot(request.map(Body::new)).await
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(caller.head_time)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // A small answer must not wait for the next one.
            let _ = stream.set_nodelay(true);
            Some((stream, Peer(peer), permit))
        }
        Err(error) => {
            tracing::warn!(%error, "failed to take a connection");
            tokio::time::sleep(REFUSED_PAUSE).await;
            None
        }
    }
}

fn two_lengths() -> Error {
    let what = "the request has both `Content-Length` and `Transfer-Encoding`";
    Error::data("two_lengths", what).with_hint("send one of them")
}
