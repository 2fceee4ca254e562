//! Polls the project's files: starts new pipelines, reloads changed ones, stops removed ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Clock, Error, Ident};
use forebay_pipeline::spec::{PipelineSpec, find_cycle};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::pipeline::Pipeline;
use super::{Phase, Registry, Site, Status};

/// How often the files are polled.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Time limit of the last commits. Less than the 30 s after which Kubernetes kills a process that it has asked to stop.
const LAST_COMMITS_TIME_MAX: Duration = Duration::from_secs(20);

/// Pipelines of one process.
const PIPELINES_MAX: usize = 10_000;

/// Runs the pipelines of a project.
pub struct Supervisor<S> {
    site: Arc<S>,
    clock: Arc<dyn Clock>,
    registry: Registry,
    stop: CancellationToken,
    files: BTreeMap<PathBuf, File>,
}

/// A pipeline file that was read.
struct File {
    stamp: String,
    live: Option<Live>,
    /// A version that waits for other files: it would close a cycle.
    waiting: Option<Arc<PipelineSpec>>,
}

/// A pipeline at work.
struct Live {
    name: Ident,
    digest: String,
    wanted: watch::Sender<Arc<PipelineSpec>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl<S: Site> Supervisor<S> {
    pub fn new(
        site: Arc<S>,
        clock: Arc<dyn Clock>,
        registry: Registry,
        stop: CancellationToken,
    ) -> Self {
        Self {
            site,
            clock,
            registry,
            stop,
            files: BTreeMap::new(),
        }
    }

    /// Works until `stop`, then waits until every pipeline has made its last commit, at most `LAST_COMMITS_TIME_MAX`.
    /// Returns the pipelines that have not: their next run continues at the commit before.
    pub async fn run(mut self) -> Vec<Ident> {
        let (stop, clock) = (self.stop.clone(), self.clock.clone());
        let late = async {
            stop.cancelled().await;
            clock.sleep(LAST_COMMITS_TIME_MAX).await;
        };
        tokio::select! {
            () = self.work() => {}
            () = late => {}
        }
        let unfinished = |file: &File| {
            let live = file.live.as_ref()?;
            (!live.task.is_finished()).then(|| live.name.clone())
        };
        self.files.values().filter_map(unfinished).collect()
    }

    async fn work(&mut self) {
        while !self.stop.is_cancelled() {
            self.look().await;
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.clock.sleep(LOOK_EVERY) => {}
            }
        }
        for live in self
            .files
            .values_mut()
            .filter_map(|file| file.live.as_mut())
        {
            live.end().await;
        }
    }

