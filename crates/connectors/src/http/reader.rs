//! Reads the pages of a pass in order, one or more ahead of the one being processed.
//!
//! The next page is fetched while the pipeline processes the current one; page numbers and offsets may be requested
//! concurrently, as many as `rate.concurrency` allows, and are still returned in order. Every page carries the position
//! after it. A reader never moves a position and never changes a body.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Chunk, Error, PayloadHead, Position, Result};
use reqwest::header::{DATE, ETAG, LAST_MODIFIED};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::body::Outline;
use super::config::Paginate;
use super::cursor::{Identity, parse_identity};
use super::exchange::{self, Answer};
use super::fetch::Fetcher;
use super::paginate::{self, At, Guard};
use super::position::Progress;
use super::resource::Resource;
use super::resume::{self, Rewalk};
use super::retry::{SOURCE_NOT_FOUND, Verdict, verdict};
use super::seen::{Recognised, Taken};
use super::shift::{Overlap, PageRepeat};
use super::text;
use super::walk::may_go_abreast;
use crate::source::SplitReader;

/// Longest header value that is kept with a payload, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 1_024;

/// A page with its outline.
pub(super) struct Fetched {
    pub(super) answer: Answer,
    pub(super) outline: Option<Outline>,
}

/// A request in flight or waiting for the budget; dropping it discards the response.
struct Ahead {
    at: At,
    fetched: AbortOnDropHandle<Result<Fetched>>,
}

pub(super) struct Reader {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) progress: Progress,
    /// The last position known to this reader.
    known: Option<Position>,
    pub(super) guard: Guard,
    ahead: VecDeque<Ahead>,
    /// The records that the pass has read, if they have a key.
    pub(super) seen: Option<Taken>,
    /// The records of this pass that earlier runs have read are not in `seen` yet.
    is_unrestored: bool,
    /// How often this run has found records after a page with only shared records.
    pub(super) tail_misses: u32,
    /// How often this run has read the list again.
    pub(super) walks: u32,
    pub(super) rewalk: Option<Rewalk>,
    pub(super) repeats: u32,
    pub(super) has_warned_of_future: bool,
    pub(super) has_warned_of_unplaced: bool,
    pub(super) has_warned_of_keyless: bool,
    payloads: u64,
    /// The pass is complete or failed: no more pages.
    ended: bool,
    end: Option<Position>,
}

impl Reader {
    /// Starts at `position`; begins a pass when none is in progress and there is something to request.
    pub(super) fn new(fetcher: Arc<Fetcher>, position: Option<Position>) -> Result<Self> {
        let config = &fetcher.config;
        let context = &fetcher.context;
        let now_us = context.clock.now().micros();
        let position = position.filter(|_| !context.full);
        let mut progress = Progress::open(position.as_ref(), config)?;
        progress.bound_newest(config, now_us);
        let complete = position.is_some() && progress.pass.is_none();
        let ended = complete && config.cursor.is_none();
        let is_resumed = progress.pass.is_some();
        let resource = Resource::of(&fetcher);
        resource.refuse_changed(&progress, &fetcher)?;
        if ended {
            resource.report_read(&progress, &fetcher);
        } else if progress.pass.is_none() {
            resource.report_newest(&progress, &fetcher);
            progress.begin(config, now_us);
            progress.resource = Some(resource.identity);
        }
        let rewalk = progress.pass.as_mut().and_then(Rewalk::start);
        let asked = progress.pass.as_ref().filter(|_| rewalk.is_none());
        let guard = Guard::after(asked.map_or(&[], |pass| &pass.asked));
        let seen = config.key().map(|_| Taken::new());
        Ok(Self {
            progress,
            known: position,
            guard,
            ahead: VecDeque::new(),
            is_unrestored: is_resumed && seen.is_some(),
            seen,
            tail_misses: 0,
            walks: 0,
            rewalk,
            repeats: 0,
            has_warned_of_future: false,
            has_warned_of_unplaced: false,
            has_warned_of_keyless: false,
            payloads: 0,
            ended,
            end: None,
            fetcher,
        })
    }

