//! Statements of `forebay sql` that change tables. Nothing here knows how.

use std::io::Write;

use forebay_core::{Error, Result};
use forebay_query::{ChangeSession, ChangeStatement, QueryCancellation};
use forebay_store::AsOf;

use super::{Answering, print_rows};
use crate::wire::Workspace;

/// What statements may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum ChangeMode {
    ReadOnly,
    /// Tables that no pipeline loads.
    OwnTables,
    AllTables,
}

/// A statement that changes a table; `None` for all others, also where nothing may change: those are refused where they are run.
pub(super) fn parse(text: &str, mode: ChangeMode) -> Result<Option<ChangeStatement>> {
    match mode {
        ChangeMode::ReadOnly => Ok(None),
        _ => ChangeStatement::parse(text),
    }
}

/// Runs a statement and prints its tag.
pub(super) async fn run(
    workspace: &Workspace,
    as_of: AsOf,
    (statement, text): (&ChangeStatement, &str),
    answering: Answering,
    cancellation: QueryCancellation,
) -> Result<usize> {
    if !matches!(as_of, AsOf::Head(_)) {
        return Err(
            Error::unsupported("read_only", "a past state cannot be changed")
                .with_hint("leave out --as-of"),
        );
    }
    if let AsOf::Head(branch) = &as_of {
        workspace.lake().store().check_writable(branch).await?;
    }
    let is_forced = answering.changes == ChangeMode::AllTables;
    let options = workspace.change_options(as_of, is_forced, cancellation);
    let session = ChangeSession::new(workspace.lake().clone(), options);
    if statement.is_explained() {
        return print_rows(session.explain(statement, text).await?, answering).await;
    }
    let report = session.run(statement, text).await?;
    let failed =
        |error| Error::unavailable("output_failed", "failed to write to stdout").with_source(error);
    writeln!(std::io::stdout(), "{}", report.tag).map_err(failed)?;
    Ok(0)
}
