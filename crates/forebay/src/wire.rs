//! The one place that names concrete implementations and puts them together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use forebay_core::unit::Span;
use forebay_core::{
    Clock, CommitId, Error, Ident, LakeSql, RefName, Result, SqlEngine, SystemClock,
};
use forebay_journal::Journals;
use forebay_lake::Lake;
use forebay_objects::StorageUrl;
use forebay_pipeline::engine::{Figures, Ids, RunContext};
use forebay_pipeline::spec::PipelineSpec;
use forebay_query::{ChangeOptions, Engine, Query, QueryCancellation, QueryOptions};
use forebay_server::CatalogSite;
use forebay_store::{AsOf, Store};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use rand::Rng;
use tokio_util::sync::CancellationToken;

use crate::options::Global;
use crate::project;
use crate::settings::{Settings, Storage, aws_variables, variable};

/// Bytes of the lock file of a server that are read.
const PROCESS_ID_BYTES_MAX: u64 = 20;

/// Folder of the workspace below the project, by default.
const WORKSPACE: &str = ".forebay";

/// The SQL engine of transforms and checks; needs no workspace.
pub(crate) fn engine(_: &Settings) -> Arc<dyn SqlEngine> {
    Arc::new(Engine::new())
}

/// The file at `path`, locked; `held` makes the error when another process holds it.
fn lock_file(path: &Path, held: impl FnOnce(&mut File) -> Error) -> Result<File> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| lock_failed(path, error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(held(&mut file)),
        Err(error) => Err(lock_failed(path, error.into())),
    }
}

fn lock_failed(path: &Path, error: std::io::Error) -> Error {
    let message = format!("failed to lock {}", path.display());
    Error::unavailable("lock_failed", message).with_source(error)
}

/// The error when another process serves the workspace, with the process id in the lock file.
fn already_serving(folder: &Path, lock: &mut File) -> Error {
    let mut text = String::new();
    let read = lock.take(PROCESS_ID_BYTES_MAX).read_to_string(&mut text);
    let process = match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(process)) => format!("process {process}"),
        _ => "another process".to_owned(),
    };
    let what = format!(
        "`forebay serve` is already running in {} ({process})",
        folder.display()
    );
    Error::conflict("already_serving", what).with_hint(
        "stop it first; servers that share a store each need a folder of their own, `--workspace DIR`",
    )
}

/// An open workspace: everything that Forebay keeps, below one folder.
pub(crate) struct Workspace {
    folder: PathBuf,
    project: PathBuf,
    settings: Settings,
    lake: Lake,
    clock: Arc<dyn Clock>,
    engine: Arc<dyn SqlEngine>,
    /// Made when the first pipeline runs.
    lake_sql: OnceLock<Arc<Query>>,
    journals: Arc<Journals>,
}

/// Held while a pipeline or a server runs; the system releases it when the process ends in any way.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

impl Workspace {
    /// Opens the workspace of the project, making it if it is not there.
    pub(crate) async fn open(global: &Global) -> Result<Self> {
        let settings = Settings::load(&global.project)?;
        let folder = workspace_folder(global);
        Self::at(&folder, &global.project, settings).await
    }

