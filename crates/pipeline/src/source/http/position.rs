//! Where a reader stands: how far the cursor has come, what lies at its edge, and the pass under way.
//!
//! A position is written with every page, so that a run that ends there goes on with the next page. It is JSON that
//! only this source reads.

use forebay_core::{Error, Position, Result};
use serde::{Deserialize, Serialize};

use super::config::{Config, Paginate};
use super::cursor::{self, Edge, Mark};
use super::paginate::At;
use super::request::Bounds;
use super::shift::Overlap;

/// Form of the positions written here. In version 1 the edge knew a record with a key by key and cursor value alone.
const VERSION: u32 = 2;
const VERSIONS: [u32; 2] = [1, VERSION];

/// A stored position without `pass` says that everything there was has been read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    version: u32,
    /// Largest cursor value of any record taken. Never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) newest: Option<Mark>,
    /// Records at the edge that passes before this one have taken.
    #[serde(default, skip_serializing_if = "edge_is_empty")]
    pub(super) edge: Edge,
    /// The edge of a position of version 1, whose records have identities without their content.
    #[serde(default, skip_serializing_if = "edge_is_empty")]
    pub(super) legacy_edge: Edge,
    /// The server has filled a page to the size asked for.
    #[serde(default)]
    pub(super) full_seen: bool,
    /// The path of the records has led to records.
    #[serde(default)]
    pub(super) records_seen: bool,
    /// The records were a list.
    #[serde(default)]
    pub(super) lists_seen: bool,
    /// A page has named the next one.
    #[serde(default)]
    pub(super) next_seen: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pass: Option<Pass>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn edge_is_empty(edge: &Edge) -> bool {
    edge.len() == 0
}

/// A pass under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pass {
    /// Its lower bound, as sent; `None` in the first pass, which begins at `cursor.start`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Mark>,
    /// Its upper bound, when one is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Mark>,
    pub(super) next: At,
    /// Pages taken.
    pub(super) pages: u64,
    /// Records of this pass at the edge.
    #[serde(default, skip_serializing_if = "edge_is_empty")]
    pub(super) taken: Edge,
    /// When it began, in microseconds: payloads of a pass that knows its records by key carry it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) began: Option<i64>,
    /// Hash of the records of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_page: Option<u64>,
    /// What the next page may overlap with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) overlap: Option<Overlap>,
    /// Records that the next page shares with the page before.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) shared: u64,
    /// The server rounds offsets down.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) rounds: bool,
    /// The page before held nothing but what it shared, from here on: behind it there is nothing, or it is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tail: Option<u64>,
    /// A page was taken that may not go on where the one before had ended: the list is read again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) unproven: bool,
    /// How often the list was read again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) walks: u32,
    /// Reading it again has shown a record that was missing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) found_missing: bool,
    /// Reading it again has shown a record that was known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) met_known: bool,
    /// What lay from here on when that began is asked for by the next pass anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_from: Option<Mark>,
    /// The list was begun anew: what was taken before that proves nothing about the page that follows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) anew: bool,
    /// The page asked for at this offset was the one before again. The record before it is asked for next: if that brings the
    /// same page once more, the server rounds offsets down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rounding: Option<u64>,
    /// The last record taken, which the next page begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_record: Option<String>,
    /// Pages that the pass went back because the list had moved.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) steps_back: u32,
    /// Digests of the newest requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) asked: Vec<String>,
}

impl Pass {
    /// Whether reading this page is to begin the list anew: it is the first, and records were taken before.
    pub(super) fn begins_anew(&self, at: &At, paginate: Option<&Paginate>) -> bool {
        self.last_record.is_some() && self.rounding.is_none() && *at == At::first(paginate)
    }

    /// Begins to read the list again.
    pub(super) fn begin_walk(&mut self, due_from: Option<Mark>) {
        self.walks += 1;
        self.found_missing = false;
        self.met_known = false;
        self.unproven = false;
        self.rounds = false;
        self.rounding = None;
        self.due_from = due_from;
        self.last_page = None;
        self.overlap = None;
        self.shared = 0;
        self.tail = None;
    }
}

