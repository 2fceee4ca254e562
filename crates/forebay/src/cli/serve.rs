//! `forebay serve`: every pipeline of the project in one process, and the HTTP server.

mod clean;
mod compact;
mod listing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use forebay_control::orchestrate::{LastRun, Registry, Site, Supervisor};
use forebay_core::{Error, Ident, RefName, Result};
use forebay_pipeline::engine::Figures;
use forebay_pipeline::platform::query::noted_definition;
use forebay_pipeline::spec::PipelineSpec;
use forebay_server::{Access, Listening, Probe, State, TlsFiles};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::run::{param, stop_on_signal};
use crate::options::Global;
use crate::settings::{ProcessVariables, ServerTls};
use crate::wire::Workspace;
use crate::{project, say};

#[derive(Debug, Args)]
#[command(
    after_help = "A changed pipeline file is applied at the next commit; an invalid one keeps the old version in use.\n\
        SIGTERM or ctrl-c: no more pushes are accepted, every pipeline makes its last commit, the process ends."
)]
pub(crate) struct Serve {
    /// Address and port of the HTTP server [default: `server.listen` of forebay.toml, 127.0.0.1:7400]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Listen beyond loopback without TLS: a proxy in front of the server terminates it [default: `server.insecure` of forebay.toml]
    #[arg(long)]
    insecure: bool,
    /// The branch of the catalog that the pipelines run on
    #[arg(long, default_value = "main")]
    branch: RefName,
    /// A value for `${param:NAME}`
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
}

