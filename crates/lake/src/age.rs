//! How old files may be that are not committed yet, and how old those that are deleted.

use std::time::Duration;

use forebay_core::{Error, Result, Timestamp};

/// A draft that is older is not committed: `clean` may have taken its files for leftovers.
pub const DRAFT_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// The youngest files that can be deleted. Longer than a draft may be old by more than clocks differ.
pub const SAFE_AGE_MIN: Duration = Duration::from_secs(36 * 3_600);

/// Whether files made before this instant may still be committed.
///
/// # Errors
/// `Conflict` `draft_too_old`: [`Lake::clean`](crate::Lake::clean) may already have deleted them.
pub fn check_age(made_at: Timestamp, now: Timestamp) -> Result<()> {
    if now.since(made_at) <= DRAFT_AGE_MAX {
        return Ok(());
    }
    let message = format!("the change was started at {made_at} and is too old to be committed");
    Err(Error::conflict("draft_too_old", message).with_hint(
        "start it again; make `buffer: {time}` shorter if a pipeline takes that long for one commit",
    ))
}
