//! Write-audit-publish: work of a pipeline with `checks` lands on a branch of its own, and is merged in one commit once they pass.
//!
//! The branch starts as a copy of the target and stays until it is published, so an interrupted load goes on where it ended, and one whose
//! checks failed can be looked at, and published after a correction without being read again. What is merged is exactly the state that was
//! checked. Never deletes a branch whose rows are not published.

mod evaluate;

pub use evaluate::CHECK_STEP;

use evaluate::evaluate_checks;
use forebay_core::{Error, Ident, RefName, Result};
use forebay_lake::{Lake, MergeRequest};
use forebay_store::{AsOf, StepRecord};

use crate::engine::RunContext;
use crate::spec::PipelineSpec;

/// Code of the error for a branch that is there.
const BRANCH_EXISTS: &str = "branch_exists";

/// Does `work`: of a pipeline with checks on its branch, which is published then. `steps` gets one for each check.
///
/// Errors: those of `work`; `Data` `checks_failed`; `Conflict` `merge_conflict` when the target was changed in the same place.
pub(super) async fn publish_checked<T>(
    spec: &PipelineSpec,
    context: &RunContext,
    work: impl AsyncFnOnce(&RunContext) -> Result<T>,
    steps: &mut Vec<StepRecord>,
) -> Result<T> {
    if spec.checks.is_empty() {
        return work(context).await;
    }
    let publication = Publication::begin(spec, context).await?;
    let done = work(&publication.context).await?;
    if !context.cancel.is_cancelled() {
        publication.publish(steps).await?;
    }
    Ok(done)
}

/// The branch of a pipeline on its way to the target.
struct Publication<'a> {
    spec: &'a PipelineSpec,
    target: &'a RefName,
    /// On the branch.
    context: RunContext,
}

impl<'a> Publication<'a> {
    /// Makes the branch, or brings one that was not published up to date.
    async fn begin(spec: &'a PipelineSpec, context: &'a RunContext) -> Result<Self> {
        let branch = branch_of(&context.branch, &spec.name)?;
        let publication = Self {
            spec,
            target: &context.branch,
            context: RunContext {
                branch,
                ..context.clone()
            },
        };
        let from = AsOf::Head(context.branch.clone());
        let made = publication
            .store()
            .create_branch_at(publication.branch(), &from);
        match made.await {
            Err(error) if error.code() == BRANCH_EXISTS => publication.catch_up().await?,
            made => drop(made?),
        }
        Ok(publication)
    }

    async fn publish(&self, steps: &mut Vec<StepRecord>) -> Result<()> {
        if self.has_changes().await? {
            self.catch_up().await?;
            let checked = evaluate_checks(&self.context, &self.spec.checks).await?;
            steps.extend(checked.steps());
            checked.refuse_failed(self.branch(), self.target)?;
            let merge = MergeRequest {
                source_head: Some(checked.commit),
                ..self.merge_request(self.branch(), self.target)
            };
            self.lake().merge_branch(&merge).await?;
        }
        self.store().drop_branch(self.branch()).await
    }

    async fn has_changes(&self) -> Result<bool> {
        let sides = self.store().merge_sides(self.branch(), self.target).await?;
        Ok(!sides.tables.is_empty() || !sides.splits.is_empty())
    }

    /// Brings what others changed on the target into the branch, so that checks see what will be published.
    async fn catch_up(&self) -> Result<()> {
        let merge = self.merge_request(self.target, self.branch());
        let merged = self.lake().merge_branch(&merge).await;
        merged.map(drop).map_err(|error| self.with_remedy(error))
    }

    fn merge_request(&self, source: &RefName, target: &RefName) -> MergeRequest {
        let context = &self.context;
        MergeRequest {
            id: context.ids.make_commit(context.clock.as_ref()),
            source: source.clone(),
            source_head: None,
            target: target.clone(),
            author: context.author.clone(),
            owner: context.owner.clone(),
            lease: context.lease,
        }
    }

    /// The error with what to do about a branch that no longer fits the target.
    fn with_remedy(&self, error: Error) -> Error {
        if error.code() != forebay_lake::MERGE_CONFLICT {
            return error;
        }
        let branch = self.branch();
        error.with_hint(format!(
            "branch {branch} has a load of this pipeline that is not published, and {} was changed in the same place since; to load it \
             again: forebay branch drop {branch}",
            self.target
        ))
    }

    fn branch(&self) -> &RefName {
        &self.context.branch
    }

    fn lake(&self) -> &Lake {
        &self.context.lake
    }

    fn store(&self) -> &forebay_store::Store {
        self.lake().store()
    }
}

/// `checks/orders`; `checks/staging/orders` for a pipeline that is run on `staging`.
///
/// Errors: `Config` `bad_ref_name` when the name is too long.
fn branch_of(target: &RefName, pipeline: &Ident) -> Result<RefName> {
    let name = match *target == RefName::main() {
        true => format!("checks/{pipeline}"),
        false => format!("checks/{target}/{pipeline}"),
    };
    name.parse()
}