impl Progress {
    /// From a stored position, or from the beginning.
    ///
    /// # Errors
    /// `bad_position` when the position was written by something else or under another `paginate`.
    pub(super) fn open(position: Option<&Position>, config: &Config) -> Result<Self> {
        let Some(Position(value)) = position else {
            return Ok(Self::new());
        };
        let bad = |what: String| {
            let error = Error::data(
                "bad_position",
                format!("the stored position cannot be used: {what}"),
            );
            error.with_hint("`forebay run --full` reads everything again from the beginning")
        };
        let mut progress: Self =
            serde_json::from_value(value.clone()).map_err(|error| bad(error.to_string()))?;
        if !VERSIONS.contains(&progress.version) {
            return Err(bad(format!(
                "it has version {}, this program writes {VERSION}",
                progress.version
            )));
        }
        if progress
            .pass
            .as_ref()
            .is_some_and(|pass| !pass.next.fits(config.paginate.as_ref()))
        {
            return Err(bad(
                "`paginate` has changed in the middle of a pass".to_owned()
            ));
        }
        if progress.version < VERSION {
            progress.raise();
        }
        Ok(progress)
    }

    /// From version 1.
    fn raise(&mut self) {
        self.version = VERSION;
        self.legacy_edge = std::mem::take(&mut self.edge);
        self.next_seen = true;
        if let Some(pass) = &mut self.pass {
            self.legacy_edge.merge(std::mem::take(&mut pass.taken));
        }
    }

    fn new() -> Self {
        Self {
            version: VERSION,
            newest: None,
            edge: Edge::default(),
            legacy_edge: Edge::default(),
            full_seen: false,
            records_seen: false,
            lists_seen: false,
            next_seen: false,
            pass: None,
        }
    }

    /// Starts a pass at the edge of what is known.
    pub(super) fn begin(&mut self, config: &Config, now_us: i64) {
        let cursor = config.cursor.as_ref();
        self.pass = Some(Pass {
            from: self.floor(config),
            until: cursor
                .and_then(|cursor| cursor.end_param.as_ref())
                .map(|_| Mark::Number(now_us)),
            next: At::first(config.paginate.as_ref()),
            pages: 0,
            taken: Edge::default(),
            began: config.key().map(|_| now_us),
            last_page: None,
            overlap: None,
            shared: 0,
            rounds: false,
            tail: None,
            unproven: false,
            walks: 0,
            found_missing: false,
            met_known: false,
            due_from: None,
            anew: false,
            rounding: None,
            last_record: None,
            steps_back: 0,
            asked: Vec::new(),
        });
    }

    /// The lower bound that the next pass would send.
    pub(super) fn floor(&self, config: &Config) -> Option<Mark> {
        let cursor = config.cursor.as_ref()?;
        let newest = self.newest.as_ref()?;
        Some(cursor.format.floor(&cursor::back(newest, cursor.lag.0)))
    }

    /// Ends the pass: its edge and that of the passes before become one.
    pub(super) fn finish(&mut self, config: &Config) {
        if let Some(pass) = self.pass.take() {
            self.edge.merge(pass.taken);
        }
        if let Some(floor) = self.floor(config) {
            self.edge.forget_before(&floor);
            self.legacy_edge.forget_before(&floor);
        }
    }

    /// Brings back a cursor that an earlier version has moved into the far future.
    pub(super) fn bound_newest(&mut self, config: &Config, now_us: i64) {
        let (Some(cursor), Some(newest)) = (&config.cursor, &self.newest) else {
            return;
        };
        if !cursor::is_in_far_future(cursor.format, newest, now_us, cursor.lag.0) {
            return;
        }
        tracing::warn!(
            value = cursor.format.show(newest),
            "the cursor lies in the future and was moved back to now; `forebay run --full` loads what was left out"
        );
        if matches!(newest, Mark::Number(_)) {
            self.newest = Some(Mark::Number(now_us));
        }
    }

    /// The bounds of the pass under way, as they are sent.
    pub(super) fn bounds(&self, config: &Config) -> Bounds {
        let (Some(cursor), Some(pass)) = (&config.cursor, &self.pass) else {
            return Bounds::default();
        };
        let start = || {
            cursor
                .start
                .as_ref()
                .and_then(|start| cursor.format.parse_start(&start.0))
        };
        let from = pass.from.clone().or_else(start);
        let show = |mark: Mark| cursor.format.show(&mark);
        Bounds {
            from: from.map(show),
            until: pass.until.clone().map(show),
        }
    }

    pub(super) fn position(&self) -> Result<Position> {
        let value = serde_json::to_value(self);
        value
            .map(Position)
            .map_err(|error| Error::bug("position", "a position is always JSON").with_source(error))
    }
}