impl Serve {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Arc::new(Workspace::open(global).await?);
        workspace
            .lake()
            .store()
            .check_writable(&self.branch)
            .await?;
        let _alone = workspace.lock_server()?;
        let address = self
            .listen
            .clone()
            .unwrap_or_else(|| workspace.settings().server.listen.clone());
        let settings = workspace.settings().server.clone();
        let listening = forebay_server::listen(&address).await?;
        let mut listening = listening.with_connections(files_max() / 2);
        let is_local = listening.address.ip().is_loopback();
        if !is_local && settings.tls.is_none() && !self.insecure && !settings.insecure {
            return Err(no_tls(&address));
        }
        if let Some(ServerTls { cert, key }) = &settings.tls {
            let files = TlsFiles {
                certificate: workspace.project().join(cert),
                key: workspace.project().join(key),
            };
            listening = listening.with_tls(files, None)?;
        }
        let scheme = if settings.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = format!("{scheme}://{}", listening.address);
        let stop = stop_on_signal();
        if !global.quiet {
            say::good(format_args!("listening on {url}"));
        }
        let running = Running::start(
            workspace.clone(),
            listening,
            ServedProject {
                branch: self.branch.clone(),
                params: self.params,
            },
            stop.clone(),
        )
        .await;
        if !global.quiet {
            listing::say(&running.registry, &url);
        }
        let cleaning = tokio::spawn(clean::regularly(workspace.clone(), stop.clone()));
        // A merge adds the files that a branch appended, so these stay as they are.
        let compacting = (self.branch == RefName::main())
            .then(|| tokio::spawn(compact::regularly(workspace, stop)));
        let unfinished = running.until_stopped().await?;
        // The next clean-up deletes the rest.
        cleaning.abort();
        // The next one begins again; files that were not committed are orphans.
        if let Some(compacting) = compacting {
            compacting.abort();
        }
        if unfinished.is_empty() && !global.quiet {
            say::good("all pipelines have committed");
        }
        for pipeline in unfinished {
            say::warn(format_args!(
                "{pipeline}: the last commit took too long; the next start continues at the commit before it"
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What pipelines run with.
pub(super) struct ServedProject {
    pub(super) branch: RefName,
    pub(super) params: Vec<(String, String)>,
}

impl ServedProject {
    pub(super) fn on_main() -> Self {
        Self {
            branch: RefName::main(),
            params: Vec::new(),
        }
    }
}

/// A server and the pipelines of its project, until it is stopped.
pub(super) struct Running {
    workspace: Arc<Workspace>,
    registry: Registry,
    supervisor: Supervisor<Project>,
    server: JoinHandle<()>,
}

impl Running {
    /// Loads the pipelines and accepts callers.
    pub(super) async fn start(
        workspace: Arc<Workspace>,
        listening: Listening,
        served: ServedProject,
        stop: CancellationToken,
    ) -> Self {
        let is_local = listening.address.ip().is_loopback();
        let registry = Registry::default();
        let site = Arc::new(Project {
            workspace: workspace.clone(),
            variables: ProcessVariables {
                params: served.params,
            },
            branch: served.branch,
            is_local,
        });
        let settings = workspace.settings().server.clone();
        let state = State::new(
            registry.clone(),
            workspace.journals().clone(),
            workspace.clock(),
            Box::new(Store(workspace.clone())),
            stop.clone(),
            Access {
                is_local,
                hosts: settings.hosts,
                status_token: settings.status_token,
                catalog_token: settings.catalog_token,
            },
        )
        .with_catalog(workspace.catalog_site());
        let clock = workspace.clock();
        let mut supervisor = Supervisor::new(site, clock, registry.clone(), stop.clone());
        // A push before the pipelines are loaded would get 404.
        supervisor.look().await;
        let server = listening.serve(forebay_server::router(state), stop);
        Self {
            workspace,
            registry,
            supervisor,
            server: tokio::spawn(server),
        }
    }

    /// Gives the pipelines whose last commit was not made.
    pub(super) async fn until_stopped(self) -> Result<Vec<Ident>> {
        let unfinished = self.supervisor.run().await;
        self.server.await.map_err(|error| {
            Error::bug("server_panicked", "the HTTP server panicked").with_source(error)
        })?;
        self.workspace.journals().close().await;
        Ok(unfinished)
    }
}

/// Credentials and data would cross the network as they are.
fn no_tls(address: &str) -> Error {
    let what = format!("other machines reach {address}, and the server has no TLS");
    Error::config("no_tls", what).with_hint(
        "set `cert` and `key` in `[server.tls]` of forebay.toml; where a proxy terminates TLS, start with `--insecure` or set `insecure = true` in `[server]`",
    )
}

/// How many files the process may have open, after raising the limit as far as allowed. Callers get half of them: the other half
/// is for the journals, the store and the tables.
fn files_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    let maximum = limit.maximum;
    // Refused or not, the limit in force is read again.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    let files = getrlimit(Resource::Nofile).current;
    files.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}

/// Newest runs of a pipeline among which the last one of a branch is searched.
const RUNS_SEARCHED_MAX: u32 = 200;

/// The project as the supervisor sees it.
struct Project {
    workspace: Arc<Workspace>,
    variables: ProcessVariables,
    branch: RefName,
    /// Whether only this machine reaches the server.
    is_local: bool,
}

#[async_trait]
impl Site for Project {
    fn files(&self) -> Result<Vec<PathBuf>> {
        project::pipelines(self.workspace.project())
    }

    fn stamp(&self, file: &Path) -> Result<String> {
        project::stamp(file)
    }

    fn load(&self, file: &Path) -> Result<PipelineSpec> {
        let variables = &self.variables;
        let engine = self.workspace.engine();
        let spec = project::load_or_error_without_lines(file, variables, engine)?;
        let open = spec.source.push().is_some_and(|push| push.auth.is_none());
        if open && !self.is_local {
            let what = format!(
                "{}: `source.push` has no `auth`, and other machines reach this server",
                file.display()
            );
            return Err(Error::config("open_door", what)
                .with_hint("give it `auth: {token: \"${secret:NAME}\"}`, or listen on 127.0.0.1"));
        }
        Ok(spec)
    }

    async fn last_run(&self, pipeline: &Ident) -> Result<Option<LastRun>> {
        let store = self.workspace.lake().store();
        let runs = store.runs(Some(pipeline), RUNS_SEARCHED_MAX).await?;
        let Some(run) = runs.iter().find(|run| run.branch == self.branch) else {
            return Ok(None);
        };
        let positions = store.positions(&self.branch, pipeline).await?;
        let mut digests = positions
            .iter()
            .filter_map(|(_, _, position)| noted_definition(position));
        Ok(Some(LastRun {
            begun: run.started_at,
            digest: digests.next(),
        }))
    }

    async fn run(
        &self,
        spec: Arc<PipelineSpec>,
        figures: Arc<Figures>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let _alone = self.workspace.lock_on(&self.branch, &spec)?;
        let mut context = self
            .workspace
            .run_context(&self.branch, false, &cancel, &figures);
        context.follow = true;
        forebay_pipeline::engine::run(spec, context).await.map(drop)
    }
}

/// Whether the store answers.
struct Store(Arc<Workspace>);

impl Probe for Store {
    fn probe(&self) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send + '_>> {
        Box::pin(async move { self.0.lake().store().branches().await.map(drop) })
    }
}
