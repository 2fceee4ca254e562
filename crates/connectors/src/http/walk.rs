//! Passes without an overlap that proves completeness: the list is read again until nothing is missing.
//!
//! By page number, or by offset without `overlap`, a deletion moves records to a page that was already read, and so
//! does an insertion while several pages are in flight. Links and tokens that count pages are page numbers by another
//! name. The pages themselves do not show it. If records have a key, such a pass reads its pages once more at the end;
//! it is complete when they contain no missing record.

use forebay_core::Result;

use super::body::{Outline, Record};
use super::config::{Config, Paginate};
use super::counted;
use super::deletion::list_moves;
use super::paginate::{At, Facts, Guard};
use super::proof::full_size;
use super::reader::Reader;

/// How often one run may read a list again.
const WALKS_MAX: u32 = 5;

impl Reader {
    /// Notes when the step after this page cannot be proven.
    pub(super) fn note_step(&mut self, at: &At, facts: &Facts, next: Option<&At>) {
        let config = &self.fetcher.config;
        if self.seen.is_none() || self.overlap() > 0 || !may_move(config, at, next, facts) {
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

    /// Notes whether a page that is read again has a missing record. `skips` are those that were not missing. Records
    /// before all known records were added since.
    pub(super) fn note_missing(&mut self, outline: &Outline, skips: &[u64], is_older: &[bool]) {
        let Some(pass) = self.progress.pass.as_mut().filter(|pass| pass.walks > 0) else {
            return;
        };
        // Records that the next pass requests anyway are not lost: they may have been added since.
        let is_due = |record: &Record| record.mark.is_some() && record.mark >= pass.due_from;
        let has_cursor = pass.due_from.is_some();
        for ((record, is_older), n) in outline.records.iter().zip(is_older).zip(0_u64..) {
            let is_taken = skips.binary_search(&n).is_ok();
            pass.met_known |= is_taken && *is_older;
            pass.found_missing |= !is_taken && pass.met_known && !(has_cursor && is_due(record));
        }
    }

    /// Where to start again at the end of the list; `None` when the pass is complete.
    ///
    /// # Errors
    /// `list_moves` when records were missing each time.
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
                "the list was read {WALKS_MAX} times again, and each reading found missing records"
            )));
        }
        self.walks += 1;
        pass.begin_walk(due_from);
        self.guard = Guard::default();
        self.repeats = 0;
        tracing::debug!("the list may have shifted, reading it again");
        Ok(Some(At::first(config.paginate.as_ref())))
    }
}

/// Whether pages may be requested concurrently. Their responses come from different moments, in any order: without a
/// key records missing between them could not be detected.
pub(super) fn may_go_abreast(config: &Config) -> bool {
    let counted = matches!(
        config.paginate,
        Some(Paginate::Page(_) | Paginate::Offset(_))
    );
    !counted || config.key().is_some() || is_stable(config)
}

/// Whether a list that shifts could lose records between this page and the next.
fn may_move(config: &Config, at: &At, next: Option<&At>, facts: &Facts) -> bool {
    match (at, next) {
        (At::Page(_) | At::Offset(_), _) => true,
        (_, Some(next)) => match stability(config) {
            Some(is_stable) => !is_stable,
            None => counted::counts(config, at, next, facts.records),
        },
        (_, None) => false,
    }
}

/// Whether the list is configured as stable.
fn is_stable(config: &Config) -> bool {
    stability(config) == Some(true)
}

/// The configured stability of the list.
fn stability(config: &Config) -> Option<bool> {
    match config.paginate.as_ref()? {
        Paginate::Page(page) => Some(page.stable),
        Paginate::Offset(offset) => Some(offset.stable),
        Paginate::Cursor(token) => token.stable,
        Paginate::Next(next) => next.stable,
        Paginate::LinkHeader(link) => link.stable,
        Paginate::SinglePage => None,
    }
}
