//! The demo's third party: a JSON API with pages, a rate limit and bad days, on the loopback.
//!
//! It behaves as real ones do: `GET /quakes?offset=&limit=&updatedafter=` answers pages of GeoJSON, asks for patience with
//! 429 when called too fast, and fails now and then with 503. It serves the data that the binary carries and nothing
//! else, to this machine only.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use forebay_core::{Clock, Error, Result};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::data::Quake;

/// The address of `forebay demo --serve`, and the default of the demo's pipeline.
pub(crate) const PORT: u16 = 7373;

/// Requests a second before the API answers 429.
const RATE: u64 = 40;

/// Every so-many-th request fails with 503, every so-many-th with 429.
const FAILS_EVERY: u64 = 7;
const BUSY_EVERY: u64 = 11;

/// Largest page, whatever `limit` asks for.
const PAGE_MAX: usize = 500;

/// Connections served at once.
const CONNECTIONS_MAX: usize = 32;

/// A running API; stops when dropped.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Api {
    pub(crate) fn url(&self) -> String {
        format!("http://{}/quakes", self.address)
    }

    /// Serves until the process is stopped.
    pub(crate) async fn wait(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts the API on the port given (0: any that is free), serving `quakes`.
pub(crate) async fn start(port: u16, quakes: Vec<Quake>, clock: Arc<dyn Clock>) -> Result<Api> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| {
            Error::unavailable(
                "port_taken",
                format!("failed to listen on 127.0.0.1:{port}"),
            )
            .with_source(error)
            .with_hint("choose another port with `--port`")
        })?;
    let address = listener.local_addr().map_err(|error| {
        Error::unavailable("no_address", "failed to read the API's own address").with_source(error)
    })?;
    let service = Arc::new(Service {
        quakes,
        clock,
        requests: AtomicU64::new(0),
        second: AtomicU64::new(0),
        in_second: AtomicU64::new(0),
    });
    let task = tokio::spawn(accept(listener, service));
    Ok(Api { address, task })
}

async fn accept(listener: TcpListener, service: Arc<Service>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        // An accept that fails (too many open files) concerns one caller, not the API.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let service = service.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = service.answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A caller that goes away in the middle is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), answer)
                .await;
        });
    }
}

struct Service {
    quakes: Vec<Quake>,
    clock: Arc<dyn Clock>,
    requests: AtomicU64,
    second: AtomicU64,
    in_second: AtomicU64,
}

impl Service {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/quakes" {
            return reply(
                StatusCode::NOT_FOUND,
                r#"{"error":"there is only /quakes"}"#,
                None,
            );
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if self.too_fast() || number.is_multiple_of(BUSY_EVERY) {
            return reply(
                StatusCode::TOO_MANY_REQUESTS,
                r#"{"error":"slow down"}"#,
                Some("1"),
            );
        }
        if number.is_multiple_of(FAILS_EVERY) {
            return reply(
                StatusCode::SERVICE_UNAVAILABLE,
                r#"{"error":"try again"}"#,
                None,
            );
        }
        match self.page(request.uri().query().unwrap_or_default()) {
            Ok(body) => reply(StatusCode::OK, &body, None),
            Err(message) => reply(
                StatusCode::BAD_REQUEST,
                &serde_json::json!({ "error": message }).to_string(),
                None,
            ),
        }
    }

    fn too_fast(&self) -> bool {
        let second = self.clock.now().micros().unsigned_abs() / 1_000_000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.in_second.store(0, Ordering::Relaxed);
        }
        self.in_second.fetch_add(1, Ordering::Relaxed) >= RATE
    }

    fn page(&self, query: &str) -> std::result::Result<String, String> {
        let number = |name: &str, default: i64| parameter(query, name, default);
        let offset = usize::try_from(number("offset", 0)?).map_err(|_| "offset is negative")?;
        let limit = usize::try_from(number("limit", 100)?)
            .map_err(|_| "limit is negative")?
            .min(PAGE_MAX);
        let after = number("updatedafter", i64::MIN)?;
        let from = self
            .quakes
            .partition_point(|quake| quake.updated_ms < after);
        let found = &self.quakes[from..];
        let page = found
            .iter()
            .skip(offset)
            .take(limit)
            .map(|quake| quake.json.as_str())
            .collect::<Vec<_>>();
        Ok(format!(
            r#"{{"type":"FeatureCollection","metadata":{{"count":{},"total":{}}},"features":[{}]}}"#,
            page.len(),
            found.len(),
            page.join(",")
        ))
    }
}

fn parameter(query: &str, name: &str, default: i64) -> std::result::Result<i64, String> {
    let value = query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.map_or(Ok(default), |text| {
        text.parse().map_err(|_| format!("{name} is not a number"))
    })
}

fn reply(
    status: StatusCode,
    body: &str,
    retry_after: Option<&'static str>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/geo+json"),
    );
    if let Some(seconds) = retry_after {
        headers.insert(
            RETRY_AFTER,
            hyper::header::HeaderValue::from_static(seconds),
        );
    }
    response
}
