//! Reads another pipeline's raw zone: its index in commit order, the bytes of each entry in pieces.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use forebay_core::{Chunk, Error, Kept, PayloadHead, Position, Result, TableName};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::platform::PlatformContext;
use crate::platform::table::follow::Follower;
use crate::platform::table::plan::{File, Inside, Pass, Place};
use crate::platform::table::{Changes, Start};
use crate::raw::{Parts, RawEntry, RawPayload, RawReader};
use forebay_connectors::source::SplitReader;

/// Entries of the index in memory at a time: each may list some thousand messages.
const ENTRIES_MAX: usize = 16;

/// Polling interval of a followed raw zone.
const POLL: Duration = Duration::from_millis(250);

/// The position of a reader: a place in the table, and the number of entries read of the file at that place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stand {
    place: Place,
    #[serde(default)]
    entries: u64,
}

const NO_STAND: &str = "the position of a raw source is not a place in a raw zone";

/// Longest message; Kafka's own limit is lower.
const PACKED_BYTES_MAX: u64 = 1 << 30;

pub(super) struct Reader {
    context: PlatformContext,
    follower: Follower,
    bytes: RawReader,
    /// Whether the pipeline has columns that only messages provide.
    wants_messages: bool,
    pass: Option<Open>,
    parts: Parts,
    /// The position after the content of `parts`.
    held: Option<Stand>,
    /// Complete payloads, each with the position after it.
    ready: VecDeque<(Vec<RawEntry>, Stand)>,
    payload: Option<Payload>,
    ordinal: u64,
    told: Option<Stand>,
    /// Payloads without this attribute and value are skipped.
    only: Option<(String, String)>,
}

/// The current pass over the index.
struct Open {
    pass: Pass,
    files: VecDeque<File>,
    file: Option<IndexFile>,
}

/// One file of the index.
struct IndexFile {
    file: File,
    rows: BoxStream<'static, Result<RecordBatch>>,
    /// Entries that have been read.
    entries: u64,
}

/// A payload whose bytes are being read.
struct Payload {
    head: Arc<PayloadHead>,
    parts: VecDeque<RawEntry>,
    part: Option<(RawPayload, Arc<Kept>)>,
    /// The previous piece, held back so that the last one can be marked as such.
    piece: Option<(Bytes, Arc<Kept>)>,
    stand: Stand,
}

impl Reader {
    pub(super) fn open(
        table: TableName,
        rules: (Start, Changes),
        wants_messages: bool,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Self> {
        let last = position.as_ref();
        let last: Option<Stand> = last.map(|position| position.read(NO_STAND)).transpose()?;
        let place = last.as_ref().map(|last| last.place.clone());
        let follower = Follower::new(table, rules, place, context.clone())?;
        Ok(Self {
            bytes: RawReader::new(follower.lake.objects().clone()),
            context,
            follower,
            wants_messages,
            pass: None,
            parts: Parts::default(),
            held: None,
            ready: VecDeque::new(),
            payload: None,
            ordinal: 0,
            told: last,
            only: None,
        })
    }

    /// Skips payloads that do not have this attribute with this value.
    pub(super) fn only(mut self, attribute: (String, String)) -> Self {
        self.only = Some(attribute);
        self
    }

    /// Begins a pass, after the entries of its first file that were already read.
    async fn begin(&mut self, mut pass: Pass) -> Result<()> {
        let files = std::mem::take(&mut pass.files).into();
        let mut open = Open {
            pass,
            files,
            file: None,
        };
        let taken = self.told.as_ref().map_or(0, |position| position.entries);
        let inside = self
            .follower
            .place
            .as_ref()
            .is_some_and(|place| place.inside.is_some());
        open.next_file(&self.follower, if inside { taken } else { 0 })
            .await?;
        self.pass = Some(open);
        Ok(())
    }

    /// Reads more of the index; `false` at the end of the pass or without one.
    async fn fill(&mut self) -> Result<bool> {
        let Some(open) = &mut self.pass else {
            return Ok(false);
        };
        let Some(file) = &mut open.file else {
            self.follower.place = Some(open.pass.end.clone());
            self.pass = None;
            return Ok(false);
        };
        let Some(batch) = file.rows.try_next().await? else {
            open.next_file(&self.follower, 0).await?;
            return Ok(true);
        };
        for entry in self.bytes.entries(&batch)? {
            let Some(end) = open.take() else { continue };
            if let Some((name, value)) = &self.only
                && entry.attributes.get(name) != Some(value)
            {
                continue;
            }
            if let (Some(before), Some(held)) = (self.parts.push(entry), self.held.take()) {
                self.ready.push_back((before, held));
            }
            match self.parts.whole() {
                Some(whole) => self.ready.push_back((whole, end)),
                None => self.held = Some(end),
            }
        }
        Ok(true)
    }

    /// Starts to read the next payload; `false` when none is complete.
    fn begin_payload(&mut self) -> Result<bool> {
        let Some((parts, stand)) = self.ready.pop_front() else {
            return Ok(false);
        };
        let Some(first) = parts.first() else {
            return Ok(false);
        };
        if self.wants_messages && first.messages.is_none() {
            let what = format!(
                "{} has no messages, but `columns` requires message metadata",
                first.name
            );
            return Err(Error::data("no_messages", what).with_context("payload", &first.id));
        }
        self.payload = Some(Payload {
            head: Arc::new(first.head(self.ordinal)),
            parts: parts.into(),
            part: None,
            piece: None,
            stand,
        });
        self.ordinal += 1;
        Ok(true)
    }

    /// The next piece of the open payload.
    async fn piece(&mut self) -> Result<Option<Chunk>> {
        let Some(payload) = &mut self.payload else {
            return Ok(None);
        };
        let (bytes, kept, last) = payload.next(&self.bytes).await?;
        let mut chunk = Chunk::whole(PayloadHead::clone(&payload.head), bytes, None);
        chunk.head = Arc::clone(&payload.head);
        chunk.last = last;
        chunk.kept = Some(kept);
        if last {
            chunk.position = Some(Position::of(&payload.stand)?);
            self.told = Some(payload.stand.clone());
            self.payload = None;
        }
        Ok(Some(chunk))
    }
}

impl Open {
    /// Opens the next file of the index after its first `taken` entries.
    async fn next_file(&mut self, follower: &Follower, taken: u64) -> Result<()> {
        self.file = None;
        if let Some(file) = self.files.pop_front() {
            let rows = follower.rows(&file, taken, ENTRIES_MAX).await?;
            self.file = Some(IndexFile {
                file,
                rows,
                entries: taken,
            });
        }
        Ok(())
    }

