//! Follows a table: finds the next part to read, for any kind of reader.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use forebay_core::{Error, Position, Result, TableName};
use forebay_lake::Lake;
use forebay_store::AsOf;
use futures::stream::BoxStream;
use object_store::path::Path;

use super::lineage::Replacement;
use super::plan::{self, File, Pass, Place, Since};
use super::{Changes, Start};
use crate::platform::PlatformContext;
use crate::rows;

/// Finds the parts of a table that have not been read.
pub(in crate::platform) struct Follower {
    pub(in crate::platform) lake: Lake,
    pub(in crate::platform) name: TableName,
    context: PlatformContext,
    start: Start,
    changes: Changes,
    /// Everything before this place has been passed on.
    pub(in crate::platform) place: Option<Place>,
    /// Replacements of files that come after the place, oldest first.
    replaced: VecDeque<Replacement>,
    /// The metadata checked last.
    seen: Option<String>,
    /// Whether the missing table has been logged.
    missed: bool,
}

impl Follower {
    pub(in crate::platform) fn new(
        name: TableName,
        (start, changes): (Start, Changes),
        place: Option<Place>,
        context: PlatformContext,
    ) -> Result<Self> {
        let lake = context
            .lake
            .clone()
            .ok_or_else(|| Error::bug("no_lake", "a table is read without its lake"))?;
        Ok(Self {
            lake,
            name,
            context,
            start,
            changes,
            place,
            replaced: VecDeque::new(),
            seen: None,
            missed: false,
        })
    }

    /// Finds something to read; `None` when there is nothing new.
    pub(in crate::platform) async fn look(&mut self) -> Result<Option<Pass>> {
        if let Some(place) = &self.place
            && let Some(inside) = &place.inside
        {
            let rest = plan::rest(&self.lake, &self.name, place.snapshot, inside);
            return rest.await.map(Some);
        }
        loop {
            if let Some(pass) = self.before_replacement().await? {
                return Ok(Some(pass));
            }
            if let Some(found) = self.look_at_head().await? {
                return Ok(found);
            }
        }
    }

    /// `None`: files were replaced since the place.
    async fn look_at_head(&mut self) -> Result<Option<Option<Pass>>> {
        let head = AsOf::Head(self.context.branch.clone());
        let head = self.lake.store().head(&head, &self.name).await?;
        if head.is_none() && self.place.is_none() && self.context.follow {
            self.miss();
            return Ok(Some(None));
        }
        let location = head.map(|head| head.metadata_location);
        if location.is_some() && location == self.seen {
            return Ok(Some(None));
        }
        let Some(pass) = self.newest().await? else {
            return Ok(None);
        };
        self.seen = Some(pass.table.metadata_location().to_owned());
        if self.place.is_some() && pass.files.is_empty() {
            self.place = Some(pass.end);
            return Ok(Some(None));
        }
        Ok(Some(Some(pass)))
    }

    /// The rows that were appended before the next replacement of files; `None` when there are no more.
    async fn before_replacement(&mut self) -> Result<Option<Pass>> {
        while let Some(replacement) = self.replaced.front()
            && let Some(place) = &self.place
        {
            if replacement.before == place.snapshot {
                self.place = Some(replacement.after.clone());
                self.replaced.pop_front();
                continue;
            }
            let log = self.lake.store().log(&self.context.branch, 1).await?;
            let Some(commit) = log.first().map(|newest| newest.id) else {
                return Ok(None);
            };
            match plan::before(commit, replacement, place).await? {
                Since::Pass(pass) if pass.files.is_empty() => self.place = Some(pass.end),
                Since::Pass(pass) => return Ok(Some(*pass)),
                Since::Changed(change) => {
                    self.replaced.clear();
                    return self.all_again(&change).await.map(Some);
                }
                Since::Replaced(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The whole table, after a change other than an append, where the source allows it.
    async fn all_again(&self, change: &str) -> Result<Pass> {
        self.changed(change)?;
        let (commit, table) = plan::newest(&self.lake, &self.context.branch, &self.name).await?;
        plan::whole(commit, table).await
    }

    /// Logs once that the table does not exist yet: its reader may start before its writer.
    fn miss(&mut self) {
        if !std::mem::replace(&mut self.missed, true) {
            tracing::warn!(
                "table {} not found on {} yet, waiting for it",
                self.name,
                self.context.branch
            );
        }
    }

    /// The rows of one of its files from `skip` on, in batches.
    pub(in crate::platform) async fn rows(
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

    /// `None`: files were replaced since the place, and the states before are next.
    async fn newest(&mut self) -> Result<Option<Pass>> {
        let (commit, table) = plan::newest(&self.lake, &self.context.branch, &self.name).await?;
        let Some(place) = &self.place else {
            let mut pass = plan::whole(commit, table).await?;
            if self.start == Start::Now {
                pass.files.clear();
            }
            return Ok(Some(pass));
        };
        match plan::since(&self.lake, commit, table, place).await? {
            Since::Pass(pass) => Ok(Some(*pass)),
            Since::Replaced(replaced) => {
                self.replaced = replaced;
                Ok(None)
            }
            Since::Changed(change) => self.all_again(&change).await.map(Some),
        }
    }

    fn changed(&self, change: &str) -> Result<()> {
        self.changes.accept(&self.name, change, &self.context)
    }

    /// The position after everything read, when it differs from the last one reported.
    pub(in crate::platform) fn untold(&self, reported: Option<&Place>) -> Option<Position> {
        let place = self
            .place
            .as_ref()
            .filter(|place| Some(*place) != reported)?;
        place.position().ok()
    }
}

impl Changes {
    /// Decides on a change other than an append: `Ok` to read the whole table again.
    ///
    /// Errors: `Data` `table_changed`.
    pub(in crate::platform) fn accept(
        self,
        name: &TableName,
        change: &str,
        context: &PlatformContext,
    ) -> Result<()> {
        if self == Self::Full {
            tracing::warn!(table = %name, change, "the table has changed, reading all of it again");
            return Ok(());
        }
        let message = format!("{name} has changed in another way than by an append: {change}");
        Err(Error::data("table_changed", message).with_hint(remedy(context)))
    }
}

/// How all rows are read again without any of them being there twice.
fn remedy(context: &PlatformContext) -> String {
    let pipeline = &context.source.pipeline;
    let target = context.target.as_ref();
    match target.filter(|target| target.only_adds) {
        Some(target) => format!(
            "run `forebay pipeline reset {pipeline}`, then `forebay run {pipeline}`: {} is dropped and made again of all rows; `--full` and `changes: full` would add rows once more that it has",
            target.name
        ),
        None => format!(
            "run `forebay run {pipeline} --full` once to read all of it again, or set `changes: full` in the source"
        ),
    }
}