    /// Reconciles the running pipelines with the files.
    pub async fn look(&mut self) {
        let files = match self.site.files() {
            Ok(files) => files,
            Err(error) => {
                tracing::error!(%error, "failed to list pipeline files, keeping the running pipelines");
                return;
            }
        };
        let gone: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|file| !files.contains(file))
            .cloned()
            .collect();
        for file in gone {
            self.gone(&file).await;
        }
        for file in files.iter().take(PIPELINES_MAX) {
            self.file(file).await;
        }
        self.waiting().await;
    }

    /// Starts versions whose cycle is gone.
    async fn waiting(&mut self) {
        let waiting = self.files.iter();
        let waiting =
            waiting.filter_map(|(path, file)| Some((path.clone(), file.waiting.clone()?)));
        for (path, spec) in waiting.collect::<Vec<_>>() {
            if self.cycle(&spec).is_none() {
                self.version(&path, spec).await;
            }
        }
    }

    /// The cycle that a version closes among the running pipelines.
    fn cycle(&self, spec: &Arc<PipelineSpec>) -> Option<Error> {
        spec.source.tables()?;
        let others = self.files.values().filter_map(|file| file.live.as_ref());
        let others: Vec<Arc<PipelineSpec>> = others
            .filter(|live| live.name != spec.name)
            .map(|live| live.wanted.borrow().clone())
            .collect();
        let all: Vec<&PipelineSpec> = others
            .iter()
            .map(Arc::as_ref)
            .chain([spec.as_ref()])
            .collect();
        find_cycle(spec, &all)
    }

    async fn gone(&mut self, path: &Path) {
        self.registry.set_broken(shown(path), None);
        let Some(mut live) = self.files.remove(path).and_then(|file| file.live) else {
            return;
        };
        tracing::info!(pipeline = %live.name, "pipeline file removed, stopping at the last commit");
        let name = live.name.clone();
        live.end().await;
        self.registry.remove(&name);
    }

    async fn file(&mut self, path: &Path) {
        // A file that cannot be read is being replaced or was removed: the next poll decides.
        let Ok(stamp) = self.site.stamp(path) else {
            return;
        };
        if self.files.get(path).is_some_and(|file| file.stamp == stamp) {
            return;
        }
        let loaded = self.site.load(path);
        let file = self.files.entry(path.to_owned()).or_insert(File {
            stamp: String::new(),
            live: None,
            waiting: None,
        });
        file.stamp = stamp;
        file.waiting = None;
        match loaded {
            Ok(spec) => {
                for warning in spec.warnings() {
                    tracing::warn!(file = %path.display(), "{warning}");
                }
                self.version(path, Arc::new(spec)).await;
            }
            Err(error) => self.broken(path, &error.to_string()),
        }
    }

    fn broken(&mut self, path: &Path, why: &str) {
        let live = self.files.get(path).and_then(|file| file.live.as_ref());
        match live {
            Some(live) => {
                tracing::error!(pipeline = %live.name, %why, "changed pipeline file is invalid, keeping the previous version");
                let change = |status: &mut Status| status.broken = Some(why.to_owned());
                self.registry.change(&live.name, change);
            }
            None => {
                tracing::error!(file = %path.display(), %why, "pipeline file is invalid, not running it");
                self.registry.set_broken(shown(path), Some(why.to_owned()));
            }
        }
    }

    /// A version that checks.
    async fn version(&mut self, path: &Path, spec: Arc<PipelineSpec>) {
        if let Some(cycle) = self.cycle(&spec) {
            if let Some(file) = self.files.get_mut(path) {
                file.waiting = Some(spec);
            }
            self.broken(path, &cycle.to_string());
            return;
        }
        if let Some(file) = self.files.get_mut(path) {
            file.waiting = None;
        }
        let file = self.files.get_mut(path);
        let renamed = file.and_then(|file| file.live.take_if(|live| live.name != spec.name));
        if let Some(mut live) = renamed {
            let name = live.name.clone();
            live.end().await;
            self.registry.remove(&name);
        }
        if let Some(live) = self.files.get_mut(path).and_then(|file| file.live.as_mut()) {
            let changed = live.digest != spec.digest;
            live.digest.clone_from(&spec.digest);
            let name = live.name.clone();
            self.registry.change(&name, |status| {
                status.broken = None;
                status.changes += u64::from(changed);
                status.spec = spec.clone();
            });
            if changed {
                tracing::info!(pipeline = %name, "pipeline file reloaded, applied from the next commit");
                live.wanted.send_replace(spec);
            }
            return;
        }
        let other = self.files.iter().find(|(_, file)| {
            let live = file.live.as_ref();
            live.is_some_and(|live| live.name == spec.name)
        });
        if let Some((other, _)) = other {
            let why = format!(
                "`pipeline: {}` is the name of {} too: give it another",
                spec.name,
                other.display()
            );
            self.broken(path, &why);
            return;
        }
        let live = self.start(path, spec);
        if let Some(file) = self.files.get_mut(path) {
            file.live = Some(live);
        }
    }

    fn start(&self, path: &Path, spec: Arc<PipelineSpec>) -> Live {
        let name = spec.name.clone();
        let digest = spec.digest.clone();
        let (wanted, receiver) = watch::channel(spec.clone());
        let stop = self.stop.child_token();
        let figures = Arc::default();
        self.registry.put(Status {
            pipeline: name.clone(),
            file: shown(path),
            phase: Phase::Waiting,
            since: self.clock.now(),
            next_at: None,
            error: None,
            broken: None,
            succeeded_at: None,
            runs: 0,
            failures: 0,
            changes: 0,
            figures: Arc::clone(&figures),
            spec,
        });
        let pipeline = Pipeline {
            name: name.clone(),
            site: self.site.clone(),
            clock: self.clock.clone(),
            registry: self.registry.clone(),
            figures,
            wanted: receiver,
            stop: stop.clone(),
            failed_with: None,
        };
        let task = tokio::spawn(pipeline.live());
        Live {
            name,
            digest,
            wanted,
            stop,
            task,
        }
    }
}

impl Live {
    async fn end(&mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(pipeline = %self.name, %error, "pipeline task panicked");
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
