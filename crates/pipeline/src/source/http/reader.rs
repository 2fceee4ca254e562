//! Reads the pages of a pass in order, one or more ahead of the one being worked on.
//!
//! The page after the current one is fetched while the pipeline works on it; page numbers and offsets may be asked for
//! several at a time, as many as `rate.concurrency` allows, and are still handed out in order. Every page carries the
//! position after it. A reader never moves a position and never changes a body.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use forebay_core::{Chunk, Error, PayloadHead, Position, Result};
use reqwest::header::{DATE, ETAG, LAST_MODIFIED};
use tokio_util::task::AbortOnDropHandle;

use super::body::{self, Outline, Plan};
use super::config::Paginate;
use super::cursor::{self, Edge, Mark};
use super::fetch::{Answer, Fetcher};
use super::paginate::{self, At, Facts, Guard};
use super::position::Progress;
use super::retry::{Verdict, verdict};
use crate::source::SplitReader;

/// Bodies from this size on are looked into on a blocking thread.
const BLOCKING_BYTES: usize = 64 << 10;

/// Longest header value that is kept with a payload, in bytes.
const ATTRIBUTE_BYTES_MAX: usize = 1_024;

/// A page with what was found in it.
struct Fetched {
    answer: Answer,
    outline: Option<Outline>,
}

/// A request under way; dropping it ends it.
struct Ahead {
    at: At,
    fetched: AbortOnDropHandle<Result<Fetched>>,
}

pub(super) struct Reader {
    fetcher: Arc<Fetcher>,
    plan: Arc<Plan>,
    progress: Progress,
    /// What was committed last, as far as this reader knows.
    known: Option<Position>,
    guard: Guard,
    ahead: VecDeque<Ahead>,
    /// Hash of the records of the page before.
    last_page: Option<u64>,
    payloads: u64,
    /// The pass is complete, or failed: nothing more comes.
    ended: bool,
    end: Option<Position>,
}

impl Reader {
    /// Stands at `position`; begins a pass when none is under way and there is something to ask for.
    pub(super) fn new(fetcher: Arc<Fetcher>, position: Option<Position>) -> Result<Self> {
        let (config, context) = (&fetcher.config, &fetcher.context);
        let position = position.filter(|_| !context.full);
        let mut progress = Progress::open(position.as_ref(), config)?;
        let complete = position.is_some() && progress.pass.is_none();
        let ended = complete && config.cursor.is_none();
        if progress.pass.is_none() && !ended {
            progress.begin(config, context.clock.now().micros());
        }
        Ok(Self {
            plan: Arc::new(Plan::new(config, context.framing)),
            progress,
            known: position,
            guard: Guard::default(),
            ahead: VecDeque::new(),
            last_page: None,
            payloads: 0,
            ended,
            end: None,
            fetcher,
        })
    }

