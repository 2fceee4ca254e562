//! `forebay branch`: branches of the catalog. Creating one copies nothing.

mod changes;

use std::process::ExitCode;

use arrow::array::RecordBatch;
use clap::Subcommand;
use forebay_core::{RefName, Result};
use forebay_store::Branch as CatalogBranch;

use super::states::start_state;
use crate::options::Global;
use crate::output::texts;
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
    output::list(vec![
        ("branch", texts(branches, |one| Some(one.name.to_string()))),
        (
            "base",
            texts(branches, |one| Some(one.base.as_ref()?.0.to_string())),
        ),
        (
            "base_commit",
            texts(branches, |one| Some(one.base.as_ref()?.1?.to_string())),
        ),
        ("head", texts(branches, |one| Some(one.head?.to_string()))),
    ])
}
