//! The server and the user: the URL as libpq reads it.
//!
//! It contains the password, so a value of this module shows host, port, user and database only.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ::url::Url;
use forebay_core::{Error, Result, Secret};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use forebay_config::suggest;

/// How long one address of the server may take to answer, unless the URL sets it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Parameters that a URL may have.
const PARAMETERS: [&str; 10] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "application_name",
    "connect_timeout",
    "options",
];

/// `sslmode` as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    /// Without encryption, and with TLS when the server requires it.
    Allow,
    /// With TLS when the server supports it.
    Prefer,
    /// TLS without verification of the certificate, unless a root certificate is given.
    Require,
    /// TLS, with a certificate signed by a known authority.
    VerifyCa,
    /// Also for this host name.
    VerifyFull,
}

/// A server and how to reach it.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) tls: TlsMode,
    /// A PEM file of authorities, instead of those of the system.
    pub(super) roots: Option<PathBuf>,
}

impl Server {
    /// Errors: `Config` `bad_postgres_url`, without the text.
    pub(super) fn parse(url: &Secret) -> Result<Self> {
        let text = url.expose();
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(bad("it does not begin with `postgres://`"));
        }
        let mut url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
        let mut tls = TlsMode::Prefer;
        let mut roots = None;
        let mut asked = Vec::new();
        for (key, value) in url.query_pairs().into_owned() {
            match key.as_str() {
                "sslmode" => tls = tls_mode(&value)?,
                "sslrootcert" => roots = Some(PathBuf::from(value)),
                known if PARAMETERS.contains(&known) => asked.push((key, value)),
                other => return Err(unknown(other)),
            }
        }
        url.set_query(None);
        let base: Config = url
            .as_str()
            .parse()
            .map_err(|error: tokio_postgres::Error| bad(reason(&error)))?;
        let mut server = Self {
            config: config(&base, &asked)?,
            tls,
            roots,
        };
        // `prefer` is the only mode of the driver that allows a fallback; the others are made of it and of the certificate
        // check.
        server.config.ssl_mode(match tls {
            TlsMode::Disable | TlsMode::Allow => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        });
        Ok(server)
    }
}

/// The driver's configuration; parameters after `?` override the rest, as with libpq.
fn config(base: &Config, asked: &[(String, String)]) -> Result<Config> {
    let of = |key: &str| {
        let found = asked.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    };
    let mut config = Config::new();
    if let Some(user) = of("user").or(base.get_user()) {
        config.user(user);
    }
    match (of("password"), base.get_password()) {
        (Some(password), _) => {
            config.password(password);
        }
        (None, Some(password)) => {
            config.password(password);
        }
        (None, None) => {}
    }
    if let Some(name) = of("dbname").or(base.get_dbname()) {
        config.dbname(name);
    }
    match of("host") {
        Some(hosts) => hosts.split(',').for_each(|host| {
            config.host(host);
        }),
        None if base.get_hosts().is_empty() => return Err(bad("it names no host")),
        None => base.get_hosts().iter().for_each(|host| match host {
            Host::Tcp(name) => {
                config.host(name);
            }
            #[cfg(unix)]
            Host::Unix(path) => {
                config.host_path(path);
            }
        }),
    }
    match of("port") {
        Some(ports) => {
            for port in ports.split(',') {
                config.port(port.parse().map_err(|_| bad("`port` is not a number"))?);
            }
        }
        None => base.get_ports().iter().for_each(|port| {
            config.port(*port);
        }),
    }
    let timeout = of("connect_timeout").map(|text| text.parse().map(Duration::from_secs));
    let timeout = timeout
        .transpose()
        .map_err(|_| bad("`connect_timeout` is not a number of seconds"))?;
    config.connect_timeout(timeout.unwrap_or(CONNECT_TIMEOUT));
    config.application_name(of("application_name").unwrap_or("forebay"));
    if let Some(options) = of("options") {
        config.options(options);
    }
    // Of several hosts the one that accepts writes; a replica is not a target.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok(config)
}

fn tls_mode(text: &str) -> Result<TlsMode> {
    Ok(match text {
        "disable" => TlsMode::Disable,
        "allow" => TlsMode::Allow,
        "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(bad(
                "`sslmode` is disable, allow, prefer, require, verify-ca or verify-full",
            ));
        }
    })
}

fn unknown(key: &str) -> Error {
    let meant = suggest::nearest(key, PARAMETERS.iter().copied());
    bad(match meant {
        Some(meant) => format!("unknown parameter `{key}`: did you mean `{meant}`?"),
        None => format!("unknown parameter `{key}`: use {}", PARAMETERS.join(", ")),
    })
}

/// The driver's cause; its own text only reports that the string is invalid.
fn reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn bad(why: impl fmt::Display) -> Error {
    Error::config("bad_postgres_url", format!("invalid database URL: {why}"))
        .with_hint("write it as `postgres://user:password@host:5432/database?sslmode=verify-full`")
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        let hosts: Vec<String> = config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(at, host)| {
                let ports = config.get_ports();
                let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
                match host {
                    Host::Tcp(name) => format!("{name}:{port}"),
                    #[cfg(unix)]
                    Host::Unix(path) => path.display().to_string(),
                }
            })
            .collect();
        write!(
            f,
            "postgres://{}@{}/{}",
            config.get_user().unwrap_or_default(),
            hosts.join(","),
            config
                .get_dbname()
                .or(config.get_user())
                .unwrap_or_default(),
        )
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Server> {
        Server::parse(&Secret::new(text))
    }

    #[test]
    fn what_follows_the_question_mark_goes_before_the_rest() {
        let server =
            parse("postgres://ann@localhost/lake?host=/run/pg&sslmode=verify-full").unwrap();
        assert_eq!(server.to_string(), "postgres://ann@/run/pg/lake");
        assert_eq!(server.tls, TlsMode::VerifyFull);
        let server = parse("postgresql://db.example:5433/lake?user=ann&sslmode=disable").unwrap();
        assert_eq!(server.to_string(), "postgres://ann@db.example:5433/lake");
        assert_eq!(parse("postgres://a@h/d").unwrap().tls, TlsMode::Prefer);
        let two = parse("postgres://ann@a:1,b:2/lake");
        assert!(two.is_err() || two.unwrap().config.get_hosts().len() == 2);
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in [
            "postgres://ann:hunter2@db:notaport/lake",
            "postgres://ann:hunter2@db/lake?sslmode=hardly",
            "postgres://ann:hunter2@db/lake?pasword=hunter2",
            "mysql://ann:hunter2@db/lake",
        ] {
            let error = parse(text).unwrap_err();
            let shown = format!("{error} {error:?} {:?}", error.hint());
            assert_eq!(error.code(), "bad_postgres_url", "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let server = parse("postgres://ann:hunter2@db/lake").unwrap();
        assert!(!format!("{server} {server:?}").contains("hunter2"));
    }
}