    /// Accepts that the catalog has lost its newest transactions; returns the problem found, if any.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub(crate) async fn accept_catalog_loss(global: &Global) -> Result<Option<String>> {
        let settings = Settings::load(&global.project)?;
        let folder = workspace_folder(global);
        if settings.store.url.is_some() || !folder.exists() {
            return Ok(None);
        }
        if settings.storage.url.is_none() {
            check_store_file(&folder)?;
        }
        let url = folder.join("store.db").as_path().into();
        Store::accept_loss(&url, SystemClock::shared()).await
    }

    /// [`Self::open`] for a command that only reads: it creates neither a project nor a workspace.
    ///
    /// # Errors
    /// `NotFound` `no_project`.
    pub(crate) async fn open_existing(global: &Global) -> Result<Self> {
        let folder = workspace_folder(global);
        if folder.exists() || project::is_project(&global.project) {
            return Self::open(global).await;
        }
        Err(Error::not_found(
            "no_project",
            format!("no Forebay project in {}", global.project.display()),
        )
        .with_hint(
            "change to the project's folder or pass `--project DIR`; `forebay init` makes a project, `forebay demo` a whole example",
        ))
    }

    pub(crate) async fn at(folder: &Path, project: &Path, settings: Settings) -> Result<Self> {
        Self::at_time(folder, project, settings, SystemClock::shared()).await
    }

    /// The same by another clock.
    pub(crate) async fn at_time(
        folder: &Path,
        project: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let unusable = |error: std::io::Error| {
            Error::unavailable(
                "no_workspace",
                format!("failed to open the workspace {}", folder.display()),
            )
            .with_source(error)
            .with_hint("choose another folder with `--workspace DIR`")
        };
        match std::fs::create_dir_all(folder.join("locks")) {
            // Reading needs no locks; writing commands report their own error.
            Err(_) if folder.join("store.db").exists() => {}
            made => made.map_err(unusable)?,
        }
        let folder = folder.canonicalize().map_err(unusable)?;
        let project = project.canonicalize().map_err(unusable)?;
        let place = settings.store.place()?;
        let is_own_storage = settings.storage.url.is_none();
        private::tighten(&folder, is_own_storage);
        let is_one_folder = place.is_none() && is_own_storage;
        if is_one_folder {
            check_store_file(&folder)?;
        }
        let place = place.unwrap_or_else(|| folder.join("store.db").as_path().into());
        let store = Store::open_url(&place, clock.clone()).await?;
        private::tighten(&folder, is_own_storage);
        let (objects, root) = storage(&settings.storage, &folder, &project)?;
        let lake = match is_one_folder {
            true => Lake::in_one_folder(store, objects, root, clock.clone()),
            false => Lake::new(store, objects, root, clock.clone()),
        };
        let engine = engine(&settings);
        // The lock of a folder is of this machine; others may share a store, and only its leases show it.
        let exclusive = settings.store.url.is_none();
        let journals = Journals::new(folder.join("journal"), clock.clone());
        let journals = Arc::new(journals.in_lake(lake.clone(), exclusive));
        Ok(Self {
            folder,
            project,
            settings,
            lake,
            clock,
            engine,
            lake_sql: OnceLock::new(),
            journals,
        })
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.lake
    }

    pub(crate) fn journals(&self) -> &Arc<Journals> {
        &self.journals
    }

    pub(crate) fn project(&self) -> &Path {
        &self.project
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// The user named in the log of the catalog.
    #[expect(clippy::unused_self, reason = "a setting of the workspace in time")]
    pub(crate) fn author(&self) -> String {
        variable("USER").unwrap_or_else(|| "forebay".to_owned())
    }

    /// The catalog as other engines reach it. They bring their own credentials for a bucket.
    pub(crate) fn catalog_site(&self) -> CatalogSite {
        let files = match self.lake.root().starts_with("s3://") {
            true => self.settings.storage.s3.client_properties(&aws_variables()),
            false => BTreeMap::new(),
        };
        CatalogSite::new(self.lake.clone(), files)
    }

    /// File of the SQL shell's history.
    pub(crate) fn history(&self) -> PathBuf {
        self.folder.join("sql_history")
    }

    pub(crate) fn engine(&self) -> &Arc<dyn SqlEngine> {
        &self.engine
    }

    /// Sets the time limit of statements over that of the settings, when one is given.
    pub(crate) fn limit_statements(&mut self, timeout: Option<Span>) {
        if timeout.is_some() {
            self.settings.sql.timeout = timeout;
        }
    }

    /// SQL over the lake as it is in `as_of`.
    pub(crate) fn query(&self, as_of: AsOf) -> Query {
        Query::new(self.lake.clone(), self.query_options(as_of))
    }

    /// The same for statements that can be cancelled.
    pub(crate) fn cancellable_query(&self, as_of: AsOf, cancellation: QueryCancellation) -> Query {
        let options = QueryOptions {
            cancellation: Some(cancellation),
            ..self.query_options(as_of)
        };
        Query::new(self.lake.clone(), options)
    }

    /// The same for statements that read rows in the order of their commits.
    pub(crate) fn query_in_order(&self, as_of: AsOf) -> Query {
        let options = QueryOptions {
            threads: 1,
            ..self.query_options(as_of)
        };
        Query::new(self.lake.clone(), options)
    }

    /// SQL over the lake for the statements of pipelines, which share its memory.
    fn pipeline_sql(&self, branch: &RefName) -> Arc<dyn LakeSql> {
        let sql = self.lake_sql.get_or_init(|| {
            let options = QueryOptions {
                // A run takes as long as its rows do.
                timeout: None,
                ..self.query_options(AsOf::Head(branch.clone()))
            };
            Arc::new(Query::new(self.lake.clone(), options))
        });
        sql.clone()
    }

    /// Options of statements that change tables of a branch.
    pub(crate) fn change_options(
        &self,
        head: AsOf,
        is_forced: bool,
        cancellation: QueryCancellation,
    ) -> ChangeOptions {
        let clock = Arc::clone(&self.clock);
        ChangeOptions {
            query: QueryOptions {
                cancellation: Some(cancellation),
                ..self.query_options(head)
            },
            author: self.author(),
            commit_id: Arc::new(move || CommitId::new(clock.now(), rand::rng().random())),
            is_forced,
        }
    }

    fn query_options(&self, as_of: AsOf) -> QueryOptions {
        let payloads = forebay_pipeline::raw::RawReader::new(self.lake.objects().clone());
        let branch = match &as_of {
            AsOf::Head(branch) | AsOf::Time(branch, _) => branch.clone(),
            AsOf::Commit(_) => RefName::main(),
        };
        QueryOptions {
            branch,
            as_of: Some(as_of),
            memory_bytes: usize::try_from(self.settings.sql.memory_bytes()).unwrap_or(usize::MAX),
            payloads: Some(Arc::new(payloads::Payloads(payloads))),
            spill_dir: Some(self.spill_folder()),
            timeout: self.settings.sql.timeout.map(|timeout| timeout.0),
            ..QueryOptions::default()
        }
    }

    /// Makes sure that this process alone runs the pipeline in this workspace.
    pub(crate) fn lock(&self, pipeline: &Ident) -> Result<Lock> {
        let path = self.folder.join("locks").join(format!("{pipeline}.lock"));
        let already_running = |_: &mut File| {
            Error::conflict(
                "already_running",
                format!("the pipeline {pipeline} is running in another process"),
            )
            .with_hint("wait for it to end, or stop it")
        };
        lock_file(&path, already_running).map(Lock)
    }

    /// The same on a branch: a run there does not keep one on `main` waiting, unless both read the same journal of pushes.
    pub(crate) fn lock_on(&self, branch: &RefName, spec: &PipelineSpec) -> Result<Vec<Lock>> {
        let mut locks = Vec::new();
        if *branch == RefName::main() || spec.source.push().is_some() {
            locks.push(self.lock(&spec.name)?);
        }
        if *branch != RefName::main() {
            locks.push(self.lock_branch(branch, &spec.name)?);
        }
        Ok(locks)
    }

    fn lock_branch(&self, branch: &RefName, pipeline: &Ident) -> Result<Lock> {
        // No name of a branch has a `+`.
        let name = format!("{pipeline}@{}.lock", branch.as_str().replace('/', "+"));
        let already_running = |_: &mut File| {
            let what = format!("the pipeline {pipeline} is running on {branch} in another process");
            Error::conflict("already_running", what).with_hint("wait for it to end, or stop it")
        };
        lock_file(&self.folder.join("locks").join(name), already_running).map(Lock)
    }

    /// Where statements spill and payloads are decompressed.
    fn spill_folder(&self) -> PathBuf {
        self.folder.join("spill")
    }

    /// Makes sure that this process alone replays or discards the rejected records of the pipeline; its runs are not blocked.
    pub(crate) fn lock_replay(&self, pipeline: &Ident) -> Result<Lock> {
        let name = format!("{pipeline}.replay.lock");
        let path = self.folder.join("locks").join(name);
        let already_replaying = |_: &mut File| {
            let what = format!("a replay or discard of {pipeline} is running in another process");
            Error::conflict("already_replaying", what).with_hint("wait for it to end")
        };
        lock_file(&path, already_replaying).map(Lock)
    }

    /// Makes sure that this process alone serves the workspace. The file has its process id.
    pub(crate) fn lock_server(&self) -> Result<Lock> {
        let path = self.folder.join("serve.lock");
        let mut file = lock_file(&path, |file| already_serving(&self.folder, file))?;
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| lock_failed(&path, error))?;
        Ok(Lock(file))
    }

    pub(crate) fn run_context(
        &self,
        branch: &RefName,
        full: bool,
        cancel: &CancellationToken,
        figures: &Arc<Figures>,
    ) -> RunContext {
        let mut rng = rand::rng();
        let ids = Ids::new(rng.random());
        RunContext {
            lake: self.lake.clone(),
            engine: self.engine.clone(),
            lake_sql: self.pipeline_sql(branch),
            clock: self.clock.clone(),
            ids,
            project: self.project.clone(),
            spill: self.spill_folder(),
            branch: branch.clone(),
            owner: format!("{}-{:08x}", std::process::id(), rng.random::<u32>()),
            author: self.author(),
            cancel: cancel.child_token(),
            figures: figures.clone(),
            full,
            follow: false,
            journals: self.journals.clone(),
            // The lock is of this machine; others may share a store, and only its leases show it.
            exclusive: self.settings.store.url.is_none(),
            lease: self.settings.store.lease.0,
            aws: aws_variables(),
            payload_attempts: self.settings.run.payload_attempts,
            failpoint: None,
        }
    }
}

