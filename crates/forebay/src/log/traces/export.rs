//! The thread that sends spans, some at a time.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use forebay_connectors::telemetry::Collector;
use forebay_core::{Clock, Error, Result};
use tokio::sync::mpsc;

use super::{Finished, json};

/// Spans that wait to be sent; more are lost.
const WAITING_MAX: usize = 8192;

/// Spans of one request.
const BATCH_MAX: usize = 512;

/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// Sends the remaining spans on drop.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// Dropped first: it ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // The collector has a time limit, so this ends.
            let _ = thread.join();
        }
    }
}

pub(super) fn start(
    collector: Collector,
    clock: Arc<dyn Clock>,
) -> Result<(mpsc::Sender<Finished>, Exporter)> {
    let (sender, spans) = mpsc::channel(WAITING_MAX);
    let (stop, stopped) = mpsc::channel(1);
    let failed = |error: std::io::Error| {
        Error::unavailable("no_thread", "failed to start the thread that sends traces")
            .with_source(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let send = move || runtime.block_on(send(collector, clock, spans, stopped));
    let thread = std::thread::Builder::new().name("traces".to_owned());
    let thread = thread.spawn(send).map_err(failed)?;
    let exporter = Exporter {
        stop: Some(stop),
        thread: Some(thread),
    };
    Ok((sender, exporter))
}

async fn send(
    collector: Collector,
    clock: Arc<dyn Clock>,
    mut spans: mpsc::Receiver<Finished>,
    mut stopped: mpsc::Receiver<()>,
) {
    let mut is_ending = false;
    while !is_ending {
        let mut batch = Vec::new();
        is_ending = tokio::select! {
            _ = spans.recv_many(&mut batch, BATCH_MAX) => false,
            _ = stopped.recv() => true,
        };
        if !is_ending && batch.len() < BATCH_MAX {
            tokio::select! {
                () = clock.sleep(LINGER) => {}
                _ = stopped.recv() => is_ending = true,
            }
        }
        while let Ok(span) = spans.try_recv() {
            batch.push(span);
        }
        for some in batch.chunks(BATCH_MAX) {
            if let Err(error) = collector.send(json::encode(some), clock.as_ref()).await {
                tracing::warn!(%error, spans = some.len(), "failed to export spans, dropping them");
            }
        }
    }
}
