//! States of the lake as people name them: a branch, a tag, a commit or a time.

use forebay_core::{CommitId, Error, ErrorKind, RefName, Result, Timestamp};
use forebay_store::{AsOf, Store};

/// A state of the past: a time on a branch, a commit, or a tag.
///
/// Errors: `Config` `bad_as_of`.
pub(super) async fn past_state(store: &Store, branch: &RefName, text: &str) -> Result<AsOf> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(AsOf::Time(branch.clone(), at));
    }
    if let Ok(commit) = text.parse::<CommitId>() {
        return Ok(AsOf::Commit(commit));
    }
    if let Ok(name) = text.parse::<RefName>() {
        match store.branch(&name).await {
            Ok(found) if found.is_tag => return Ok(AsOf::Head(name)),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Err(Error::config(
        "bad_as_of",
        format!("{text:?} is neither a time, a commit nor a tag"),
    )
    .with_hint(
        "write RFC 3339 such as 2026-01-01T00:00:00Z, a commit id of `lake.commits`, or a tag of `forebay tag ls`",
    ))
}

/// What a branch or tag starts from: a branch or tag as it is now, a commit, or a time on `main`.
///
/// Errors: `Config` `bad_ref_name`.
pub(super) fn start_state(text: &str) -> Result<AsOf> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(AsOf::Time(RefName::main(), at));
    }
    match text.parse::<CommitId>() {
        Ok(commit) => Ok(AsOf::Commit(commit)),
        Err(_) => text.parse().map(AsOf::Head),
    }
}
