//! The position of a reader: the newest cursor value, the records at its edge, and the current pass.
//!
//! A position is written with every page, so that the next run resumes with the next page. It is JSON that only this
//! source reads.

use forebay_core::{Error, Position, Result};
use serde::{Deserialize, Serialize};

use super::config::{Config, Paginate};
use super::cursor::{self, Edge, Mark};
use super::paginate::At;
use super::request::Bounds;
use super::shift::Overlap;

/// Version of the positions written here. In version 1 the edge identified a record with a key by key and cursor value alone.
const VERSION: u32 = 2;
const VERSIONS: [u32; 2] = [1, VERSION];

/// A stored position without `pass` means that everything has been read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    version: u32,
    /// Largest cursor value of any loaded record. Never decreases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) newest: Option<Mark>,
    /// Records at the edge that earlier passes have loaded.
    #[serde(default, skip_serializing_if = "edge_is_empty")]
    pub(super) edge: Edge,
    /// The edge of a position of version 1, whose records have identities without their content.
    #[serde(default, skip_serializing_if = "edge_is_empty")]
    pub(super) legacy_edge: Edge,
    /// The server has returned a full page of the requested size.
    #[serde(default)]
    pub(super) full_seen: bool,
    /// The path of the records has led to records.
    #[serde(default)]
    pub(super) records_seen: bool,
    /// The records were a list.
    #[serde(default)]
    pub(super) lists_seen: bool,
    /// A page had a next one.
    #[serde(default)]
    pub(super) next_seen: bool,
    /// A page had a field that `end` names. Positions from before it was noted count as if one had.
    #[serde(default = "yes")]
    pub(super) end_seen: bool,
    /// Identity of the URL and parameters that the last pass requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resource: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pass: Option<Pass>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn yes() -> bool {
    true
}

fn edge_is_empty(edge: &Edge) -> bool {
    edge.len() == 0
}

/// The current pass.
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
    /// Pages read.
    pub(super) pages: u64,
    /// Records of this pass at the edge.
    #[serde(default, skip_serializing_if = "edge_is_empty")]
    pub(super) taken: Edge,
    /// When it began, in microseconds: an attribute of the payloads of a pass whose records have a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) began: Option<i64>,
    /// Hash of the records of the previous page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_page: Option<u64>,
    /// Records that the next page may overlap with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) overlap: Option<Overlap>,
    /// Records that the next page shares with the previous one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) shared: u64,
    /// The server rounds offsets down.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) rounds: bool,
    /// Offset of the previous page, if it had only shared records: either it is the last, or it is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tail: Option<u64>,
    /// A page was accepted that may not continue where the previous one ended: the list is read again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) unproven: bool,
    /// How often the list was read again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) walks: u32,
    /// Reading it again has found a missing record.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) found_missing: bool,
    /// Reading it again has found a known record.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) met_known: bool,
    /// Records that were at or after this value when that began are requested by the next pass anyway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_from: Option<Mark>,
    /// The list was restarted: records read before that prove nothing about the next page.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) anew: bool,
    /// The page requested at this offset repeated the previous one. The record before it is requested next: if that
    /// returns the same page once more, the server rounds offsets down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rounding: Option<u64>,
    /// The last record read, with which the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_record: Option<String>,
    /// Pages that the pass went back because the list had shifted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) steps_back: u32,
    /// Digests of the newest requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) asked: Vec<String>,
}

impl Pass {
    /// Whether this page restarts the list: it is the first page, and records were read before.
    pub(super) fn begins_anew(&self, at: &At, paginate: Option<&Paginate>) -> bool {
        self.last_record.is_some() && self.rounding.is_none() && *at == At::first(paginate)
    }

    /// Starts to read the list again.
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
    /// Opens a stored position, or starts from the beginning.
    ///
    /// # Errors
    /// `bad_position` when the position is invalid or was written under another `paginate`.
    pub(super) fn open(position: Option<&Position>, config: &Config) -> Result<Self> {
        let Some(Position(value)) = position else {
            return Ok(Self::new());
        };
        let bad = |what: String| {
            let error = Error::data("bad_position", format!("invalid stored position: {what}"));
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

    /// Upgrades from version 1.
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
            end_seen: false,
            resource: None,
            pass: None,
        }
    }

    /// Starts a pass at the edge of the known records.
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

    /// Ends the pass: merges its edge with that of earlier passes.
    pub(super) fn finish(&mut self, config: &Config) {
        if let Some(pass) = self.pass.take() {
            self.edge.merge(pass.taken);
        }
        if let Some(floor) = self.floor(config) {
            self.edge.forget_before(&floor);
            self.legacy_edge.forget_before(&floor);
        }
    }

    /// Resets a cursor that an earlier version moved into the far future.
    pub(super) fn bound_newest(&mut self, config: &Config, now_us: i64) {
        let (Some(cursor), Some(newest)) = (&config.cursor, &self.newest) else {
            return;
        };
        if !cursor::is_in_far_future(cursor.format, newest, now_us, cursor.lag.0) {
            return;
        }
        tracing::warn!(
            value = cursor.format.show(newest),
            "the cursor was in the future and was reset to now; use `forebay run --full` to load skipped records"
        );
        if matches!(newest, Mark::Number(_)) {
            self.newest = Some(Mark::Number(now_us));
        }
    }

    /// The bounds of the current pass, as sent.
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
