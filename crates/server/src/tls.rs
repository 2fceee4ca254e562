//! TLS of the server: a certificate and its key from files, read again when they change.
//!
//! TLS 1.2 and 1.3 with the ring provider (see `docs/decisions/0003-ring.md`); HTTP/2 and HTTP/1.1 by ALPN. Files that changed and
//! cannot be used leave the certificate before them in use.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Error, Result};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How often the files are checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Bytes of each of the files.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where certificate and key are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then those that lead from it to a root.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// The served certificate.
pub(crate) struct Tls {
    files: TlsFiles,
    current: Arc<CurrentKey>,
    acceptor: TlsAcceptor,
    look_every: Duration,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.files).finish()
    }
}

/// The certificate in use.
#[derive(Debug)]
struct CurrentKey(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for CurrentKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().clone())
    }
}

impl Tls {
    /// Errors: `Config` `bad_certificate`, `bad_key`, naming the file.
    pub(crate) fn load(files: TlsFiles) -> Result<Self> {
        let current = Arc::new(CurrentKey(RwLock::new(Arc::new(files.read()?))));
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                Error::bug("tls_versions", "the TLS provider has no version").with_source(error)
            })?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            files,
            current,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            look_every: LOOK_EVERY,
        })
    }

    #[must_use]
    pub(crate) fn looking_every(mut self, time: Duration) -> Self {
        self.look_every = time;
        self
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Takes changed files over, until `stop`.
    pub(crate) async fn follow(&self, stop: &CancellationToken) {
        let mut seen = self.files.stamp();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.look_every) => {}
                () = stop.cancelled() => return,
            }
            let stamp = self.files.stamp();
            if stamp != seen {
                seen = stamp;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        match self.files.read() {
            Ok(key) => {
                *self.current.0.write() = Arc::new(key);
                tracing::info!(certificate = %self.files.certificate.display(), "certificate reloaded");
            }
            Err(error) => {
                tracing::error!(%error, "failed to reload the certificate, keeping the previous one");
            }
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<CertifiedKey> {
        let certificate = &self.certificate;
        let key = &self.key;
        let pem = read(certificate, "bad_certificate")?;
        let chain: std::result::Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_slice_iter(&pem).collect();
        let chain = chain.map_err(|error| {
            let what = format!("{} is not valid PEM: {error}", certificate.display());
            Error::config("bad_certificate", what)
        })?;
        if chain.is_empty() {
            let what = format!("{} has no CERTIFICATE section", certificate.display());
            return Err(Error::config("bad_certificate", what)
                .with_hint("`cert` of `[server.tls]` is a PEM file with the whole chain"));
        }
        let pem = read(key, "bad_key")?;
        let is_encrypted = String::from_utf8_lossy(&pem).contains("ENCRYPTED");
        let parsed = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
            let what = format!("{} has no usable private key: {error}", key.display());
            let hint = if is_encrypted {
                "decrypt it first: `openssl pkey -in FILE -out FILE`"
            } else {
                "`key` of `[server.tls]` is a PEM file with a PRIVATE KEY section"
            };
            Error::config("bad_key", what).with_hint(hint)
        })?;
        CertifiedKey::from_der(chain, parsed, &ring::default_provider()).map_err(|error| {
            let what = format!(
                "the key {} cannot be used with the certificate {}: {error}",
                key.display(),
                certificate.display()
            );
            Error::config("bad_key", what)
        })
    }

    /// A stamp of the state of the files.
    fn stamp(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let stamp = |path: &PathBuf| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.size(), found.ino(), found.ctime(), found.ctime_nsec()))
        };
        [&self.certificate, &self.key].map(stamp).to_vec()
    }
}

fn read(path: &Path, code: &'static str) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| {
        Error::config(code, format!("failed to read {}", path.display())).with_source(error)
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        let what = format!("{} has {bytes} bytes, too many for PEM", path.display());
        return Err(Error::config(code, what));
    }
    std::fs::read(path).map_err(failed)
}
