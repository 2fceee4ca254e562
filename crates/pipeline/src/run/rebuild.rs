//! Makes the tables of a pipeline again from its raw zone, on a branch of their own.
//!
//! The branch has the same base as the branch it is compared with, its tables start empty, and nothing that exists is
//! touched: whoever likes the result can compare, query and keep it. The pipeline may be at work meanwhile: what it commits is behind
//! the base.

use std::sync::Arc;

use forebay_core::{CommitId, Error, RefName, Result, TableName};
use forebay_lake::CommitRequest;
use forebay_store::{Change, Commit, HeadChange};
use futures::TryStreamExt;
use tokio::runtime::Handle;

use super::again::{self, Again};
use super::steps::Steps;
use super::tables::{self, Tables};
use super::{RunContext, random, scan};
use crate::extract::Extracted;
use crate::file::PipelineSpec;
use crate::load::iceberg::IcebergTarget;
use crate::raw::{Parts, RawEntry};

/// What a rebuild made.
#[derive(Debug, Clone)]
pub struct Rebuilt {
    pub branch: RefName,
    /// The commit whose raw zone was read: what the tables are to be compared with. `None` when there was none.
    pub base: Option<CommitId>,
    /// The main table and its children, as they are on both branches together.
    pub tables: Vec<TableName>,
    pub payloads: u64,
    pub rows: u64,
    pub rejected: u64,
}

/// Rebuilds the tables of `spec` from the raw zone as it is on `context.branch`.
///
/// Errors: `Unsupported` for a pipeline that does not load into the lake; `NotFound` when its raw zone is empty.
pub async fn rebuild(spec: Arc<PipelineSpec>, context: RunContext) -> Result<Rebuilt> {
    let runtime = Handle::current();
    let blocking = tokio::task::spawn_blocking(move || Rebuild::new(spec, context, runtime)?.run());
    blocking.await.unwrap_or_else(|error| {
        Err(Error::bug("rebuild_panicked", "the rebuild panicked").with_source(error))
    })
}

struct Rebuild {
    spec: Arc<PipelineSpec>,
    target: IcebergTarget,
    context: RunContext,
    runtime: Handle,
    branch: RefName,
    tables: Tables,
    steps: Steps,
    payloads: u64,
    rows: u64,
    rejected: u64,
}

/// The branch of a rebuild before anything is written to it.
struct StartedBranch {
    base: Option<CommitId>,
    /// The pipeline's tables, which it lacks.
    dropped: Vec<TableName>,
}

impl Rebuild {
    fn new(spec: Arc<PipelineSpec>, context: RunContext, runtime: Handle) -> Result<Self> {
        let target = again::target(&spec)?;
        let id = CommitId::new(context.clock.now(), random(context.seed, 2));
        let branch: RefName = format!("rebuild/{}-{id}", spec.name).parse()?;
        let tables = Tables::new(context.lake.clone(), branch.clone(), runtime.clone());
        let steps = Steps::new(spec.clone(), &context.engine);
        Ok(Self {
            spec,
            target,
            context,
            runtime,
            branch,
            tables,
            steps,
            payloads: 0,
            rows: 0,
            rejected: 0,
        })
    }

    /// Rebuilds; a rebuild that fails leaves no branch behind.
    fn run(self) -> Result<Rebuilt> {
        let (lake, runtime) = (self.context.lake.clone(), self.runtime.clone());
        let branch = self.branch.clone();
        let rebuilt = self.rebuilt();
        if rebuilt.is_err() {
            let dropped = runtime.block_on(lake.store().drop_branch(&branch));
            if let Err(error) = dropped {
                tracing::debug!(%error, %branch, "failed to drop the branch of a failed rebuild");
            }
        }
        rebuilt
    }

