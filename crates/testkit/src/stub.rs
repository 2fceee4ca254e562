//! An HTTP server on a loopback port with scripted responses, good or bad.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// As sent, still escaped; empty when there was none.
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
    /// How many requests the server had seen for this path before this one.
    pub count: usize,
    /// Since the server started.
    pub at: Duration,
}

impl Request {
    /// The first value of a query parameter, unescaped.
    pub fn param(&self, name: &str) -> Option<String> {
        self.params()
            .into_iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// All query parameters, unescaped, in order.
    pub fn params(&self) -> Vec<(String, String)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(k, v)| (unescape(k), unescape(v)))
            .collect()
    }

    /// `/path?query` with the query unescaped: for lists of expected requests.
    pub fn target(&self) -> String {
        if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, unescape(&self.query))
        }
    }
}

/// How the body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behaviour {
    #[default]
    Normal,
    /// The body again and again, for ever.
    NeverEnd,
    /// This many bytes a second.
    Drip(u32),
    /// The length of the whole body is announced, this many bytes are sent, then the connection is closed.
    Cut(usize),
    /// The connection is closed without a response.
    ResetBeforeReply,
}

/// A response.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Wait so long before the first byte.
    pub delay: Duration,
    /// Do not wait once this many requests are in flight, this one included.
    pub until_open: usize,
    pub behaviour: Behaviour,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            until_open: usize::MAX,
            behaviour: Behaviour::Normal,
        }
    }

    /// 200 with a JSON body.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::status(200)
            .header("content-type", "application/json")
            .body(value.to_string())
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    #[must_use]
    pub fn until_open(mut self, requests: usize) -> Self {
        self.until_open = requests;
        self
    }

    #[must_use]
    pub fn behave(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    start: Instant,
    seen: Mutex<Seen>,
    /// Requests that have come and of whose answers nobody can have seen a byte.
    open: watch::Sender<usize>,
}

impl Shared {
    fn begin(&self) -> OpenRequest<'_> {
        self.open.send_modify(|open| *open += 1);
        let mut seen = self.lock();
        seen.most_open = seen.most_open.max(*self.open.borrow());
        OpenRequest(self)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .expect("no handler panics while it holds the list")
    }
}

/// A request that is under way; over when this is dropped.
struct OpenRequest<'a>(&'a Shared);

impl OpenRequest<'_> {
    async fn wait(&self, reply: &Reply) {
        let mut open = self.0.open.subscribe();
        let enough = open.wait_for(|open| *open >= reply.until_open);
        // When time is up there are not enough.
        let _ = tokio::time::timeout(reply.delay, enough).await;
    }
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

#[derive(Default)]
struct Seen {
    requests: Vec<Request>,
    counts: HashMap<String, usize>,
    most_open: usize,
}

/// The server. Dropping it closes the port.
pub struct StubHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for StubHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StubHttp")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for StubHttp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl StubHttp {
    /// Listens on a free loopback port; `handler` answers every request.
    ///
    /// # Panics
    /// When the loopback interface gives no port.
    pub async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a loopback port is free");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            start: Instant::now(),
            seen: Mutex::default(),
            open: watch::channel(0).0,
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            server,
        }
    }

    /// `http://127.0.0.1:port` and `path`, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    /// [`Request::target`] of all requests so far.
    pub fn targets(&self) -> Vec<String> {
        self.lock().requests.iter().map(Request::target).collect()
    }

    /// Forgets the requests; the counts continue.
    pub fn forget(&self) {
        self.lock().requests.clear();
    }

    /// How many requests were under way at once, at most.
    pub fn most_open(&self) -> usize {
        self.lock().most_open
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.shared.lock()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
            // Many tests break connections on purpose.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>;

async fn answer(
    request: hyper::Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<hyper::Response<Body>, std::io::Error> {
    let (parts, sent) = request.into_parts();
    let sent = sent.collect().await.map_err(std::io::Error::other)?;
    let open = shared.begin();
    let reply = (shared.handler)(&record(&parts, sent.to_bytes(), &shared));
    if !reply.delay.is_zero() {
        open.wait(&reply).await;
    }
    drop(open);
    if reply.behaviour == Behaviour::ResetBeforeReply {
        return Err(std::io::Error::other("reset"));
    }
    let mut response = hyper::Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    if matches!(reply.behaviour, Behaviour::Normal | Behaviour::Cut(_))
        && !matches!(reply.status, 204 | 304)
    {
        response = response.header("content-length", reply.body.len());
    }
    response
        .body(StreamBody::new(body(reply)))
        .map_err(std::io::Error::other)
}

fn record(parts: &hyper::http::request::Parts, body: Bytes, shared: &Shared) -> Request {
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| {
        (
            name.to_string(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    let path = parts.uri.path().to_owned();
    let mut seen = shared.lock();
    let count = seen.counts.entry(path.clone()).or_default();
    let recorded = Request {
        method: parts.method.to_string(),
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
        count: *count,
        at: shared.start.elapsed(),
    };
    *count += 1;
    seen.requests.push(recorded.clone());
    recorded
}

fn body(reply: Reply) -> BoxStream<'static, Result<Frame<Bytes>, std::io::Error>> {
    let body = reply.body;
    match reply.behaviour {
        Behaviour::Normal | Behaviour::ResetBeforeReply => {
            stream::iter([Ok(Frame::data(body))]).boxed()
        }
        Behaviour::NeverEnd => stream::repeat_with(move || Ok(Frame::data(body.clone()))).boxed(),
        Behaviour::Cut(bytes) => {
            let sent = body.slice(..bytes.min(body.len()));
            // The error comes a moment later, or nothing at all would leave the socket.
            let cut = stream::once(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(std::io::Error::other("cut"))
            });
            stream::iter([Ok(Frame::data(sent))]).chain(cut).boxed()
        }
        Behaviour::Drip(rate) => {
            let pause = Duration::from_secs(1) / rate.max(1);
            let bytes: Vec<Bytes> = (0..body.len()).map(|at| body.slice(at..=at)).collect();
            let drip = stream::iter(bytes).then(move |byte| async move {
                tokio::time::sleep(pause).await;
                Ok(Frame::data(byte))
            });
            drip.boxed()
        }
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex
            .filter(|_| first == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let (byte, used) = match escaped {
            Some(byte) => (byte, 3),
            None if first == b'+' => (b' ', 1),
            None => (first, 1),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
