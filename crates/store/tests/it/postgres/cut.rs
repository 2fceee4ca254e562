//! Connections that end, or fall silent, in COMMIT.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_core::{RefName, SystemClock};
use forebay_store::Commit;
use forebay_testkit::PostgresServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::many::check_chain;
use crate::world::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The server gets COMMIT, the answer is lost.
    Answer,
    /// The server never gets it.
    Request,
    /// The server never gets it and the connection stays, as that of a process that was stopped.
    Silence,
}

/// Passes bytes on between a client and the server, but for the next COMMITs.
struct Proxy {
    port: u16,
    left: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(cut: Cut) -> Option<Self> {
        let socket = PostgresServer::shared()?.socket();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicUsize::new(0));
        let cuts = left.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, socket.clone(), cut, cuts.clone()));
            }
        });
        Some(Self { port, left })
    }
}

async fn pass(mut client: TcpStream, socket: PathBuf, cut: Cut, left: Arc<AtomicUsize>) {
    let mut server = UnixStream::connect(socket).await.unwrap();
    let (mut up, mut down) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(n @ 1..) = read else { return };
                // The end of a message; BEGIN has the word in READ COMMITTED.
                let commits = up[..n].ends_with(b"COMMIT\0");
                let take = |left: usize| left.checked_sub(1);
                let cuts = commits && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
                if cuts && cut == Cut::Request {
                    return;
                }
                if cuts && cut == Cut::Silence {
                    // Until the server has had enough.
                    server.read_u8().await.ok();
                    return;
                }
                server.write_all(&up[..n]).await.unwrap();
                if cuts {
                    // The answer has come, so that COMMIT is done; nobody hears of it.
                    server.read_u8().await.unwrap();
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(n @ 1..) = read else { return };
                if client.write_all(&down[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The URL of a new schema, by way of a proxy and straight.
async fn urls(cut: Cut) -> Option<(Proxy, String, String)> {
    let (url, proxy) = (schema_url()?, Proxy::start(cut).await?);
    let (_, schema) = url.split_once("&schema=")?;
    let port = proxy.port;
    let through =
        format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable&schema={schema}");
    Some((proxy, through, url))
}

async fn check(cut: Cut) {
    let Some((proxy, through, url)) = urls(cut).await else {
        return;
    };
    let main = RefName::main();
    let store = open(&through, SystemClock::shared()).await;
    let lease = store
        .take_lease(&request(&main, "one"), false)
        .await
        .unwrap();
    for done in 0..10 {
        // Up to three times in a row for one commit.
        proxy
            .left
            .store(usize::try_from(done % 4).unwrap(), Ordering::SeqCst);
        let expected = (done > 0).then(|| format!("t{done}"));
        let heads = vec![set("a.t", expected.as_deref(), &format!("t{}", done + 1))];
        let commit = Commit {
            heads,
            ..step(&main, &lease, done, done)
        };
        let id = commit.id;
        assert_eq!(store.commit(commit).await.unwrap().id, id);
    }
    let direct = open(&url, SystemClock::shared()).await;
    let log = direct.log(&main, u32::MAX).await.unwrap();
    assert_eq!(log.len(), 10, "each once");
    check_chain(&log);
    let pipeline = "quakes".parse().unwrap();
    assert_eq!(direct.positions(&main, &pipeline).await.unwrap()[0].1, 10);
}

#[tokio::test]
async fn an_answer_to_commit_that_is_lost_is_looked_up() {
    check(Cut::Answer).await;
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_made_again() {
    check(Cut::Request).await;
}

/// Without an end by the server all others would wait for ever, and so would it.
#[tokio::test]
async fn a_process_that_stops_in_its_transaction_loses_it() {
    let Some((proxy, through, url)) = urls(Cut::Silence).await else {
        return;
    };
    let main = RefName::main();
    let stopped = open(&through, SystemClock::shared()).await;
    let other = open(&url, SystemClock::shared()).await;
    proxy.left.store(1, Ordering::SeqCst);
    let late = tokio::spawn({
        let commit = commit_on(&main);
        async move { stopped.commit(commit).await }
    });
    while proxy.left.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It waits as long as the server does, and not until the other gives up by itself.
    let first = tokio::time::timeout(Duration::from_secs(25), other.commit(commit_on(&main)));
    let first = first.await.unwrap().unwrap();
    // It did not lose what it was asked to do.
    let second = late.await.unwrap().unwrap();
    let log = other.log(&main, u32::MAX).await.unwrap();
    let ids: Vec<_> = log.iter().map(|commit| commit.id).collect();
    assert_eq!(ids, [second.id, first.id]);
}