    async fn advance(&mut self) -> Result<Option<Chunk>> {
        self.restore_seen().await?;
        while let Some(pass) = &self.progress.pass {
            if self.ahead.is_empty() {
                let first = pass.next.clone();
                self.ask(first)?;
            }
            let Some(ahead) = self.ahead.pop_front() else {
                break;
            };
            let fetched = tokio::select! {
                () = self.fetcher.context.cancel.cancelled() => return Err(cancelled()),
                fetched = ahead.fetched => fetched.map_err(|error| Error::bug("fetch_task", "a request's task ended").with_source(error))?,
            };
            let fetched = match fetched {
                Err(error) if error.code() == SOURCE_NOT_FOUND => {
                    self.prove_end(&ahead.at, error).await?
                }
                fetched => fetched?,
            };
            let recognised = self.recognise(&ahead.at, fetched.outline.as_ref()).await?;
            if let Some(chunk) = self.take(&ahead.at, fetched, &recognised)? {
                return Ok(Some(chunk));
            }
        }
        self.end = Some(self.position()?).filter(|position| Some(position) != self.known.as_ref());
        self.ended = true;
        Ok(None)
    }

    /// Fills `seen` with the records of this pass that earlier runs have read.
    async fn restore_seen(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_unrestored) {
            return Ok(());
        }
        let (Some(pass), Some(seen)) = (&self.progress.pass, &mut self.seen) else {
            return Ok(());
        };
        if pass.anew {
            seen.begin_anew();
        }
        if let Some(last) = pass.last_record.as_deref().and_then(parse_identity) {
            seen.add_last(last)?;
        }
        if let Some(began) = pass.began {
            resume::restore(&self.fetcher, began, &mut seen.all).await?;
        }
        Ok(())
    }

    /// Whether a page continues the pass, and which of its records are new to the pass.
    async fn recognise(&mut self, at: &At, outline: Option<&Outline>) -> Result<Recognised> {
        let overlap = usize::try_from(self.overlap()).unwrap_or(usize::MAX);
        let joint = (self.joint(at), overlap);
        let records = outline.map_or(&[][..], |outline| outline.records.as_slice());
        let identities: Vec<Identity> = records.iter().map(|record| record.identity).collect();
        let Some(mut seen) = self.seen.take() else {
            return Ok(Recognised {
                is_joined: true,
                is_exact: true,
                is_new: Vec::new(),
                is_older: Vec::new(),
            });
        };
        if let Some(pass) = &mut self.progress.pass
            && pass.begins_anew(at, self.fetcher.config.paginate.as_ref())
        {
            pass.anew = true;
            seen.begin_anew();
        }
        if seen.stays_in_memory(identities.len()) {
            let recognised = seen.add_page(joint, &identities);
            self.seen = Some(seen);
            return recognised;
        }
        let task = tokio::task::spawn_blocking(move || {
            let recognised = seen.add_page(joint, &identities);
            (seen, recognised)
        });
        let (seen, recognised) = task.await.map_err(|error| {
            Error::bug("seen_task", "comparing records panicked").with_source(error)
        })?;
        self.seen = Some(seen);
        recognised
    }

    /// Starts the request for a page that is certainly needed.
    fn ask(&mut self, at: At) -> Result<()> {
        let config = &self.fetcher.config;
        let page = self.page();
        if page > config.pages_max {
            let message = format!("the pass has more than {} pages", config.pages_max);
            let error = Error::data("pages_max", message);
            return Err(error.with_hint(
                "check whether the paginator never ends; if the API has more pages, raise `pages_max`",
            ));
        }
        let url = self.page_url(&at)?;
        let back = self
            .progress
            .pass
            .as_ref()
            .map_or(0, |pass| pass.steps_back);
        let requested = match back {
            0 => self.guard.request(url.as_str(), page),
            // Requests made before the list shifted may be repeated.
            back => self.guard.request(&format!("{url} {back}"), page),
        };
        requested.map_err(|error| error.with_hint(paginate::repeat_hint(config)))?;
        if self.ahead.front().is_none_or(|ahead| ahead.at != at) {
            self.ahead.clear();
            self.start(at, page)?;
        }
        Ok(())
    }

    /// The URL of a page of this pass.
    pub(super) fn page_url(&self, at: &At) -> Result<Url> {
        let config = &self.fetcher.config;
        let bounds = self.progress.bounds(config);
        self.fetcher.requests.url(config, &bounds, at)
    }

    /// The number of the next page, from 1.
    pub(super) fn page(&self) -> u64 {
        self.progress.pass.as_ref().map_or(1, |pass| pass.pages + 1)
    }

    /// Requests pages that will be needed unless the pass ends before them.
    fn ask_ahead(&mut self) -> Result<()> {
        let config = Arc::clone(&self.fetcher.config);
        if matches!(config.paginate, Some(Paginate::Offset(_))) && !self.progress.full_seen {
            // The offsets for a server that caps pages are not known ahead.
            return Ok(());
        }
        let most = match may_go_abreast(&config) {
            true => self.fetcher.concurrency(),
            false => 1,
        };
        while self.ahead.len() < most {
            let page = self.page() + self.ahead.len() as u64;
            let next = self.ahead.back().and_then(|ahead| {
                ahead
                    .at
                    .ahead_sharing(config.paginate.as_ref(), self.overlap())
            });
            match next {
                Some(next) if page <= config.pages_max => self.start(next, page)?,
                _ => break,
            }
        }
        Ok(())
    }

    fn start(&mut self, at: At, page: u64) -> Result<()> {
        let fetcher = Arc::clone(&self.fetcher);
        let url = self.page_url(&at)?;
        let task = tokio::spawn(async move {
            let mut answer = fetcher.get(&url, page).await?;
            let shown = fetcher.requests.shown(&answer.url);
            let outlined = outline(&fetcher, &mut answer).await;
            let outline = outlined
                .map_err(|error| error.with_context("page", page).with_context("url", shown))?;
            Ok(Fetched { answer, outline })
        });
        self.ahead.push_back(Ahead {
            at,
            fetched: AbortOnDropHandle::new(task),
        });
        Ok(())
    }

    /// Accepts a page: its new records, the next request, the position after it. `None` when nothing on it is new.
    fn take(
        &mut self,
        at: &At,
        mut fetched: Fetched,
        recognised: &Recognised,
    ) -> Result<Option<Chunk>> {
        let page = self.page();
        let shown = self.fetcher.requests.shown(&fetched.answer.url);
        let taken = self.take_page(at, &mut fetched, recognised);
        let taken =
            taken.map_err(|error| error.with_context("page", page).with_context("url", shown));
        let Some(skips) = taken? else {
            return Ok(None);
        };
        let position = self.position()?;
        self.known = Some(position.clone());
        let head = self.head(&fetched.answer, &skips)?;
        Ok(Some(Chunk::whole(
            head,
            fetched.answer.body,
            Some(position),
        )))
    }

    /// The records of the page to skip; `None` when nothing on it is new.
    fn take_page(
        &mut self,
        at: &At,
        fetched: &mut Fetched,
        recognised: &Recognised,
    ) -> Result<Option<Vec<u64>>> {
        let config = Arc::clone(&self.fetcher.config);
        let mut facts = self.facts(&fetched.answer, fetched.outline.as_mut())?;
        let outline = fetched.outline.as_ref();
        if !recognised.is_joined {
            let back = self.go_back(at)?;
            self.step(Some(back), None, None)?;
            return Ok(None);
        }
        let pass = self.progress.pass.as_mut();
        let overlap = pass.and_then(|pass| pass.overlap.take());
        let repeat = self.page_repeat(outline, overlap.as_ref())?;
        facts.is_last |= repeat == PageRepeat::Last;
        if let (false, Some(pass)) = (recognised.is_exact, &mut self.progress.pass) {
            // Records were inserted before this page; one of them may have moved there from after it.
            pass.unproven = true;
        }
        let mut skips = Vec::new();
        if let Some(outline) = outline {
            skips = match repeat {
                PageRepeat::Last => (0..outline.count).collect(),
                _ => self.sift(outline, &recognised.is_new, overlap.as_ref())?,
            };
            self.note_missing(outline, &skips, &recognised.is_older);
            self.note_last(outline);
        }
        let mut next = at.next(config.paginate.as_ref(), &facts);
        if self.ends_at_itself(at, next.as_ref()) {
            facts.is_last = true;
            next = None;
        }
        let mut overlap_next = self.overlap_after(at, outline, &facts);
        let is_rounded = repeat == PageRepeat::Rounded;
        if let (true, true, Some(overlap)) = (is_rounded, self.seen.is_none(), overlap) {
            next = Some(overlap.full_step);
            overlap_next = None;
        }
        if let Some(elsewhere) = self.note_joint(at, &facts, repeat) {
            next = Some(elsewhere);
            overlap_next = None;
        }
        self.note_step(at, &facts, next.as_ref());
        let is_walked = self.is_walking_again(outline)?;
        if next.is_none() {
            self.check_last(&config, outline, &facts)?;
            self.check_walked()?;
            next = self.walk_again()?;
            overlap_next = None;
        }
        self.step(next, outline, overlap_next)?;
        let is_page = verdict(fetched.answer.status) == Verdict::Take;
        let has_new = outline.is_none_or(|outline| outline.count > skips.len() as u64);
        Ok((is_page && has_new && !is_walked && !is_rounded).then_some(skips))
    }

    /// Remembers the record that the next page must begin with.
    fn note_last(&mut self, outline: &Outline) {
        if let (Some(pass), true, Some(last)) = (
            &mut self.progress.pass,
            self.seen.is_some(),
            outline.records.last(),
        ) {
            pass.last_record = Some(hex::encode(last.identity));
        }
    }

    /// Moves on to the next page, or ends the pass.
    fn step(
        &mut self,
        next: Option<At>,
        outline: Option<&Outline>,
        overlap: Option<Overlap>,
    ) -> Result<()> {
        let page = self.page();
        let digest = outline.and_then(|outline| outline.digest);
        let (Some(next), Some(pass)) = (next, &mut self.progress.pass) else {
            self.ahead.clear();
            let config = Arc::clone(&self.fetcher.config);
            self.progress.finish(&config);
            return Ok(());
        };
        pass.pages = page;
        pass.last_page = digest.or(pass.last_page);
        if pass.begins_anew(&next, self.fetcher.config.paginate.as_ref()) {
            pass.pages = 0;
            pass.last_page = None;
        }
        pass.overlap = overlap;
        pass.next = next.clone();
        self.ask(next)?;
        self.ask_ahead()
    }

    fn head(&mut self, answer: &Answer, skips: &[u64]) -> Result<PayloadHead> {
        let cover = &self.fetcher.plan.cover;
        let mut attributes = attributes(answer);
        for value in attributes.values_mut() {
            *value = cover.cover(value);
        }
        let began = self.progress.pass.as_ref().and_then(|pass| pass.began);
        if let Some(began) = began {
            attributes.insert(resume::PASS_ATTRIBUTE.to_owned(), began.to_string());
        }
        let mut head = PayloadHead {
            ordinal: self.payloads,
            name: self.fetcher.requests.shown(&answer.url),
            received_at: answer.received_at,
            content_type: text::content_type(&answer.headers).map(|text| cover.cover(text)),
            compression: text::compression(&answer.headers)?,
            attributes,
            messages: None,
        };
        head.set_skips(skips);
        self.payloads += 1;
        Ok(head)
    }

    /// The position to resume at. It contains no credential.
    fn position(&self) -> Result<Position> {
        let mut stored = self.progress.clone();
        if let Some(pass) = &mut stored.pass {
            pass.asked = self.guard.stored();
            if self.fetcher.requests.names_secret(&pass.next) {
                pass.next = At::Again;
                pass.asked.clear();
            }
        }
        stored.position()
    }
}

