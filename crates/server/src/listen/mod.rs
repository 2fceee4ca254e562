//! Connections: as many as a bound, none that hangs, all of them ended politely.

mod connection;
mod head;
mod reserve;
mod slots;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use forebay_core::{Error, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Caller, Connection};
use self::reserve::{ReservedHandle, is_out_of_handles};
use self::slots::Slots;
use crate::peers::Peer;
use crate::tls::{Tls, TlsFiles};

/// Connections at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// How long a caller may take to send the head of a request, and an idle connection may stay.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a caller may take to read a part of its answers.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a connection lives before it ends with the request under way: clients open another.
const LIFE_MAX: Duration = Duration::from_secs(3600);

/// How long requests under way may take once the process is ending.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// A pause after the system refused a connection.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// How patiently callers are served.
#[derive(Debug, Clone, Copy)]
struct Patience {
    head: Duration,
    write: Duration,
    life: Duration,
}

/// A port that is taken.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    pub address: SocketAddr,
    patience: Patience,
    connections: usize,
    tls: Option<Arc<Tls>>,
}

/// What to write instead of an address that is only a port, or has none.
fn address_hint(address: &str) -> Option<String> {
    let port = address.strip_prefix(':').unwrap_or(address);
    if port.parse::<u16>().is_ok() {
        return Some(format!("write 127.0.0.1:{port}"));
    }
    let (_, port) = address.rsplit_once(':').unwrap_or_default();
    let has_port = port.parse::<u16>().is_ok();
    (!has_port).then(|| "write ADDRESS:PORT, such as 127.0.0.1:7400".to_owned())
}

/// Takes the port. Errors: `Config` `bad_address` for an address without host or port; `Unavailable` `no_port`.
pub async fn listen(address: &str) -> Result<Listening> {
    if let Some(hint) = address_hint(address) {
        let what = format!("`{address}` is not an address with a port");
        return Err(Error::config("bad_address", what).with_hint(hint));
    }
    let failed = |error: std::io::Error| {
        Error::unavailable("no_port", format!("failed to listen on {address}"))
            .with_source(error)
            .with_hint(
                "another process, perhaps another `forebay serve`, may have the port; choose another with `--listen ADDRESS:PORT`",
            )
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Listening {
        listener,
        address,
        patience: Patience {
            head: HEAD_TIME_MAX,
            write: WRITE_TIME_MAX,
            life: LIFE_MAX,
        },
        connections: CONNECTIONS_MAX,
        tls: None,
    })
}

impl Listening {
    /// Gives callers another time than 30 s for the head of a request.
    #[must_use]
    pub fn with_head_time(mut self, head_time: Duration) -> Self {
        self.patience.head = head_time;
        self
    }

    /// Gives callers another time than 30 s to read a part of their answers.
    #[must_use]
    pub fn with_write_time(mut self, write_time: Duration) -> Self {
        self.patience.write = write_time;
        self
    }

    /// Ends connections after another time than an hour.
    #[must_use]
    pub fn with_life(mut self, life: Duration) -> Self {
        self.patience.life = life;
        self
    }

    /// Accepts fewer than 10,000 concurrent connections, for processes with a lower limit of open files.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections.clamp(1, CONNECTIONS_MAX);
        self
    }

    /// Serves TLS only. The files are checked for changes every 5 s, or every `look_every`.
    ///
    /// Errors: `Config` `bad_certificate`, `bad_key`.
    pub fn with_tls(mut self, files: TlsFiles, look_every: Option<Duration>) -> Result<Self> {
        let mut tls = Tls::load(files)?;
        if let Some(time) = look_every {
            tls = tls.looking_every(time);
        }
        self.tls = Some(Arc::new(tls));
        Ok(self)
    }

    /// Serves until `stop`, then waits for the requests under way, for a bounded time.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let slots = Slots::new(self.connections);
        let connections = TaskTracker::new();
        let mut reserved = ReservedHandle::new();
        let is_tls = self.tls.is_some();
        if let Some(tls) = self.tls.clone() {
            let stop = stop.clone();
            tokio::spawn(async move { tls.follow(&stop).await });
        }
        loop {
            let next = async {
                let seat = slots.wait().await;
                let accepted = self.listener.accept().await;
                (
                    welcome(accepted, &self.listener, &mut reserved, is_tls).await,
                    seat,
                )
            };
            let (accepted, seat) = tokio::select! {
                next = next => next,
                () = stop.cancelled() => break,
            };
            let Some((stream, peer)) = accepted else {
                continue;
            };
            let Some(slot) = slots.seat(seat, peer) else {
                tracing::debug!(peer = %peer.0, "the peer has too many connections");
                continue;
            };
            let caller = Caller {
                peer,
                patience: self.patience,
            };
            let connection = Connection {
                caller,
                slot,
                router: router.clone(),
                stop: stop.clone(),
            };
            connections.spawn(connection.serve(stream, self.tls.clone()));
        }
        // Callers see a refused connection from here on, not one that nobody answers.
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(DRAIN_TIME_MAX, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!("shutdown timed out with requests in flight");
        }
    }
}

/// The accepted connection; on failure the waiting caller gets an error if possible.
async fn welcome(
    accepted: std::io::Result<(TcpStream, SocketAddr)>,
    listener: &TcpListener,
    reserved: &mut ReservedHandle,
    is_tls: bool,
) -> Option<(TcpStream, Peer)> {
    match accepted {
        Ok((stream, peer)) => {
            // A small answer must not wait for the next one.
            let _ = stream.set_nodelay(true);
            Some((stream, Peer(peer)))
        }
        Err(error) if is_out_of_handles(&error) => {
            tracing::warn!(%error, "no file handle left for a connection");
            reserved.refuse(listener, is_tls).await;
            None
        }
        Err(error) => {
            tracing::warn!(%error, "failed to accept a connection");
            tokio::time::sleep(REFUSED_PAUSE).await;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_only_a_port_is_told_how_to_be_written() {
        for (address, hint) in [
            ("7999", Some("write 127.0.0.1:7999")),
            (":7999", Some("write 127.0.0.1:7999")),
            (
                "localhost",
                Some("write ADDRESS:PORT, such as 127.0.0.1:7400"),
            ),
            ("[::1]", Some("write ADDRESS:PORT, such as 127.0.0.1:7400")),
            ("[::1]:0", None),
            ("localhost:7400", None),
        ] {
            assert_eq!(address_hint(address).as_deref(), hint, "{address}");
        }
    }
}
