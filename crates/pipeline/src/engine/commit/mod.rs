//! One commit of a pipeline: everything that becomes visible together.
//!
//! Rows of data tables, raw index, quarantine, requests, contract and positions are collected in a [`CommitUnit`], which is
//! the only caller of [`forebay_lake::Lake::commit`] in this crate. When another database commits the rows, the lake's part goes there too,
//! as an [`outbox`]. [`heads`] commits changes of whole tables.

pub(crate) mod heads;
pub(crate) mod loaders;
pub(crate) mod outbox;
pub(crate) mod tables;

use arrow::array::RecordBatch;
use forebay_core::{CommitId, Ident, Position, PositionObject, RefName, Result, RunId, TableName};
use forebay_lake::{CommitRequest, Draft, WriterOptions};
use forebay_store::{Lease, PositionMove};
use object_store::path::Path;
use tokio::runtime::Handle;

use super::{CommitStep, RunContext};
use outbox::Outbox;
use tables::Tables;

/// Collects one commit after another.
pub(in crate::engine) struct CommitUnit {
    context: RunContext,
    pub(in crate::engine) tables: Tables,
    /// The lake's part of the next commit of a target that keeps its own positions.
    outbox: Option<Outbox>,
    /// Whole changes of tables for the next commit.
    drafts: Vec<Draft>,
}

/// The description of a commit, and the positions that it moves.
#[derive(Debug, Default)]
pub(in crate::engine) struct CommitNote {
    pub(in crate::engine) message: String,
    pub(in crate::engine) run: Option<RunId>,
    pub(in crate::engine) positions: Vec<PositionMove>,
}

/// A commit whose files are complete.
#[derive(Debug, Default)]
pub(in crate::engine) struct SealedCommit {
    drafts: Vec<Draft>,
}

impl SealedCommit {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    pub(in crate::engine) fn tables(&self) -> impl Iterator<Item = &TableName> {
        self.drafts.iter().map(Draft::name)
    }
}

impl CommitUnit {
    /// Collects commits to the branch of the context.
    pub(in crate::engine) fn new(context: &RunContext, pipeline: &Ident, runtime: &Handle) -> Self {
        let tables = Tables::new(
            context.lake.clone(),
            context.branch.clone(),
            pipeline.clone(),
            runtime.clone(),
        );
        Self {
            context: context.clone(),
            tables,
            outbox: None,
            drafts: Vec::new(),
        }
    }

    /// Collects commits to another branch.
    pub(in crate::engine) fn on_branch(
        context: &RunContext,
        branch: &RefName,
        pipeline: &Ident,
        runtime: &Handle,
    ) -> Self {
        let context = RunContext {
            branch: branch.clone(),
            ..context.clone()
        };
        Self::new(&context, pipeline, runtime)
    }

    /// Collects an outbox too, for the commits of a target that keeps its own positions.
    pub(in crate::engine) fn with_outbox(mut self, pipeline: &Ident, split: &Ident) -> Self {
        self.outbox = Some(Outbox::new(
            self.context.lake.clone(),
            self.tables.runtime().clone(),
            self.context.ids.clone(),
            pipeline,
            split,
        ));
        self
    }

    /// Passes a step of a commit.
    ///
    /// Errors: those of a failpoint, in tests.
    pub(in crate::engine) fn reach(&self, step: CommitStep) -> Result<()> {
        self.tables.runtime().block_on(self.context.reach(step))
    }

    /// What is added from here on goes into the lake only, until the outbox is [put back](Self::restore_outbox): the target has
    /// nothing to commit with it.
    pub(in crate::engine) fn take_outbox(&mut self) -> Option<Outbox> {
        self.outbox.take()
    }

    pub(in crate::engine) fn restore_outbox(&mut self, outbox: Option<Outbox>) {
        self.outbox = outbox;
    }

    /// Adds rows to a table of the pipeline's own.
    pub(in crate::engine) fn add(&mut self, table: &TableName, rows: &RecordBatch) -> Result<()> {
        if let Some(outbox) = &mut self.outbox {
            outbox.add(table, rows, None)?;
        }
        self.tables
            .write(table, rows, &[], &WriterOptions::default())
    }

