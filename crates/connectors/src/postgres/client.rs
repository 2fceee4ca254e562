//! One connection, set up the same way whatever the server's and the user's defaults are.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, Result};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{CancelToken, Client, Config, NoTls};
use tokio_util::sync::CancellationToken;

use super::error::failed;
use super::tls::MakeTls;
use super::url::{Server, TlsMode};

/// Lock timeout of a statement; it is then retried, see `Session`.
const LOCK_WAIT: &str = "30s";

/// How long a server may be silent before the connection is closed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Timeout of a statement once the run is cancelled: enough for the last commit, and less than the grace period of service
/// managers.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Timeout for sending the cancellation of a statement to the server.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// A client with the task that moves its bytes. Dropped, the connection ends, and with it an open transaction.
pub(super) struct Connection {
    pub(super) client: Client,
    task: JoinHandle<()>,
    /// Set when the connection is encrypted: a cancellation goes over a connection of its own.
    tls: Option<MakeTls>,
}

/// Cancels statements that wait, usually for a lock, when the run is cancelled.
pub(super) struct StopWatch {
    token: CancelToken,
    tls: Option<MakeTls>,
    stop: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl StopWatch {
    /// Waits for `work`, but not longer than [`STOP_WAIT`] once the run is cancelled. After the error the connection must
    /// not be used again.
    pub(super) async fn watch<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => return done,
            () = self.expire() => {}
        }
        self.cancel_statement().await;
        let message = format!(
            "failed to load rows: the target did not answer for {} s after the run was cancelled",
            STOP_WAIT.as_secs()
        );
        Err(Error::unavailable(crate::sink::TARGET_GONE, message)
            .with_hint("nothing is lost: the next run resumes from the last commit"))
    }

    async fn expire(&self) {
        self.stop.cancelled().await;
        self.clock.sleep(STOP_WAIT).await;
    }

    /// A server that waits for a lock does not notice that its client is gone.
    async fn cancel_statement(&self) {
        let cancelled = async {
            match &self.tls {
                Some(tls) => self.token.cancel_query(tls.clone()).await,
                None => self.token.cancel_query(NoTls).await,
            }
        };
        tokio::select! {
            done = cancelled => {
                if let Err(error) = done {
                    tracing::debug!(%error, "failed to cancel a statement of Postgres");
                }
            }
            () = self.clock.sleep(CANCEL_WAIT) => {}
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Errors: `Unavailable` when the server does not answer, `Denied`, `Config` when the database does not exist.
    pub(super) async fn open(server: &Server) -> Result<Self> {
        let mut config = server.config.clone();
        config.keepalives_idle(KEEPALIVE);
        config.tcp_user_timeout(KEEPALIVE * 4);
        let connection = match server.tls {
            TlsMode::Disable => plain(&config).await,
            TlsMode::Allow => match plain(&config).await {
                Err(error) if error.as_db_error().is_some() => {
                    config.ssl_mode(SslMode::Require);
                    with_tls(&config, server).await?
                }
                other => other,
            },
            _ if is_local(&config) => plain(&config).await,
            _ => with_tls(&config, server).await?,
        };
        let connection = connection.map_err(|error| unreachable(server, error))?;
        connection.set_up().await?;
        Ok(connection)
    }

    /// Cancels its statements when `stop` is set.
    pub(super) fn stop_watch(&self, stop: CancellationToken, clock: Arc<dyn Clock>) -> StopWatch {
        StopWatch {
            token: self.client.cancel_token(),
            tls: self.tls.clone(),
            stop,
            clock,
        }
    }

    /// The meaning of rows must not depend on defaults of the server, and no commit may be acknowledged before it is
    /// durable.
    async fn set_up(&self) -> Result<()> {
        let text = format!(
            "SET lock_timeout = '{LOCK_WAIT}'; SET statement_timeout = 0; \
             SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning; SET TimeZone = 'UTC'; \
             SET row_security = on; \
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        );
        self.batch("set the connection up", &text).await
    }

    /// Statements without parameters, one after the other.
    pub(super) async fn batch(&self, what: &str, text: &str) -> Result<()> {
        self.client
            .batch_execute(text)
            .await
            .map_err(|error| failed(what, error))
    }
}

async fn plain(config: &Config) -> Result<Connection, tokio_postgres::Error> {
    let mut config = config.clone();
    config.ssl_mode(SslMode::Disable);
    let (client, connection) = config.connect(NoTls).await?;
    Ok(running(client, connection, None))
}

async fn with_tls(
    config: &Config,
    server: &Server,
) -> Result<Result<Connection, tokio_postgres::Error>> {
    let tls = MakeTls::new(server)?;
    let connected = config.connect(tls.clone()).await;
    Ok(connected.map(|(client, connection)| running(client, connection, Some(tls))))
}

fn running<F, E>(client: Client, connection: F, tls: Option<MakeTls>) -> Connection
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            // The waiting statement gets the error too, and its caller decides.
            tracing::debug!(%error, "a connection to Postgres ended");
        }
    });
    Connection { client, task, tls }
}

/// A socket of this machine needs no TLS, and libpq never uses it there.
fn is_local(config: &Config) -> bool {
    let is_socket = |host: &tokio_postgres::config::Host| match host {
        tokio_postgres::config::Host::Tcp(_) => false,
        #[cfg(unix)]
        tokio_postgres::config::Host::Unix(_) => true,
    };
    config.get_hosts().iter().all(is_socket)
}

fn unreachable(server: &Server, error: tokio_postgres::Error) -> Error {
    let what = format!("connect to {server}");
    let error = match error.as_db_error() {
        Some(_) => failed(&what, error),
        None => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.to_string());
            if cause.contains("certificate") {
                return Error::denied("bad_certificate", format!("failed to {what}: {cause}"))
                    .with_hint("check `sslmode` and `sslrootcert` of the URL");
            }
            Error::unavailable(
                crate::sink::TARGET_GONE,
                format!("failed to {what}: {cause}"),
            )
        }
    };
    error.with_hint("check that the server is running and accepts this user")
}
