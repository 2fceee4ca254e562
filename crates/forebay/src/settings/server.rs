//! `[server]`: where `forebay serve` listens, and who may see its state.

use std::path::PathBuf;

use forebay_core::{Error, Result, Secret};
use forebay_pipeline::platform::push::SECRET_BYTES_MIN;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{parsed, secret};

/// `[server]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Address and port. Beyond this machine only with TLS (or `insecure`), and with `auth` on every pipeline that accepts pushes.
    pub(crate) listen: String,
    /// Certificate and key; with them the server accepts TLS only.
    pub(crate) tls: Option<ServerTls>,
    /// Listens beyond loopback without TLS: a proxy in front of it terminates TLS.
    pub(crate) insecure: bool,
    /// Token for the state of the pipelines: `/`, `/v1/pipelines`, `/metrics` and the reason when `/readyz` fails. Required for these
    /// beyond loopback. At least 16 bytes.
    pub(crate) status_token: Option<Secret>,
    /// Token for the Iceberg REST catalog at `/iceberg`, to read and to write tables. Required for it beyond loopback. At least 16 bytes.
    pub(crate) catalog_token: Option<Secret>,
    /// Host names besides localhost that a server on loopback answers to, such as the one of a proxy in front of it.
    pub(crate) hosts: Vec<String>,
}

/// `[server.tls]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerTls {
    /// A PEM file: the server's certificate, then those that lead from it to a root. Read again when it changes.
    pub(crate) cert: PathBuf,
    /// A PEM file with its private key, not encrypted.
    pub(crate) key: PathBuf,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:7400".to_owned(),
            tls: None,
            insecure: false,
            status_token: None,
            catalog_token: None,
            hosts: Vec::new(),
        }
    }
}

impl Server {
    /// `FOREBAY__SERVER__LISTEN`, `FOREBAY__SERVER__TLS__CERT` and so on. Errors: `Config` `bad_variable`, `short_secret`, `bad_tls`.
    pub(super) fn over_environment(
        &mut self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<()> {
        if let Some(listen) = variable("FOREBAY__SERVER__LISTEN") {
            self.listen = listen;
        }
        if let Some(insecure) = parsed(variable, "FOREBAY__SERVER__INSECURE")? {
            self.insecure = insecure;
        }
        if let Some(hosts) = variable("FOREBAY__SERVER__HOSTS") {
            self.hosts = hosts
                .split(',')
                .map(|host| host.trim().to_owned())
                .collect();
        }
        if let Some(token) = secret(variable, "FOREBAY__SERVER__STATUS_TOKEN")? {
            self.status_token = Some(token);
        }
        if let Some(token) = secret(variable, "FOREBAY__SERVER__CATALOG_TOKEN")? {
            self.catalog_token = Some(token);
        }
        let cert = variable("FOREBAY__SERVER__TLS__CERT").map(PathBuf::from);
        let key = variable("FOREBAY__SERVER__TLS__KEY").map(PathBuf::from);
        let (file_cert, file_key) = self.tls.take().map(|tls| (tls.cert, tls.key)).unzip();
        self.tls = match (cert.or(file_cert), key.or(file_key)) {
            (Some(cert), Some(key)) => Some(ServerTls { cert, key }),
            (None, None) => None,
            _ => {
                let what = "`[server.tls]` needs both `cert` and `key`";
                return Err(Error::config("bad_tls", what));
            }
        };
        check_length("status_token", self.status_token.as_ref())?;
        check_length("catalog_token", self.catalog_token.as_ref())
    }
}

/// Errors: `Config` `short_secret`.
fn check_length(key: &str, token: Option<&Secret>) -> Result<()> {
    let token = token.map(Secret::expose);
    if token.is_none_or(|token| token.len() >= SECRET_BYTES_MIN) {
        return Ok(());
    }
    let what = format!(
        "`{key}` of `[server]` has fewer than {SECRET_BYTES_MIN} bytes, which can be guessed"
    );
    Err(Error::config("short_secret", what).with_hint("make one with `openssl rand -hex 32`"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Settings;
    use super::*;

    #[test]
    fn the_server_takes_no_empty_or_short_secret_and_no_half_of_a_certificate() {
        let text =
            "[server]\ninsecure = true\nhosts = [\"a\"]\n[server.tls]\ncert = \"c\"\nkey = \"k\"\n";
        let mut server = Settings::parse("forebay.toml", text).unwrap().server;
        server.over_environment(&|_| None).unwrap();
        assert_eq!(server.tls.unwrap().cert, Path::new("c"));
        for (name, value, code) in [
            ("FOREBAY__SERVER__STATUS_TOKEN", " ", "empty_secret"),
            ("FOREBAY__SERVER__STATUS_TOKEN", "short", "short_secret"),
            ("FOREBAY__SERVER__CATALOG_TOKEN", "short", "short_secret"),
            ("FOREBAY__SERVER__TLS__CERT", "c", "bad_tls"),
            ("FOREBAY__SERVER__INSECURE", "maybe", "bad_variable"),
        ] {
            let set = |asked: &str| (asked == name).then(|| value.to_owned());
            let error = Server::default().over_environment(&set).unwrap_err();
            assert_eq!(error.code(), code, "{name}");
        }
        let set = |name: &str| name.ends_with("SECRET_ACCESS_KEY").then(String::new);
        let error = super::super::Storage::default()
            .over_environment(&set)
            .unwrap_err();
        assert_eq!(error.code(), "empty_secret");
    }
}