    async fn advance(&mut self) -> Result<Option<Chunk>> {
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
                fetched = ahead.fetched => fetched.map_err(|error| Error::bug("fetch_task", "a request's task ended").with_source(error))??,
            };
            if let Some(chunk) = self.take(&ahead.at, fetched)? {
                return Ok(Some(chunk));
            }
        }
        self.end = Some(self.progress.position()?)
            .filter(|position| Some(position) != self.known.as_ref());
        self.ended = true;
        Ok(None)
    }

    /// Starts the request for a page that is certainly wanted.
    fn ask(&mut self, at: At) -> Result<()> {
        let config = &self.fetcher.config;
        let page = self.page();
        if page > config.pages_max {
            let message = format!("the pass has more than {} pages", config.pages_max);
            let error = Error::data("pages_max", message);
            return Err(error.with_hint(
                "a paginator that never ends? if there are so many, raise `pages_max`",
            ));
        }
        let url = self
            .fetcher
            .requests
            .url(config, &self.progress.bounds(config), &at)?;
        self.guard.request(url.as_str(), page)?;
        if self.ahead.front().is_none_or(|ahead| ahead.at != at) {
            self.ahead.clear();
            self.start(at, page)?;
        }
        Ok(())
    }

    /// The number of the page asked for next, from 1.
    fn page(&self) -> u64 {
        self.progress.pass.as_ref().map_or(1, |pass| pass.pages + 1)
    }

    /// Asks for pages that will be wanted unless the pass ends before them.
    fn ask_ahead(&mut self) -> Result<()> {
        let config = Arc::clone(&self.fetcher.config);
        if matches!(config.paginate, Some(Paginate::Offset(_))) && !self.progress.full_seen {
            // A server that caps pages is asked at other offsets than one can know ahead.
            return Ok(());
        }
        while self.ahead.len() < self.fetcher.concurrency() {
            let page = self.page() + self.ahead.len() as u64;
            let next = self
                .ahead
                .back()
                .and_then(|ahead| ahead.at.ahead(config.paginate.as_ref()));
            match next {
                Some(next) if page <= config.pages_max => self.start(next, page)?,
                _ => break,
            }
        }
        Ok(())
    }

    fn start(&mut self, at: At, page: u64) -> Result<()> {
        let (fetcher, plan) = (Arc::clone(&self.fetcher), Arc::clone(&self.plan));
        let url =
            fetcher
                .requests
                .url(&fetcher.config, &self.progress.bounds(&fetcher.config), &at)?;
        let task = tokio::spawn(async move {
            let answer = fetcher.get(&url, page).await?;
            let shown = fetcher.requests.shown(&answer.url);
            let outlined = outline(plan, answer).await;
            outlined.map_err(|error| error.with_context("page", page).with_context("url", shown))
        });
        self.ahead.push_back(Ahead {
            at,
            fetched: AbortOnDropHandle::new(task),
        });
        Ok(())
    }

    /// Takes a page: what is new on it, where the pass goes next, the position after it. `None` when nothing on it is
    /// new.
    fn take(&mut self, at: &At, fetched: Fetched) -> Result<Option<Chunk>> {
        let Fetched { answer, outline } = fetched;
        let page = self.page();
        let facts = self.facts(&answer, outline.as_ref(), page)?;
        let skips = outline
            .as_ref()
            .map_or(Ok(Vec::new()), |outline| self.sift(outline))?;
        let empty = verdict(answer.status) == Verdict::Empty
            || outline.is_some() && facts.records == skips.len() as u64;
        let config = Arc::clone(&self.fetcher.config);
        let next = at.next(config.paginate.as_ref(), &facts);
        match (next, &mut self.progress.pass) {
            (Some(next), Some(pass)) => {
                pass.pages = page;
                pass.next = next.clone();
                self.ask(next)?;
                self.ask_ahead()?;
            }
            _ => {
                self.ahead.clear();
                self.progress.finish(&config);
            }
        }
        if empty {
            return Ok(None);
        }
        let position = self.progress.position()?;
        self.known = Some(position.clone());
        let head = self.head(&answer, &skips)?;
        Ok(Some(Chunk::whole(head, answer.body, Some(position))))
    }

    fn facts(&mut self, answer: &Answer, outline: Option<&Outline>, page: u64) -> Result<Facts> {
        let config = &self.fetcher.config;
        let mut facts = Facts::default();
        let mut next = None;
        if let Some(outline) = outline {
            if !outline.found && !self.progress.records_seen {
                return Err(records_missing(config.records.as_deref(), &outline.text));
            }
            facts.records = outline.records.len() as u64;
            facts.token.clone_from(&outline.token);
            facts.more = outline.more;
            next.clone_from(&outline.next);
            self.progress.records_seen |= facts.records > 0;
            let size = paginate::page_size(config.paginate.as_ref());
            self.progress.full_seen |= size.is_some_and(|size| facts.records >= size);
            self.check_not_repeated(outline, page)?;
        }
        let config = &self.fetcher.config;
        if let Some(Paginate::LinkHeader(_)) = config.paginate {
            next = paginate::link_next(&answer.headers);
        }
        facts.full_seen = self.progress.full_seen;
        facts.next_url = next
            .filter(|next| !next.is_empty())
            .map(|next| self.resolve(answer, &next))
            .transpose()?;
        Ok(facts)
    }

    /// A server that does not know the page parameter sends the same page for ever.
    fn check_not_repeated(&mut self, outline: &Outline, page: u64) -> Result<()> {
        let counted = matches!(
            self.fetcher.config.paginate,
            Some(Paginate::Page(_) | Paginate::Offset(_))
        );
        let (Some(first), Some(last), true) =
            (outline.records.first(), outline.records.last(), counted)
        else {
            return Ok(());
        };
        let mut hash = DefaultHasher::new();
        hash.write(&outline.text[first.at.start..last.at.end]);
        match self.last_page.replace(hash.finish()) {
            before if before == self.last_page => Err(paginate::repeats(
                page,
                "holds the very records of the page before",
            )),
            _ => Ok(()),
        }
    }

    /// A next link, absolute, checked and without the key.
    fn resolve(&self, answer: &Answer, next: &str) -> Result<String> {
        let bad = |error| {
            Error::data(
                "bad_next_url",
                format!("the next link {next:?} is not a URL: {error}"),
            )
        };
        let url = answer.url.join(next).map_err(bad)?;
        if answer.url.scheme() == "https" && url.scheme() == "http" {
            return Err(Error::denied(
                "redirect_refused",
                "the next link leads from https to http",
            ));
        }
        super::address::check(&url, self.fetcher.config.allow_private)?;
        Ok(self.fetcher.requests.without_key(&url).into())
    }

    /// The ordinals of records that were taken before; remembers the others that lie at the edge.
    fn sift(&mut self, outline: &Outline) -> Result<Vec<u64>> {
        let config = Arc::clone(&self.fetcher.config);
        if config.cursor.is_none() {
            return Ok(Vec::new());
        }
        let newest_here = outline
            .records
            .iter()
            .filter_map(|record| record.mark.as_ref())
            .max();
        if newest_here > self.progress.newest.as_ref() {
            self.progress.newest = newest_here.cloned();
        }
        let floor = self.progress.floor(&config);
        let Progress {
            edge,
            pass: Some(pass),
            ..
        } = &mut self.progress
        else {
            return Ok(Vec::new());
        };
        let mut skips = Vec::new();
        for (ordinal, record) in (0..).zip(&outline.records) {
            let slice = |range: &std::ops::Range<usize>| &outline.text[range.clone()];
            let before = |bound: &Option<Mark>| record.mark.is_some() && record.mark < *bound;
            if before(&pass.from) {
                // The server does not heed the bound, or rounds it: this was there in an earlier pass.
                skips.push(ordinal);
                continue;
            }
            if before(&floor) && !edge.reaches(&record.mark) {
                continue;
            }
            let identity = cursor::identity(
                slice(&record.at),
                record.key.as_ref().map(slice),
                record.cursor.as_ref().map(slice),
            );
            if edge.contains(&record.mark, &identity)
                || pass.taken.contains(&record.mark, &identity)
            {
                skips.push(ordinal);
            } else if !before(&floor) {
                pass.taken.insert(record.mark.clone(), identity);
            }
        }
        if let Some(floor) = &floor {
            pass.taken.forget_before(floor);
        }
        Edge::check(edge.len() + pass.taken.len())?;
        Ok(skips)
    }

    fn head(&mut self, answer: &Answer, skips: &[u64]) -> Result<PayloadHead> {
        let mut head = PayloadHead {
            ordinal: self.payloads,
            name: self.fetcher.requests.shown(&answer.url),
            received_at: answer.received_at,
            content_type: body::content_type(&answer.headers).map(str::to_owned),
            compression: body::compression(&answer.headers)?,
            attributes: attributes(answer),
            messages: None,
        };
        head.set_skips(skips);
        self.payloads += 1;
        Ok(head)
    }
}

/// Headers worth keeping with the payload.
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

async fn outline(plan: Arc<Plan>, answer: Answer) -> Result<Fetched> {
    if verdict(answer.status) == Verdict::Empty {
        return Ok(Fetched {
            answer,
            outline: None,
        });
    }
    let small = answer.body.len() < BLOCKING_BYTES;
    let look = move || {
        plan.outline(&answer.headers, &answer.body)
            .map(|outline| Fetched { answer, outline })
    };
    if small {
        return look();
    }
    let task = tokio::task::spawn_blocking(look);
    task.await.map_err(|error| {
        Error::bug("outline_task", "looking into a page panicked").with_source(error)
    })?
}

fn records_missing(path: Option<&str>, text: &[u8]) -> Error {
    let path = path.unwrap_or_default();
    let message = format!(
        "the body has nothing at `records: {path}`; it begins with {}",
        body::excerpt(text)
    );
    Error::data("records_missing", message)
        .with_hint("write the path of the list of records, with dots")
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
        next
    }

    fn end_position(&self) -> Option<Position> {
        self.end.clone()
    }
}