/// Headers to keep with the payload.
fn attributes(answer: &Answer) -> BTreeMap<String, String> {
    let kept = [
        (ETAG, "etag"),
        (LAST_MODIFIED, "last_modified"),
        (DATE, "date"),
    ];
    let header = |name| {
        answer
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let kept = kept
        .into_iter()
        .filter_map(|(name, key)| header(name).map(|value| (key, value)));
    let kept = kept.filter(|(_, value)| value.len() <= ATTRIBUTE_BYTES_MAX);
    let mut attributes: BTreeMap<String, String> = kept
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    attributes.insert("status".to_owned(), answer.status.to_string());
    attributes
}

/// The outline of a response whose text is needed; releases the text.
pub(super) async fn outline(
    fetcher: &Arc<Fetcher>,
    answer: &mut Answer,
) -> Result<Option<Outline>> {
    let Some(text) = answer.text.take() else {
        return Ok(None);
    };
    let plan = Arc::clone(&fetcher.plan);
    let headers = answer.headers.clone();
    let size = text.len();
    exchange::blocking(size, move || plan.outline(&headers, &text))
        .await
        .map(Some)
}

fn cancelled() -> Error {
    Error::unavailable("cancelled", "the run was cancelled")
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        if self.ended {
            return Ok(None);
        }
        let next = self.advance().await;
        if next.is_err() {
            self.ended = true;
            self.ahead.clear();
        }
        next.map_err(|error| self.fetcher.plan.cover.cover_error(error))
    }

    fn end_position(&self) -> Option<Position> {
        self.end.clone()
    }
}
