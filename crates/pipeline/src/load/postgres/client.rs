//! One connection, set up the same way whatever the server's and the user's defaults are.

use std::time::Duration;

use forebay_core::{Error, Result};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::error::failed;
use super::tls::MakeTls;
use super::url::{Server, TlsMode};

/// How long a statement waits for a lock before it gives up; it is then tried again, see [`super::sink`].
const LOCK_WAIT: &str = "30s";

/// How long a silent server may be gone before the connection is given up.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A client with the task that moves its bytes. Dropped, the connection ends, and with it an open transaction.
pub(super) struct Connection {
    pub(super) client: Client,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    /// Errors: `Unavailable` when nobody answers, `Denied`, `Config` when there is no such database.
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

    /// Nothing that rows mean may depend on defaults of the server, and no commit may be told of before it is durable.
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
    Ok(running(client, connection))
}

async fn with_tls(
    config: &Config,
    server: &Server,
) -> Result<Result<Connection, tokio_postgres::Error>> {
    let tls = MakeTls::new(server)?;
    Ok(config
        .connect(tls)
        .await
        .map(|(client, connection)| running(client, connection)))
}

fn running<F, E>(client: Client, connection: F) -> Connection
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display,
{
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            // Whoever waits for an answer is told too, and decides.
            tracing::debug!(%error, "a connection to Postgres ended");
        }
    });
    Connection { client, task }
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
                crate::load::TARGET_GONE,
                format!("failed to {what}: {cause}"),
            )
        }
    };
    error.with_hint("is the server up, and does it let this user in?")
}
