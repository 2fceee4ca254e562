//! TLS: the certificates that each `sslmode` accepts.

use std::net::SocketAddr;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::postgres::client::Connection;
use crate::postgres::url::Server;

const FOLDER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/postgres/sink/tests/certificates"
);

/// A server that has TLS, with a certificate for `localhost` that the authority of `ca.pem` has signed, or none.
async fn front(server: &'static PostgresServer, tls: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let chain = CertificateDer::pem_file_iter(format!("{FOLDER}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{FOLDER}/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut upstream = UnixStream::connect(server.socket()).await.unwrap();
                let mut first = [0; 8];
                client.read_exact(&mut first).await.ok()?;
                let asks_for_tls = first == [0, 0, 0, 8, 4, 210, 22, 47];
                if asks_for_tls && tls {
                    client.write_all(b"S").await.ok()?;
                    let mut client = acceptor.accept(client).await.ok()?;
                    return copy_bidirectional(&mut client, &mut upstream).await.ok();
                }
                if asks_for_tls {
                    client.write_all(b"N").await.ok()?;
                } else {
                    upstream.write_all(&first).await.ok()?;
                }
                copy_bidirectional(&mut client, &mut upstream).await.ok()
            });
        }
    });
    address
}

#[tokio::test]
async fn each_mode_trusts_whom_it_says() {
    let Some(server) = PostgresServer::shared() else {
        return;
    };
    let with = front(server, true).await;
    let without = front(server, false).await;
    let ours = "&sslrootcert=FOLDER/ca.pem";
    let other = "&sslrootcert=FOLDER/other.pem";
    for (host, address, mode, roots, connects) in [
        ("localhost", with, "verify-full", ours, true),
        ("127.0.0.1", with, "verify-full", ours, false),
        ("127.0.0.1", with, "verify-ca", ours, true),
        ("localhost", with, "verify-ca", other, false),
        ("localhost", with, "verify-full", other, false),
        ("localhost", with, "require", other, false),
        ("127.0.0.1", with, "require", "", true),
        ("127.0.0.1", with, "prefer", "", true),
        ("127.0.0.1", without, "prefer", "", true),
        ("127.0.0.1", without, "require", "", false),
        ("127.0.0.1", without, "verify-full", ours, false),
        ("127.0.0.1", without, "disable", "", true),
        ("127.0.0.1", with, "allow", "", true),
    ] {
        let roots = roots.replace("FOLDER", FOLDER);
        let port = address.port();
        let url = format!("postgres://postgres@{host}:{port}/postgres?sslmode={mode}{roots}");
        let server = Server::parse(&forebay_core::Secret::new(url)).unwrap();
        let opened = Connection::open(&server).await;
        let error = opened.as_ref().err().map(ToString::to_string);
        assert_eq!(opened.is_ok(), connects, "{host} {mode} {roots}: {error:?}");
    }
}
