//! Resuming a pass in the middle: what it has taken comes from the raw zone, and a next page whose link named a credential is
//! found again from the first.
//!
//! Nothing here lands a record.

use forebay_core::{Error, ErrorKind, Result};

use super::body::Outline;
use super::cursor::Identity;
use super::fetch::Fetcher;
use super::paginate::At;
use super::position::Pass;
use super::reader::Reader;
use super::seen::SeenRecords;
use crate::source::raw;

/// The attribute of a payload that says in which pass it was read.
pub(super) const PASS_ATTRIBUTE: &str = "pass";

/// Pages to read again before the one to resume at.
#[derive(Debug)]
pub(super) struct Rewalk {
    pages: u64,
    /// Hash of the last page's records.
    last_page: Option<u64>,
}

impl Rewalk {
    /// For a position whose next page named a credential.
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
    /// Whether the page was taken by an earlier run and is only read for what follows it.
    ///
    /// # Errors
    /// `list_changed` when it is another page than it was, so that nobody can say which records were taken.
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
        "the list has changed since the run that was interrupted, and its next page cannot be found again: the link to it \
         named a credential, which is not stored",
    )
    .with_hint("name a `key`, so that records are recognised, and run with `--full`")
}

/// Adds the records that the payloads of the pass that began then have in the raw zone.
///
/// # Errors
/// When the raw zone cannot be read.
pub(super) async fn restore(fetcher: &Fetcher, began: i64, seen: &mut SeenRecords) -> Result<()> {
    if fetcher.context.lake.is_none() {
        return Ok(());
    }
    let attribute = (PASS_ATTRIBUTE.to_owned(), began.to_string());
    let mut payloads = raw::KeptPayloads::open(fetcher.context.clone(), attribute)?;
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
            .outline_of_kept(&payload.head, &payload.bytes)?;
        let identities: Vec<Identity> = outline
            .records
            .iter()
            .map(|record| record.identity)
            .collect();
        seen.add(&identities)?;
    }
}