    fn rebuilt(mut self) -> Result<Rebuilt> {
        let raw = tables::raw(&self.spec.name)?;
        let started = self.start_branch()?;
        let mut index =
            self.runtime
                .block_on(scan::rows(&self.context.lake, &self.branch, &raw))?;
        let again = Again::new(&self.context, self.runtime.clone());
        let taken = super::taken_tables(&self.context, &self.spec);
        let taken = self.runtime.block_on(taken)?;
        let mut extraction = self.spec.extraction_beside(None, taken)?;
        let mut parts = Parts::default();
        let mut payload = |rebuild: &mut Self, parts: Option<Vec<RawEntry>>| -> Result<()> {
            let Some(parts) = parts else { return Ok(()) };
            let ordinal = rebuild.payloads;
            rebuild.payloads += 1;
            let mut take = |out| rebuild.take(out);
            again.extract(extraction.as_mut(), &parts, ordinal, &mut take)
        };
        while let Some(batch) = self.runtime.clone().block_on(index.try_next())? {
            for entry in again.reader().entries(&batch)? {
                payload(&mut self, parts.push(entry))?;
            }
        }
        payload(&mut self, parts.finish())?;
        let mut out = Extracted::default();
        extraction.flush(&mut out)?;
        self.take(out)?;
        if self.payloads == 0 {
            return Err(Error::not_found(
                "raw_empty",
                format!("the raw zone of {} is empty", self.spec.name),
            )
            .with_hint(format!("forebay run {}", self.spec.name)));
        }
        self.finish(started)
    }

    /// Makes the branch and drops the pipeline's tables on it.
    fn start_branch(&self) -> Result<StartedBranch> {
        let store = self.context.lake.store();
        self.runtime.block_on(async {
            let branch = store
                .create_branch(&self.branch, &self.context.branch)
                .await?;
            let (lake, main) = (&self.context.lake, &self.target.table);
            let mine = tables::owned_heads(lake, &self.branch, main).await?;
            let names = mine.iter().map(|head| head.table.clone()).collect();
            if !mine.is_empty() {
                let heads = mine.into_iter().map(|head| HeadChange {
                    table: head.table,
                    uuid: head.uuid,
                    expected: Some(head.metadata_location),
                    change: Change::Drop,
                });
                store.commit(self.drop_commit(heads.collect())).await?;
            }
            Ok(StartedBranch {
                base: branch.base.and_then(|(_, commit)| commit),
                dropped: names,
            })
        })
    }

    fn drop_commit(&self, heads: Vec<HeadChange>) -> Commit {
        Commit {
            id: CommitId::new(self.context.clock.now(), random(self.context.seed, 3)),
            branch: self.branch.clone(),
            author: self.context.author.clone(),
            message: format!("{}: start again from the raw zone", self.spec.name),
            run: None,
            heads,
            positions: Vec::new(),
        }
    }

    fn take(&mut self, out: Extracted) -> Result<()> {
        self.rejected += out.rejected.len() as u64;
        for batch in out.batches {
            let child = batch.child.clone();
            let (batch, refused) = self.runtime.block_on(self.steps.apply(batch))?;
            self.rejected += refused.len() as u64;
            if batch.records.num_rows() == 0 {
                continue;
            }
            self.rows += batch.records.num_rows() as u64;
            self.tables
                .write_rows(&self.target, &child, &batch.records)?;
        }
        Ok(())
    }

    fn finish(mut self, started: StartedBranch) -> Result<Rebuilt> {
        let drafts = self.tables.finish()?;
        let mut tables = drafts
            .iter()
            .map(|draft| draft.name().clone())
            .chain(started.dropped)
            .collect::<Vec<_>>();
        tables.sort();
        tables.dedup();
        let request = CommitRequest {
            id: CommitId::new(self.context.clock.now(), random(self.context.seed, 4)),
            branch: self.branch.clone(),
            author: self.context.author.clone(),
            message: format!("{}: {} rows from the raw zone", self.spec.name, self.rows),
            run: None,
            drafts,
            positions: Vec::new(),
        };
        self.runtime.block_on(self.context.lake.commit(request))?;
        Ok(Rebuilt {
            branch: self.branch,
            base: started.base,
            tables,
            payloads: self.payloads,
            rows: self.rows,
            rejected: self.rejected,
        })
    }
}
