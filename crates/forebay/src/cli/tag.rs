//! `forebay tag`: names for states of the lake that never move.

use std::process::ExitCode;

use arrow::array::RecordBatch;
use clap::Subcommand;
use forebay_core::{RefName, Result};
use forebay_store::Branch;

use super::states::start_state;
use crate::options::Global;
use crate::output::texts;
use crate::wire::Workspace;
use crate::{output, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Tag {
    /// List tags with their commits
    Ls,
    /// Name a state of the lake; it is kept and can be read as long as the tag exists
    Create {
        /// Name of the new tag
        name: RefName,
        /// The state: a branch as it is now, a commit of `lake.commits`, or a time (RFC 3339) on `main`
        #[arg(long, value_name = "BRANCH|COMMIT|TIME", default_value = "main")]
        at: String,
    },
    /// Drop a tag; its state is kept only as long as any other
    Drop {
        /// Name of the tag
        name: RefName,
    },
}

impl Tag {
    pub(super) async fn run(self, global: &Global) -> Result<ExitCode> {
        let workspace = Workspace::open_existing(global).await?;
        let store = workspace.lake().store();
        match self {
            Self::Ls => {
                let mut tags = store.branches().await?;
                tags.retain(|one| one.is_tag);
                let batch = list(&tags)?;
                output::print(global.format, batch.schema(), &[batch])?;
            }
            Self::Create { name, at } => {
                let tag = store.create_tag(&name, &start_state(&at)?).await?;
                let commit = tag.head.map(|commit| commit.to_string());
                let commit = commit.unwrap_or_else(|| "the empty lake".to_owned());
                say::good(format_args!("tagged {commit} as {name}"));
            }
            Self::Drop { name } => {
                store.drop_tag(&name).await?;
                say::good(format_args!("dropped tag {name}"));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn list(tags: &[Branch]) -> Result<RecordBatch> {
    output::list(vec![
        ("tag", texts(tags, |tag| Some(tag.name.to_string()))),
        ("commit", texts(tags, |tag| Some(tag.head?.to_string()))),
        ("at", texts(tags, |tag| Some(tag.head_at?.to_string()))),
        (
            "branch",
            texts(tags, |tag| Some(tag.base.as_ref()?.0.to_string())),
        ),
    ])
}
