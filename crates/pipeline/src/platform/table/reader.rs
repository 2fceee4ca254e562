//! Reads a table in portions of row groups, each one payload, with a position after it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_core::{Chunk, Compression, Error, PayloadHead, Position, Result};
use forebay_lake::{CheckedFile, Lake};
use object_store::path::Path;

use super::TableConfig;
use super::follow::Follower;
use super::plan::{File, Inside, Pass, Place};
use crate::platform::PlatformContext;
use forebay_connectors::source::SplitReader;
use forebay_formats::table::{MEDIA_TYPE, Portion, PortionFile};

/// Approximate rows of one payload: a commit may fall between two payloads.
const PORTION_ROWS: u64 = 500_000;

/// Files of one payload.
const PORTION_FILES: usize = 1_000;

/// Polling interval of a followed table.
const POLL: Duration = Duration::from_millis(500);

pub(super) struct Reader {
    context: PlatformContext,
    follower: Follower,
    pass: Option<Open>,
    ordinal: u64,
    /// The place of the last chunk.
    told: Option<Place>,
}

/// The current pass.
struct Open {
    pass: Pass,
    files: VecDeque<File>,
    group: usize,
    schema: String,
}

impl Reader {
    pub(super) fn open(
        config: TableConfig,
        position: Option<Position>,
        context: PlatformContext,
    ) -> Result<Self> {
        let place = position.as_ref().map(Place::read).transpose()?;
        let rules = (config.start, config.changes);
        Ok(Self {
            told: place.clone(),
            follower: Follower::new(config.name, rules, place, context.clone())?,
            context,
            pass: None,
            ordinal: 0,
        })
    }

    fn begin(&mut self, mut pass: Pass) {
        let files = std::mem::take(&mut pass.files).into();
        let schema = Portion::schema_text(&pass.table.schema());
        self.pass = Some(Open {
            group: pass.group,
            pass,
            files,
            schema,
        });
    }

    /// The next portion of the open pass.
    async fn portion(&mut self) -> Result<Option<Chunk>> {
        let Some(mut open) = self.pass.take() else {
            return Ok(None);
        };
        let first = open.files.front().map(|file| file.path.clone());
        let group = open.group;
        let files = open.take(&self.follower.lake).await?;
        let place = open.place();
        let portion = Portion {
            version: Portion::VERSION,
            table: self.follower.name.to_string(),
            uuid: open.pass.end.table.to_string(),
            commit: open.pass.commit.to_string(),
            snapshot: open.pass.end.snapshot,
            schema: open.schema.clone(),
            files,
        };
        let chunk = self.chunk(&portion, first, group, &place)?;
        self.follower.place = Some(place.clone());
        self.told = Some(place);
        if !open.files.is_empty() {
            self.pass = Some(open);
        }
        Ok(Some(chunk))
    }

    fn chunk(
        &mut self,
        portion: &Portion,
        first: Option<String>,
        group: usize,
        place: &Place,
    ) -> Result<Chunk> {
        let text = serde_json::to_vec(portion).map_err(|error| {
            Error::bug("portion", "failed to serialize a portion of a table").with_source(error)
        })?;
        let snapshot = portion.snapshot.unwrap_or_default();
        let begin = first.map_or_else(|| "end".to_owned(), |file| format!("{file}:{group}"));
        let attributes = BTreeMap::from([
            ("commit".to_owned(), portion.commit.clone()),
            ("snapshot".to_owned(), snapshot.to_string()),
        ]);
        let head = PayloadHead {
            ordinal: self.ordinal,
            name: format!("table/{}/{snapshot}/{begin}", portion.table),
            received_at: self.context.clock.now(),
            content_type: Some(MEDIA_TYPE.to_owned()),
            compression: Compression::None,
            attributes,
            messages: None,
        };
        self.ordinal += 1;
        Ok(Chunk::whole(
            head,
            Bytes::from(text),
            Some(place.position()?),
        ))
    }
}

impl Open {
    /// Takes files and row groups for one payload.
    async fn take(&mut self, lake: &Lake) -> Result<Vec<PortionFile>> {
        let mut taken = Vec::new();
        let mut rows = 0;
        while rows < PORTION_ROWS
            && taken.len() < PORTION_FILES
            && let Some(file) = self.files.front()
        {
            let room = PORTION_ROWS - rows;
            if self.group == 0
                && (file.rows <= room || (taken.is_empty() && file.rows <= PORTION_ROWS))
            {
                rows += file.rows;
                taken.push(part(file, None, 0));
                self.files.pop_front();
                continue;
            }
            if !taken.is_empty() && self.group == 0 && file.rows <= PORTION_ROWS {
                break;
            }
            let groups = group_rows(lake, file).await?;
            let first = self.group;
            let skipped: u64 = groups.iter().take(first).sum();
            let mut last = first;
            while last < groups.len() && (last == first || rows + groups[last] <= PORTION_ROWS) {
                rows += groups[last];
                last += 1;
            }
            taken.push(part(file, Some((first, last)), skipped));
            if last < groups.len() {
                self.group = last;
                break;
            }
            self.group = 0;
            self.files.pop_front();
        }
        Ok(taken)
    }

    /// The position after the portions taken so far.
    fn place(&self) -> Place {
        let inside = self.files.front().map(|file| Inside {
            commit: self.pass.commit,
            after: self.pass.after,
            file: file.path.clone(),
            group: self.group,
        });
        Place {
            inside,
            ..self.pass.end.clone()
        }
    }
}

fn part(file: &File, groups: Option<(usize, usize)>, skipped: u64) -> PortionFile {
    PortionFile {
        path: file.path.clone(),
        bytes: file.bytes,
        groups,
        skipped,
        deleted: file.deleted.clone(),
        identity: file.identity.clone(),
    }
}

/// Rows of each row group, from the footer.
async fn group_rows(lake: &Lake, file: &File) -> Result<Vec<u64>> {
    let path = Path::from(file.path.as_str());
    let mut reader = CheckedFile::new(lake.objects().clone(), path.clone(), file.bytes);
    let footer = reader.footer().await.map_err(|error| {
        Error::unavailable("data_file_unreadable", "failed to read a file of the table")
            .with_source(error)
            .with_context("object", path)
    })?;
    let groups = footer.row_groups().iter();
    Ok(groups
        .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
        .collect())
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.portion().await? {
                return Ok(Some(chunk));
            }
            if let Some(pass) = self.follower.look().await? {
                self.begin(pass);
                continue;
            }
            if !self.context.follow {
                return Ok(None);
            }
            self.context.clock.sleep(POLL).await;
        }
    }

    /// A snapshot without new rows only moves the position.
    fn end_position(&self) -> Option<Position> {
        self.follower.untold(self.told.as_ref())
    }
}
