//! `forebay branch`: branches of the catalog. Creating one copies nothing.

mod changes;

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use clap::Subcommand;
use forebay_core::{Error, RefName, Result};
use forebay_store::Branch as CatalogBranch;

use super::states::start_state;
use crate::options::Global;
use crate::wire::Workspace;
use crate::{output, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Branch {
    /// List branches with their base
    Ls,
    /// Create a branch
    Create {
        /// Name of the new branch
        name: RefName,
        /// What to start from: a branch or tag as it is now, a commit of `lake.commits`, or a time (RFC 3339) on `main`
        #[arg(long, value_name = "BRANCH|COMMIT|TIME", default_value = "main")]
        from: String,
    },
    /// Show what a branch changed: tables, rows, columns and positions
    Diff {
        /// Name of the branch
        name: RefName,
        /// The branch to compare it with
        #[arg(long, default_value = "main")]
        against: RefName,
    },
    /// Bring the changes of a branch into another, in one commit, all or none
    Merge {
        /// Name of the branch
        name: RefName,
        /// The branch that gets the changes
        #[arg(long, default_value = "main")]
        into: RefName,
        /// Show what would be merged, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Drop a branch; its files go with the next `forebay tables clean`
    Drop {
        /// Name of the branch
        name: RefName,
    },
}

impl Branch {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open_existing(global).await?;
        let store = workspace.lake().store();
        match self {
            Self::Ls => {
                let mut branches = store.branches().await?;
                branches.retain(|one| !one.is_tag);
                let batch = list(&branches)?;
                output::print(global.format, batch.schema(), &[batch])?;
            }
            Self::Create { name, from } => {
                store.create_branch_at(&name, &start_state(&from)?).await?;
                say::good(format_args!("created branch {name} from {from}"));
            }
            Self::Diff { name, against } => {
                let changes = workspace.lake().branch_changes(&name, &against).await?;
                changes::print(&changes, global)?;
            }
            Self::Merge {
                name,
                into,
                dry_run,
            } => return changes::merge(&workspace, (&name, &into), dry_run, global).await,
            Self::Drop { name } => {
                store.drop_branch(&name).await?;
                say::good(format_args!("dropped branch {name}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(branches: &[CatalogBranch]) -> Result<RecordBatch> {
    let text = |get: &dyn Fn(&CatalogBranch) -> Option<String>| {
        Arc::new(StringArray::from_iter(branches.iter().map(get))) as ArrayRef
    };
    let base_commit = |branch: &CatalogBranch| {
        let (_, commit) = branch.base.as_ref()?;
        commit.map(|commit| commit.to_string())
    };
    let columns = [
        ("branch", text(&|branch| Some(branch.name.to_string()))),
        (
            "base",
            text(&|branch| branch.base.as_ref().map(|(name, _)| name.to_string())),
        ),
        ("base_commit", text(&base_commit)),
        (
            "head",
            text(&|branch| branch.head.map(|head| head.to_string())),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .map_err(|error| Error::bug("branch_batch", "failed to list branches").with_source(error))
}