    /// Adds rows to the file of a raw object's index.
    pub(in crate::engine) fn add_index(
        &mut self,
        table: &TableName,
        rows: &RecordBatch,
        path: &Path,
    ) -> Result<()> {
        if let Some(outbox) = &mut self.outbox {
            outbox.add(table, rows, Some(path))?;
        }
        // Files referenced by an outbox may still be committed by a later run.
        let has_table_id = self.outbox.is_none();
        self.tables.write_at(table, rows, path, has_table_id)
    }

    /// Replaces a property that is `expected` by now; returns whether the table exists. The commit fails if another writer
    /// changes the property first.
    ///
    /// Errors: `Conflict` `property_moved` when that has happened.
    pub(in crate::engine) fn replace_property(
        &mut self,
        table: &TableName,
        key: &str,
        value: &str,
        expected: Option<&str>,
    ) -> Result<bool> {
        if !self.tables.set_property(table, key, value)? {
            return Ok(false);
        }
        self.tables.expect_property(table, key, expected)?;
        if let Some(outbox) = &mut self.outbox {
            outbox.set_property(table, key, value, expected);
        }
        Ok(true)
    }

    /// Carries a copy of each object that this commit's position references first, where the target commits before the lake:
    /// until the lake's part is made no position of the catalog references them.
    pub(in crate::engine) fn keep_objects(&mut self, objects: Vec<PositionObject>) -> Result<()> {
        let Some(outbox) = &mut self.outbox else {
            return Ok(());
        };
        objects
            .into_iter()
            .try_for_each(|object| outbox.keep_object(object))
    }

    /// The lake's part of the commit, for the target; empty without an outbox.
    pub(in crate::engine) fn outbox_text(&self, message: &str) -> Result<Vec<u8>> {
        let text = self.outbox.as_ref().map(|outbox| outbox.text(message));
        Ok(text.transpose()?.unwrap_or_default())
    }

    /// Adds changes whose files are complete.
    pub(in crate::engine) fn add_drafts(&mut self, drafts: Vec<Draft>) {
        self.drafts.extend(drafts);
    }

    /// Discards everything since the last commit, and deletes its files.
    pub(in crate::engine) fn discard(&mut self) {
        self.outbox = None;
        self.tables.discard();
        for draft in std::mem::take(&mut self.drafts) {
            self.tables.runtime().block_on(draft.discard());
        }
    }

    /// Closes every file. Nothing is visible before [`Self::commit`].
    pub(in crate::engine) fn seal(&mut self) -> Result<SealedCommit> {
        let mut drafts = self.tables.finish()?;
        drafts.append(&mut self.drafts);
        Ok(SealedCommit { drafts })
    }

    /// Makes everything visible. Blocks.
    pub(in crate::engine) fn commit(
        &mut self,
        sealed: SealedCommit,
        note: CommitNote,
    ) -> Result<CommitId> {
        let runtime = self.tables.runtime().clone();
        runtime.block_on(commit(&self.context, sealed, note))
    }

    /// Starts the next outbox: the lake's part is committed.
    pub(in crate::engine) fn clear_outbox(&mut self) {
        if let Some(outbox) = &mut self.outbox {
            outbox.clear();
        }
    }
}

/// Makes a sealed commit, or one of positions only.
pub(in crate::engine) async fn commit(
    context: &RunContext,
    sealed: SealedCommit,
    note: CommitNote,
) -> Result<CommitId> {
    let id = context.ids.make_commit(context.clock.as_ref());
    tracing::Span::current().record("commit", tracing::field::display(id));
    let request = CommitRequest {
        id,
        branch: context.branch.clone(),
        author: context.author.clone(),
        message: note.message,
        run: note.run,
        drafts: sealed.drafts,
        positions: note.positions,
    };
    context.lake.commit(request).await.map(|_| id)
}

/// Moves a leased split to a position; the commit fails unless the lease is still held and nobody else has moved it.
pub(in crate::engine) fn move_position(
    pipeline: &Ident,
    split: &Ident,
    lease: &Lease,
    position: Position,
) -> PositionMove {
    PositionMove::next(pipeline.clone(), split.clone(), lease, position)
}