fn workspace_folder(global: &Global) -> PathBuf {
    let chosen = global.workspace.clone();
    chosen.unwrap_or_else(|| global.project.join(WORKSPACE))
}

/// A workspace that has lost its catalog must not start as a new one: everything would be loaded again.
///
/// Errors: `Data` `store_missing`.
fn check_store_file(folder: &Path) -> Result<()> {
    let file = folder.join("store.db");
    let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    let has_files = |name: &str| {
        let entries = std::fs::read_dir(folder.join(name));
        entries.is_ok_and(|mut entries| entries.next().is_some())
    };
    // A new store is in its write-ahead log until the first checkpoint.
    let log = std::fs::metadata(folder.join("store.db-wal")).map_or(0, |metadata| metadata.len());
    if bytes > 0 || log > 0 || !(has_files("tables") || has_files("raw")) {
        return Ok(());
    }
    let what = format!(
        "the catalog {} is missing or empty, but tables or a raw zone exist beside it",
        file.display()
    );
    Err(Error::data("store_missing", what).with_hint(format!(
        "restore store.db from a backup; to start from scratch move {0}/tables, {0}/raw, {0}/journal and {0}/store.db-mark away",
        folder.display()
    )))
}

/// The object store of raw zone and tables, and its root URL.
fn storage(
    settings: &Storage,
    folder: &Path,
    project: &Path,
) -> Result<(Arc<dyn ObjectStore>, String)> {
    let place = settings.place()?;
    match place.unwrap_or_else(|| StorageUrl::Local(folder.to_owned())) {
        StorageUrl::Local(folder) => local(&project.join(folder)),
        StorageUrl::S3 { bucket, key } => {
            let bucket_store = settings
                .s3
                .open(&bucket, &aws_variables(), settings.retry_for.0)?;
            let prefix = key.trim_end_matches('/');
            let path = object_store::path::Path::parse(prefix).map_err(|error| {
                Error::config(
                    "bad_storage_url",
                    format!("{prefix:?} cannot be a prefix of keys"),
                )
                .with_source(error)
            })?;
            if path.as_ref().is_empty() {
                return Ok((bucket_store, format!("s3://{bucket}")));
            }
            let root = format!("s3://{bucket}/{path}");
            Ok((Arc::new(PrefixStore::new(bucket_store, path)), root))
        }
    }
}

