//! Pushes to a `forebay serve` as fast as it answers, or at a rate, and says how fast that was, as one line of JSON.
//!
//!     push_load ADDRESS PIPELINE [connections=64] [batch=100] [seconds=10] [rate=0] [first=0] [watch=1]
//!
//! Each connection sends its next request when the last one is answered. A request holds `batch` records of about 200 bytes,
//! numbered from `first` on. `rate` is requests a second over all connections, 0 for as many as there can be. The time from push
//! to commit is found by asking `/v1/pipelines/PIPELINE` how many rows are committed: they are in the order of the journal.
//! `watch=0` does not ask.
//! It speaks HTTP by hand, so that it takes little of the machine that it shares with the server.

#![allow(clippy::print_stdout, reason = "its answer goes to stdout")]

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How often the pipeline is asked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long the last rows may take to be committed.
const LAST_COMMIT_MAX: Duration = Duration::from_secs(30);

/// What is asked for on the command line.
#[derive(Debug, Clone)]
struct Load {
    address: String,
    pipeline: String,
    connections: u64,
    batch: u64,
    seconds: u64,
    rate: u64,
    first: u64,
    watch: bool,
}

impl Load {
    fn parse() -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        let (address, pipeline) = (arguments.next()?, arguments.next()?);
        let named: HashMap<String, u64> = arguments
            .map(|argument| {
                let (name, value) = argument.split_once('=')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect::<Option<_>>()?;
        let get = |name: &str, default| named.get(name).copied().unwrap_or(default);
        Some(Self {
            address,
            pipeline,
            connections: get("connections", 64),
            batch: get("batch", 100),
            seconds: get("seconds", 10),
            rate: get("rate", 0),
            first: get("first", 0),
            watch: get("watch", 1) == 1,
        })
    }

    /// A request with its own records.
    fn request(&self, number: u64) -> Vec<u8> {
        let mut body = String::new();
        for n in 0..self.batch {
            let id = self.first + number * self.batch + n;
            body.push_str(&format!(
                "{{\"id\":{id},\"device\":\"device-{:05}\",\"celsius\":{}.{},\"ok\":{},\"note\":\"{:0>100}\"}}\n",
                id % 40_000,
                id % 60,
                id % 10,
                !id.is_multiple_of(7),
                id.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            ));
        }
        let head = format!(
            "POST /v1/ingest/{} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n",
            self.pipeline,
            self.address,
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

/// A request that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Done {
    offset: u64,
    sent: Instant,
    answered: Instant,
}

/// A connection that is kept open.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(4096);
        Ok(Self { stream, buffer })
    }

    /// Status and body of the answer to these bytes.
    async fn ask(&mut self, request: &[u8]) -> io::Result<(u16, Value)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let broken = || io::Error::other("the answer is no HTTP");
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = std::str::from_utf8(&self.buffer).map_err(|_| broken())?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length
                .and_then(|text| text.parse().ok())
                .ok_or_else(broken)?;
            if body.len() >= length {
                let status = head.get(9..12).and_then(|text| text.parse().ok());
                let value = serde_json::from_str(body).unwrap_or_default();
                return Ok((status.ok_or_else(broken)?, value));
            }
        }
    }
}

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    next: AtomicU64,
    refused: AtomicU64,
    over: AtomicBool,
}

async fn caller(load: Load, shared: Arc<Shared>, begun: Instant) -> io::Result<Vec<Done>> {
    let mut connection = Connection::open(&load.address).await?;
    let mut done = Vec::new();
    while !shared.over.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let request = load.request(number);
        if let Some(due) = (number * 1_000_000).checked_div(load.rate) {
            tokio::time::sleep_until(begun + Duration::from_micros(due)).await;
        }
        let sent = Instant::now();
        loop {
            let (status, answer) = connection.ask(&request).await?;
            if let (200, Some(offset)) = (status, answer["offset"].as_u64()) {
                let answered = Instant::now();
                done.push(Done {
                    offset,
                    sent,
                    answered,
                });
                break;
            }
            shared.refused.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(done)
}

/// Rows committed, each time it was looked.
async fn committed(load: Load, wanted: Arc<AtomicU64>) -> io::Result<Vec<(Instant, u64)>> {
    let mut connection = Connection::open(&load.address).await?;
    let request = format!(
        "GET /v1/pipelines/{} HTTP/1.1\r\nHost: {}\r\n\r\n",
        load.pipeline, load.address
    );
    let (mut seen, mut before) = (Vec::new(), None);
    if !load.watch {
        return Ok(seen);
    }
    let mut since = Instant::now();
    loop {
        let (_, status) = connection.ask(request.as_bytes()).await?;
        let rows = status["rows_committed"].as_u64().unwrap_or(0);
        let rows = rows - *before.get_or_insert(rows);
        if seen.last().is_none_or(|(_, last)| *last != rows) {
            since = Instant::now();
        }
        seen.push((Instant::now(), rows));
        if rows >= wanted.load(Ordering::Relaxed) || since.elapsed() > LAST_COMMIT_MAX {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(seen)
}

fn percentiles(mut delays: Vec<Duration>) -> Value {
    delays.sort_unstable();
    let at = |share: f64| {
        let place = (delays.len().saturating_sub(1)) as f64 * share;
        let delay = delays.get(place.round() as usize);
        delay.map(|delay| delay.as_secs_f64() * 1e3)
    };
    json!({"p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0)})
}

async fn run(load: Load) -> io::Result<Value> {
    let (shared, begun) = (Arc::new(Shared::default()), Instant::now());
    let wanted = Arc::new(AtomicU64::new(u64::MAX));
    let watching = tokio::spawn(committed(load.clone(), wanted.clone()));
    let callers: Vec<_> = (0..load.connections)
        .map(|_| tokio::spawn(caller(load.clone(), shared.clone(), begun)))
        .collect();
    tokio::time::sleep(Duration::from_secs(load.seconds)).await;
    shared.over.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    for caller in callers {
        done.extend(caller.await.map_err(io::Error::other)??);
    }
    let took = begun.elapsed().as_secs_f64();
    done.sort_unstable_by_key(|one| one.offset);
    let rows = done.len() as u64 * load.batch;
    wanted.store(rows, Ordering::Relaxed);
    let seen = watching.await.map_err(io::Error::other)??;
    let visible = done.iter().enumerate().filter_map(|(n, one)| {
        let rows = (n as u64 + 1) * load.batch;
        let at = seen.partition_point(|(_, committed)| *committed < rows);
        Some(seen.get(at)?.0.duration_since(one.sent))
    });
    let visible: Vec<Duration> = visible.collect();
    Ok(json!({
        "requests": done.len(),
        "rows": rows,
        "rows_committed": seen.last().map(|(_, rows)| rows),
        "seconds": took,
        "requests_per_second": done.len() as f64 / took,
        "rows_per_second": rows as f64 / took,
        "refused": shared.refused.load(Ordering::Relaxed),
        "answer": percentiles(done.iter().map(|one| one.answered - one.sent).collect()),
        "committed_after": percentiles(visible),
    }))
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let usage = "push_load ADDRESS PIPELINE [connections=64] [batch=100] [seconds=10] [rate=0] [first=0] [watch=1]";
    let load = Load::parse().ok_or_else(|| io::Error::other(usage))?;
    println!("{}", run(load).await?);
    Ok(())
}