    /// Takes the next entry: the position after it, or `None` when it is deleted.
    fn take(&mut self) -> Option<Stand> {
        let file = self.file.as_mut()?;
        let n = file.entries;
        file.entries += 1;
        let is_deleted = |(first, count): &(u64, u64)| (*first..first + count).contains(&n);
        if file.file.deleted.iter().any(is_deleted) {
            return None;
        }
        let is_end = self.files.is_empty() && file.entries == file.file.rows;
        let inside = Inside {
            commit: self.pass.commit,
            after: self.pass.after,
            file: file.file.path.clone(),
            group: 0,
        };
        Some(Stand {
            place: Place {
                inside: (!is_end).then_some(inside),
                ..self.pass.end.clone()
            },
            entries: if is_end { 0 } else { file.entries },
        })
    }
}

impl Payload {
    /// The next piece, where it is stored, and whether it is the last.
    async fn next(&mut self, reader: &RawReader) -> Result<(Bytes, Arc<Kept>, bool)> {
        loop {
            if let Some((part, kept)) = &mut self.part {
                let Some(bytes) = part.next().await? else {
                    self.part = None;
                    continue;
                };
                let kept = Arc::clone(kept);
                if let Some((bytes, kept)) = self.piece.replace((bytes, kept)) {
                    return Ok((bytes, kept, false));
                }
                continue;
            }
            let Some(entry) = self.parts.pop_front() else {
                let piece = self.piece.take();
                let (bytes, kept) =
                    piece.ok_or_else(|| Error::bug("no_part", "a payload without parts"))?;
                return Ok((bytes, kept, true));
            };
            let kept = Arc::new(entry.kept());
            if entry.messages.is_some() {
                return Ok((reader.read(&entry, PACKED_BYTES_MAX).await?, kept, true));
            }
            if self.parts.is_empty() && entry.length == 0 && self.piece.is_none() {
                return Ok((Bytes::new(), kept, true));
            }
            self.part = Some((reader.open(&entry).await?, kept));
        }
    }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.piece().await? {
                return Ok(Some(chunk));
            }
            if self.begin_payload()? || self.fill().await? {
                continue;
            }
            if let Some(pass) = self.follower.look().await? {
                self.begin(pass).await?;
            } else if self.context.follow {
                self.context.clock.sleep(POLL).await;
            } else {
                return Ok(None);
            }
        }
    }

    /// A snapshot without new entries only moves the position; an incomplete payload is read again.
    fn end_position(&self) -> Option<Position> {
        let place = self
            .follower
            .place
            .clone()
            .filter(|_| self.held.is_none())?;
        let end = Stand { place, entries: 0 };
        Position::of(&end)
            .ok()
            .filter(|_| self.told.as_ref() != Some(&end))
    }
}