fn local(folder: &Path) -> Result<(Arc<dyn ObjectStore>, String)> {
    let unusable = || {
        Error::unavailable(
            "no_storage",
            format!("failed to open the storage {}", folder.display()),
        )
    };
    std::fs::create_dir_all(folder).map_err(|error| unusable().with_source(error))?;
    let folder = folder
        .canonicalize()
        .map_err(|error| unusable().with_source(error))?;
    let objects =
        LocalFileSystem::new_with_prefix(&folder).map_err(|error| unusable().with_source(error))?;
    Ok((Arc::new(objects), url(&folder)?))
}

/// `file:///a/b` of an absolute folder.
fn url(folder: &Path) -> Result<String> {
    let text = folder.to_str().ok_or_else(|| {
        Error::unsupported(
            "bad_folder_name",
            format!("the workspace's path {} is not UTF-8", folder.display()),
        )
    })?;
    Ok(format!("file://{text}"))
}

mod private {
    //! Only the owner may read a workspace: it holds all pushed data.

    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    /// Folders and files of a workspace, those in it follow.
    const FOLDERS: [&str; 6] = ["journal", "raw", "tables", "spill", "locks", "owner"];
    const FILES: [&str; 5] = [
        "store.db",
        "store.db-mark",
        "store.db-wal",
        "store.db-shm",
        "sql_history",
    ];

