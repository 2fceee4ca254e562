//! The shared state of all requests.

use std::fmt;
use std::sync::{Arc, OnceLock};

use forebay_control::orchestrate::Registry;
use forebay_core::{Clock, Error, ErrorKind, Result};
use forebay_journal::{Journal, Journals};
use forebay_pipeline::platform::push::PushConfig;
use forebay_pipeline::spec::PipelineSpec;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::body::Bodies;
use crate::catalog_site::CatalogSite;
use crate::examiners::Examiners;
use crate::peers::{FailedAttempts, PeerKey, too_many_failures};
use crate::replays::Replays;
use crate::request_counts::Requests;
use crate::request_id::Ids;

/// Asks the parts that a push or a commit needs whether they work.
pub trait Probe: Send + Sync + 'static {
    /// Names the failed parts.
    fn probe(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send + '_>>;
}

/// Shared by all requests; cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    registry: Registry,
    journals: Arc<Journals>,
    clock: Arc<dyn Clock>,
    probe: Box<dyn Probe>,
    requests: Requests,
    bodies: Bodies,
    ids: Ids,
    draining: CancellationToken,
    access: Access,
    failures: FailedAttempts,
    replays: Replays,
    examiners: Examiners,
    catalog: OnceLock<CatalogSite>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl State {
    /// `draining` is cancelled when no more pushes may be taken.
    pub fn new(
        registry: Registry,
        journals: Arc<Journals>,
        clock: Arc<dyn Clock>,
        probe: Box<dyn Probe>,
        draining: CancellationToken,
        access: Access,
    ) -> Self {
        let ids = Ids::new(clock.as_ref());
        Self(Arc::new(Inner {
            registry,
            journals,
            clock,
            probe,
            requests: Requests::default(),
            bodies: Bodies::default(),
            ids,
            draining,
            access,
            failures: FailedAttempts::default(),
            replays: Replays::default(),
            examiners: Examiners::default(),
            catalog: OnceLock::new(),
        }))
    }

    pub(crate) fn access(&self) -> &Access {
        &self.0.access
    }

    /// The tables that other engines reach; without it they reach none.
    #[must_use]
    pub fn with_catalog(self, catalog: CatalogSite) -> Self {
        self.0.catalog.get_or_init(|| catalog);
        self
    }

    pub(crate) fn catalog(&self) -> Option<&CatalogSite> {
        self.0.catalog.get()
    }

    pub(crate) fn replays(&self) -> &Replays {
        &self.0.replays
    }

    pub(crate) fn examiners(&self) -> &Examiners {
        &self.0.examiners
    }

    /// Errors: `Unavailable` `too_many_failures`.
    pub(crate) fn check_failures(&self, peer: PeerKey) -> Result<()> {
        self.0.failures.check(peer, self.clock().monotonic())
    }

    /// Counts an attempt that failed to authenticate, and gives its answer: the same, until there were too many.
    pub(crate) fn failed(&self, peer: PeerKey, error: Error) -> Error {
        if error.kind() != ErrorKind::Denied {
            return error;
        }
        let now = self.clock().monotonic();
        let is_over = self.0.failures.check(peer, now).is_err();
        self.0.failures.count(peer, now);
        if is_over { too_many_failures() } else { error }
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn journals(&self) -> &Journals {
        &self.0.journals
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    pub(crate) fn probe(&self) -> &dyn Probe {
        self.0.probe.as_ref()
    }

    pub(crate) fn requests(&self) -> &Requests {
        &self.0.requests
    }

    pub(crate) fn bodies(&self) -> &Bodies {
        &self.0.bodies
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.0.ids
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.0.draining.is_cancelled()
    }

    /// Where a push to this pipeline goes, and how it is checked.
    ///
    /// Errors: `Data` `bad_name`; `NotFound` `no_such_pipeline`, also for one that takes no pushes; `Unavailable` `draining`, `pipeline_broken`.
    pub(crate) async fn door(&self, pipeline: &str) -> Result<Door> {
        if self.is_draining() {
            return Err(draining());
        }
        if pipeline.chars().any(char::is_control) {
            let what = "the name of a pipeline has no control characters";
            return Err(Error::data("bad_name", what));
        }
        let spec = self.registry().spec(pipeline);
        let Some(spec) = spec.filter(|spec| spec.source.push().is_some()) else {
            if self.is_broken(pipeline) {
                let what =
                    format!("the file of pipeline `{pipeline}` is invalid, so it does not run");
                return Err(Error::unavailable("pipeline_broken", what).with_hint(
                    "call GET /v1/pipelines for the errors; send the push again later",
                ));
            }
            let what = format!("pipeline `{pipeline}` not found, or it does not accept pushes");
            return Err(Error::not_found("no_such_pipeline", what).with_hint(
                "only pipelines with source `push` accept pushes; call GET /v1/pipelines to list the pipelines",
            ));
        };
        let journal = self.journal(&spec).await?;
        Ok(Door { journal, spec })
    }

    /// Whether a file that is named like the pipeline has never checked: a push to it is to be sent again, not thrown away.
    fn is_broken(&self, pipeline: &str) -> bool {
        let broken = self.registry().broken();
        broken.iter().any(|(file, _)| {
            let stem = std::path::Path::new(file).file_stem();
            stem.is_some_and(|stem| stem == pipeline)
        })
    }

    async fn journal(&self, spec: &Arc<PipelineSpec>) -> Result<Journal> {
        if let Some(journal) = self.journals().find(&spec.name) {
            return Ok(journal);
        }
        let state = self.0.clone();
        let spec = spec.clone();
        let open = async move {
            let push = push(&spec)?;
            state
                .journals
                .of(&spec.name, push.journal, push.limits())
                .await
        };
        // It continues when the caller disconnects: others wait for it too.
        tokio::spawn(open).await.map_err(|error| {
            Error::bug("journal_task", "opening a journal panicked").with_source(error)
        })?
    }
}

pub(crate) fn draining() -> Error {
    Error::unavailable("draining", "the server is shutting down")
        .with_hint("send it again to the server that replaces it")
}

/// One pipeline's way in.
pub(crate) struct Door {
    pub(crate) journal: Journal,
    spec: Arc<PipelineSpec>,
}

impl Door {
    pub(crate) fn config(&self) -> Result<&PushConfig> {
        push(&self.spec)
    }
}

fn push(spec: &PipelineSpec) -> Result<&PushConfig> {
    let push = spec.source.push();
    push.ok_or_else(|| Error::bug("no_push", "a pipeline without a push source got a push"))
}
