//! Passes that no overlap proves to be complete: the list is read again until nothing is missing.
//!
//! By page number, or by offset without `overlap`, a deletion moves records to a page that was read already, and so does an
//! insertion while several pages are under way. Nothing on the pages tells. Where records have a key, such a pass reads its
//! pages once more at the end; it is complete when they show no record that it had missed.

use forebay_core::Result;

use super::body::{Outline, Record};
use super::config::{Config, Paginate};
use super::deletion::list_moves;
use super::paginate::{At, Facts, Guard};
use super::proof::full_size;
use super::reader::Reader;

/// How often one run reads a list again.
const WALKS_MAX: u32 = 5;

impl Reader {
    /// Notes that the step behind this page cannot be proven.
    pub(super) fn note_step(&mut self, at: &At, facts: &Facts, next: Option<&At>) {
        let config = &self.fetcher.config;
        let counted = matches!(at, At::Page(_) | At::Offset(_));
        if !counted || self.seen.is_none() || self.overlap() > 0 {
            return;
        }
        let is_first = *at == At::first(config.paginate.as_ref());
        let is_short =
            facts.full_seen && full_size(config).is_some_and(|size| facts.records < size);
        let is_proven = match is_first {
            true => next.is_none() || is_short,
            false => facts.records == 0,
        };
        if let Some(pass) = &mut self.progress.pass {
            pass.unproven |= !is_proven;
        }
    }

    /// Notes whether a page that is read again has a record that was missing. `skips` are those that were not. What stands before all
    /// records that are known has come meanwhile.
    pub(super) fn note_missing(&mut self, outline: &Outline, skips: &[u64], is_older: &[bool]) {
        let Some(pass) = self.progress.pass.as_mut().filter(|pass| pass.walks > 0) else {
            return;
        };
        // What the next pass asks for anyway is no loss: it may have come meanwhile.
        let is_due = |record: &Record| record.mark.is_some() && record.mark >= pass.due_from;
        let has_cursor = pass.due_from.is_some();
        for ((record, is_older), n) in outline.records.iter().zip(is_older).zip(0_u64..) {
            let is_taken = skips.binary_search(&n).is_ok();
            pass.met_known |= is_taken && *is_older;
            pass.found_missing |= !is_taken && pass.met_known && !(has_cursor && is_due(record));
        }
    }

    /// Where to begin again at the end of the list; `None` when the pass is complete.
    ///
    /// # Errors
    /// `list_moves` when each time records were missing.
    pub(super) fn walk_again(&mut self) -> Result<Option<At>> {
        let config = std::sync::Arc::clone(&self.fetcher.config);
        let due_from = self.progress.floor(&config);
        let Some(pass) = &mut self.progress.pass else {
            return Ok(None);
        };
        let is_agreed = pass.walks > 0 && !pass.found_missing;
        let is_proven = !pass.unproven || is_stable(&config);
        if self.seen.is_none() || is_proven || is_agreed {
            return Ok(None);
        }
        if self.walks >= WALKS_MAX {
            return Err(list_moves(&format!(
                "the list was read {WALKS_MAX} times again, and each time it showed records that had been missing"
            )));
        }
        self.walks += 1;
        pass.begin_walk(due_from);
        self.guard = Guard::default();
        self.repeats = 0;
        tracing::debug!("nothing proves that the list did not move; reading it again");
        Ok(Some(At::first(config.paginate.as_ref())))
    }
}

/// Whether pages may be under way side by side. Their answers come from different moments, in any order: without a key nothing
/// would show what is missing between them.
pub(super) fn may_go_abreast(config: &Config) -> bool {
    let counted = matches!(
        config.paginate,
        Some(Paginate::Page(_) | Paginate::Offset(_))
    );
    !counted || config.key().is_some() || is_stable(config)
}

/// Whether the file says that the list does not move.
fn is_stable(config: &Config) -> bool {
    match &config.paginate {
        Some(Paginate::Page(page)) => page.stable,
        Some(Paginate::Offset(offset)) => offset.stable,
        _ => false,
    }
}