    /// Makes our files private, and new files of this process too if its tables are in the workspace: tables
    /// elsewhere may be meant for other users.
    pub(super) fn tighten(workspace: &Path, is_own_storage: bool) {
        if is_own_storage {
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        }
        set_mode(workspace, 0o700);
        for folder in FOLDERS {
            set_mode(&workspace.join(folder), 0o700);
        }
        for file in FILES {
            set_mode(&workspace.join(file), 0o600);
        }
    }

    /// Only files that are open to others and belong to this user. A workspace of somebody else stays as it is.
    fn set_mode(path: &Path, mode: u32) {
        let Ok(metadata) = std::fs::symlink_metadata(path) else {
            return;
        };
        let is_open = metadata.mode() & 0o077 != 0;
        let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_open || !is_ours || metadata.is_symlink() {
            return;
        }
        if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(mode)) {
            tracing::warn!(%error, path = %path.display(), "failed to make the workspace private");
        }
    }
}

mod payloads {
    //! Payloads of the raw zone for `SELECT payload FROM raw.…`.

    use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
    use async_trait::async_trait;
    use forebay_core::Result;
    use forebay_pipeline::raw::RawReader;

    /// A payload longer than this is not shown in SQL; it is an error that names it.
    const PAYLOAD_BYTES_MAX: u64 = 64 << 20;

    #[derive(Debug)]
    pub(super) struct Payloads(pub(super) RawReader);

    #[async_trait]
    impl forebay_query::PayloadReader for Payloads {
        async fn read(&self, index_rows: &RecordBatch) -> Result<ArrayRef> {
            let mut payloads = Vec::with_capacity(index_rows.num_rows());
            for entry in self.0.entries(index_rows)? {
                payloads.push(self.0.read(&entry, PAYLOAD_BYTES_MAX).await?);
            }
            Ok(std::sync::Arc::new(BinaryArray::from_iter_values(payloads)))
        }
    }
}
