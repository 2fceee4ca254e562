//! Resumes a pass in the middle: its records are restored from the raw zone, and a next page whose link contained a
//! credential is found again from the first page.
//!
//! Nothing here loads a record.

use forebay_core::{Error, ErrorKind, Result};

use super::body::Outline;
use super::cursor::Identity;
use super::fetch::Fetcher;
use super::paginate::At;
use super::position::Pass;
use super::reader::Reader;
use super::seen::SeenRecords;

/// The attribute of a payload that identifies the pass in which it was read.
pub(super) const PASS_ATTRIBUTE: &str = "pass";

/// Pages to read again before the one to resume at.
#[derive(Debug)]
pub(super) struct Rewalk {
    pages: u64,
    /// Hash of the last page's records.
    last_page: Option<u64>,
}

impl Rewalk {
    /// For a position whose next link contained a credential.
    pub(super) fn start(pass: &mut Pass) -> Option<Self> {
        if pass.next != At::Again {
            return None;
        }
        pass.next = At::First;
        Some(Self {
            pages: std::mem::take(&mut pass.pages),
            last_page: pass.last_page,
        })
    }
}

impl Reader {
    /// Whether an earlier run read the page, so that it is read only to find the next one.
    ///
    /// # Errors
    /// `list_changed` when the page has changed, so that it is unknown which records were loaded.
    pub(super) fn is_walking_again(&mut self, outline: Option<&Outline>) -> Result<bool> {
        let page = self.page();
        let Some(rewalk) = &self.rewalk else {
            return Ok(false);
        };
        let is_last = page >= rewalk.pages;
        let digest = outline.and_then(|outline| outline.digest);
        let has_key = self.seen.is_some();
        if is_last && !has_key && rewalk.last_page != digest {
            return Err(list_changed());
        }
        if is_last {
            self.rewalk = None;
        }
        Ok(!has_key)
    }

    /// # Errors
    /// `list_changed` when the pass ends before the page to resume at.
    pub(super) fn check_walked(&self) -> Result<()> {
        if self.rewalk.is_some() && self.seen.is_none() {
            return Err(list_changed());
        }
        Ok(())
    }
}

fn list_changed() -> Error {
    Error::data(
        "list_changed",
        "the list has changed since the interrupted run, and its next page cannot be found again: the link to it \
         contained a credential, which is not stored",
    )
    .with_hint("set `key`, so that records are recognized, and run with `--full`")
}

/// Adds the records of the payloads in the raw zone of the pass that began at `began`.
///
/// # Errors
/// When the raw zone cannot be read.
pub(super) async fn restore(fetcher: &Fetcher, began: i64, seen: &mut SeenRecords) -> Result<()> {
    let Some(stored) = &fetcher.context.stored else {
        return Ok(());
    };
    let mut payloads = stored
        .with_attribute(PASS_ATTRIBUTE, &began.to_string())
        .await?;
    loop {
        let payload = match payloads.next().await {
            Ok(Some(payload)) => payload,
            Ok(None) => return Ok(()),
            // The first commit has not been made.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let outline = fetcher
            .plan
            .outline_of_stored(&payload.head, &payload.bytes)?;
        let identities: Vec<Identity> = outline
            .records
            .iter()
            .map(|record| record.identity)
            .collect();
        seen.add(&identities)?;
    }
}
