//! Connections that end, or fall silent, in COMMIT.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
                let commits = up[..n].windows(6).any(|bytes| bytes == b"COMMIT");
                let take = |left: usize| left.checked_sub(1);
                let cuts = commits && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
                if cuts && cut == Cut::Request {
                    return;
                }
                server.write_all(&up[..n]).await.unwrap();
                if cuts {
                    // The answer has come, so that COMMIT is done; nobody hears of it.
                    server.read(&mut down).await.unwrap();
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

async fn check(cut: Cut) {
    let (Some(url), Some(proxy)) = (schema_url(), Proxy::start(cut).await) else {
        return;
    };
    let (_, schema) = url.split_once("&schema=").unwrap();
    let through = format!(
        "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable&schema={schema}",
        proxy.port
    );
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

/// Its connection stays open and says nothing: without an end by the server all others would wait for ever.
#[tokio::test]
async fn a_process_that_stops_in_its_transaction_loses_it() {
    let Some(world) = World::on_server().await else {
        return;
    };
    let mut sql = in_schema(&world.url).await.unwrap();
    let stopped = "SET idle_in_transaction_session_timeout TO '1s'; BEGIN;
        SELECT pg_advisory_xact_lock(hashtextextended('forebay store ' || current_setting('search_path'), 0))";
    sqlx::raw_sql(stopped).execute(&mut sql).await.unwrap();
    world.commit(&RefName::main(), &[]).await.unwrap();
    let setting =
        "SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'";
    assert_eq!(
        postgres_rows(&world.url, setting).await.unwrap(),
        [[Some("0".to_owned())]],
        "the server itself ends none; only sessions of a store ask for it"
    );
}
