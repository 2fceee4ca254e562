//! A server over pipelines of a temporary folder, asked without a network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, Response};
use forebay_config::Variables;
use forebay_control::orchestrate::{LastRun, Registry, Site, Supervisor};
use forebay_core::{Clock, Error, Ident, Result, SystemClock, Timestamp};
use forebay_journal::{Journals, Limits, Place};
use forebay_pipeline::engine::Figures;
use forebay_pipeline::spec::{self, PipelineSpec};
use forebay_server::{Access, Listening, Probe, State, router};
use forebay_testkit::{FakeClock, NoSql};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Pipelines that never run: what is pushed stays in their journals.
struct Still(Vec<(PathBuf, String)>);

struct Secrets;

/// What `${secret:NAME}` is here.
pub(crate) fn secret(name: &str) -> String {
    format!("the {name} of these tests")
}

impl Variables for Secrets {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn secret(&self, name: &str) -> Option<String> {
        Some(secret(name))
    }
    fn param(&self, _: &str) -> Option<String> {
        None
    }
}

#[async_trait]
impl Site for Still {
    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(self.0.iter().map(|(path, _)| path.clone()).collect())
    }

    fn stamp(&self, _: &Path) -> Result<String> {
        Ok("1".to_owned())
    }

    fn load(&self, path: &Path) -> Result<PipelineSpec> {
        let (_, text) = self.0.iter().find(|(name, _)| name == path).unwrap();
        spec::parse("a.yaml", text, &Secrets, &NoSql::shared())
            .map_err(|wrong| Error::config("bad_pipeline", wrong.to_string()))
    }

    async fn last_run(&self, _: &Ident) -> Result<Option<LastRun>> {
        Ok(None)
    }

    async fn run(
        &self,
        _: Arc<PipelineSpec>,
        _: Arc<Figures>,
        cancel: CancellationToken,
    ) -> Result<()> {
        cancel.cancelled().await;
        Ok(())
    }
}

struct Well(Result<(), &'static str>);

impl Probe for Well {
    fn probe(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async move { self.0.map_err(|what| Error::unavailable("down", what)) })
    }
}

pub(crate) struct Server {
    router: axum::Router,
    pub(crate) journals: Arc<Journals>,
    pub(crate) draining: CancellationToken,
    /// A clock that stands still until it is moved.
    clock: Option<Arc<FakeClock>>,
    _folder: tempfile::TempDir,
}

/// A server's port, open until this is dropped.
pub(crate) struct Door {
    pub(crate) address: std::net::SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl Server {
    /// One pipeline for each `push:` configuration, named `p0`, `p1`, ….
    pub(crate) async fn new(pushes: &[&str]) -> Self {
        Self::with_store(pushes, Ok(())).await
    }

    pub(crate) async fn with_store(pushes: &[&str], store: Result<(), &'static str>) -> Self {
        Self::make(pushes, store, None).await
    }

    /// A server for which time stands still but for [`Self::advance`].
    pub(crate) async fn at_rest(pushes: &[&str]) -> Self {
        let clock = FakeClock::manual(Timestamp(1_700_000_000_000_000));
        Self::make(pushes, Ok(()), Some(clock)).await
    }

    pub(crate) fn advance(&self, by: std::time::Duration) {
        self.clock.as_ref().unwrap().advance(by);
    }

    /// Opens a port to it, with this time for the head of a request.
    pub(crate) async fn open(&self, head_time: std::time::Duration) -> Door {
        self.open_for(head_time, usize::MAX).await
    }

    /// As [`Self::open`], for so many connections at once.
    pub(crate) async fn open_for(
        &self,
        head_time: std::time::Duration,
        connections: usize,
    ) -> Door {
        self.open_with(|listening| {
            listening
                .with_head_time(head_time)
                .with_connections(connections)
        })
        .await
    }

    /// Opens a port to it, as it is made by `change`.
    pub(crate) async fn open_with(&self, change: impl FnOnce(Listening) -> Listening) -> Door {
        let listening = change(forebay_server::listen("127.0.0.1:0").await.unwrap());
        let (address, stop) = (listening.address, CancellationToken::new());
        tokio::spawn(listening.serve(self.router.clone(), stop.clone()));
        let _stop = stop.drop_guard();
        Door { address, _stop }
    }

    /// A server that is reached like this, whose store fails.
    pub(crate) async fn reached(pushes: &[&str], access: Access) -> Self {
        Self::made(pushes, Err("the disk is gone"), None, access).await
    }

    async fn make(
        pushes: &[&str],
        store: Result<(), &'static str>,
        fake: Option<Arc<FakeClock>>,
    ) -> Self {
        // The hosts that requests of these tests name.
        let access = Access {
            is_local: true,
            hosts: vec!["x".to_owned()],
            status_token: None,
            catalog_token: None,
        };
        Self::made(pushes, store, fake, access).await
    }

    async fn made(
        pushes: &[&str],
        store: Result<(), &'static str>,
        fake: Option<Arc<FakeClock>>,
        access: Access,
    ) -> Self {
        let files = pushes.iter().enumerate().map(|(n, push)| {
            let text = format!(
                "pipeline: p{n}\nsource: {{push: {push}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: a.p{n}}}}}\n"
            );
            (PathBuf::from(format!("p{n}.yaml")), text)
        });
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = match &fake {
            Some(clock) => clock.clone(),
            None => SystemClock::shared(),
        };
        let registry = Registry::default();
        let site = Arc::new(Still(files.collect()));
        let mut supervisor = Supervisor::new(
            site,
            clock.clone(),
            registry.clone(),
            CancellationToken::new(),
        );
        supervisor.look().await;
        let wrong = registry.broken();
        assert!(wrong.is_empty(), "{wrong:?}");
        let journals = Arc::new(Journals::new(folder.path().to_owned(), clock.clone()));
        let draining = CancellationToken::new();
        let well = Box::new(Well(store));
        let state = State::new(
            registry,
            journals.clone(),
            clock,
            well,
            draining.clone(),
            access,
        );
        Self {
            router: router(state),
            journals,
            draining,
            clock: fake,
            _folder: folder,
        }
    }

    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }

    /// Status, headers and body of an answer that need not be text.
    pub(crate) async fn bytes(
        &self,
        request: Request<Body>,
    ) -> (u16, axum::http::HeaderMap, Vec<u8>) {
        let (parts, body) = self
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status.as_u16(), parts.headers, bytes.to_vec())
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// Pushes to `p0`.
    pub(crate) async fn push(&self, body: impl Into<Body>, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::post("/v1/ingest/p0");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask(request.body(body.into()).unwrap()).await
    }

    /// What the journal of `p0` holds.
    pub(crate) async fn kept(&self) -> Vec<forebay_journal::Pushed> {
        let name: Ident = "p0".parse().unwrap();
        let journal = self.journals.of(&name, Place::Disk, Limits::default());
        let journal = journal.await.unwrap();
        let mut tail = journal.tail(0).unwrap();
        let mut kept = Vec::new();
        loop {
            let more = tail.next().await.unwrap();
            if more.is_empty() {
                return kept;
            }
            kept.extend(more);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// Status and error code.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let code = self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (self.status, code)
    }
}
