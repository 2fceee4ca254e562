//! Following a table: what is to be read of it next, whatever reads it.

use arrow::array::RecordBatch;
use forebay_core::{Error, Position, Result, TableName};
use forebay_lake::Lake;
use forebay_store::AsOf;
use futures::stream::BoxStream;
use object_store::path::Path;

use super::plan::{self, File, Pass, Place, Since};
use super::{Changes, Start};
use crate::rows;
use crate::source::SourceContext;

/// Finds the parts of a table that have not been read.
pub(in crate::source) struct Follower {
    pub(in crate::source) lake: Lake,
    pub(in crate::source) name: TableName,
    context: SourceContext,
    start: Start,
    changes: Changes,
    /// Where everything before has been handed on.
    pub(in crate::source) place: Option<Place>,
    /// The metadata that was looked at last.
    seen: Option<String>,
    /// Whether it has been said that there is no such table yet.
    missed: bool,
}

impl Follower {
    pub(in crate::source) fn new(
        name: TableName,
        (start, changes): (Start, Changes),
        place: Option<Place>,
        context: SourceContext,
    ) -> Result<Self> {
        let lake = context
            .lake
            .clone()
            .ok_or_else(|| Error::bug("no_lake", "a table is read without the lake it is in"))?;
        Ok(Self {
            lake,
            name,
            context,
            start,
            changes,
            place,
            seen: None,
            missed: false,
        })
    }

    /// Finds something to read; `None` when there is nothing new.
    pub(in crate::source) async fn look(&mut self) -> Result<Option<Pass>> {
        if let Some(inside) = self.place.as_ref().and_then(|place| place.inside.as_ref()) {
            return plan::rest(&self.lake, &self.name, inside).await.map(Some);
        }
        let head = AsOf::Head(self.context.branch.clone());
        let head = self.lake.store().head(&head, &self.name).await?;
        if head.is_none() && self.place.is_none() && self.context.follow {
            self.miss();
            return Ok(None);
        }
        let location = head.map(|head| head.metadata_location);
        if location.is_some() && location == self.seen {
            return Ok(None);
        }
        let pass = self.newest().await?;
        self.seen = Some(pass.table.metadata_location().to_owned());
        if self.place.is_some() && pass.files.is_empty() {
            self.place = Some(pass.end);
            return Ok(None);
        }
        Ok(Some(pass))
    }

    /// Who follows may come before who writes.
    fn miss(&mut self) {
        if !std::mem::replace(&mut self.missed, true) {
            tracing::warn!(
                "there is no table {} on {} yet; waiting for it",
                self.name,
                self.context.branch
            );
        }
    }

    /// The rows of one of its files from `skip` on, some at a time.
    pub(in crate::source) async fn rows(
        &self,
        file: &File,
        skip: u64,
        rows_max: usize,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let file = rows::File {
            table: &self.name,
            path: &Path::from(file.path.as_str()),
            bytes: file.bytes,
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        file.rows(self.lake.objects(), skip, rows_max).await
    }

    async fn newest(&self) -> Result<Pass> {
        let (commit, table) = plan::newest(&self.lake, &self.context.branch, &self.name).await?;
        let Some(place) = &self.place else {
            let mut pass = plan::whole(commit, table).await?;
            if self.start == Start::Now {
                pass.files.clear();
            }
            return Ok(pass);
        };
        match plan::since(&self.lake, commit, table.clone(), place).await? {
            Since::Pass(pass) => Ok(*pass),
            Since::Changed(change) => {
                self.changed(&change)?;
                plan::whole(commit, table).await
            }
        }
    }

    fn changed(&self, change: &str) -> Result<()> {
        let name = &self.name;
        if self.changes == Changes::Full {
            tracing::warn!(table = %name, change, "the table has changed; all of it is read again");
            return Ok(());
        }
        let message = format!("{name} has changed in another way than by an append: {change}");
        Err(Error::data("table_changed", message).with_hint(
            "set `changes: full` in the source to read all of it again, or run once with `--full`; rows that have landed come again",
        ))
    }

    /// The position at which everything is read, when it is not the one that was told last.
    pub(in crate::source) fn untold(&self, told: Option<&Place>) -> Option<Position> {
        let place = self.place.as_ref().filter(|place| Some(*place) != told)?;
        place.position().ok()
    }
}
