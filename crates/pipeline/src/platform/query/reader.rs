//! Runs the statement when one of its tables has changed, and gives its result as one payload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use async_trait::async_trait;
use bytes::Bytes;
use forebay_connectors::source::SplitReader;
use forebay_core::{Chunk, Compression, Error, LakeSql, PayloadHead, Position, Result, RowStream};
use forebay_formats::query_rows::{MEDIA_TYPE, check_columns};

use super::watch::{DueRun, TableWatch};
use crate::platform::PlatformContext;

/// Polling interval of followed tables.
const POLL: Duration = Duration::from_millis(500);

pub(super) struct Reader {
    watch: TableWatch,
    context: PlatformContext,
    sql: Arc<dyn LakeSql>,
    result: Option<OpenResult>,
    is_done: bool,
}

/// The result that is being read.
struct OpenResult {
    rows: Box<dyn RowStream>,
    /// Holds the bytes of one batch.
    writer: StreamWriter<Vec<u8>>,
    head: Arc<PayloadHead>,
    end: Position,
}

impl Reader {
    pub(super) fn open(watch: TableWatch, context: PlatformContext) -> Result<Self> {
        let sql = context.sql.clone();
        Ok(Self {
            watch,
            sql: sql
                .ok_or_else(|| Error::bug("no_lake", "a statement is read without its lake"))?,
            context,
            result: None,
            is_done: false,
        })
    }
}

impl OpenResult {
    /// Starts the statement.
    async fn begin(sql: &dyn LakeSql, due: DueRun, context: &PlatformContext) -> Result<Self> {
        let rows = sql.select(&due.statement).await?;
        let schema = rows.schema();
        let target = context.target.as_ref();
        let declared = target.map(|target| Arc::clone(&target.declared));
        check_columns(&schema, &declared.unwrap_or_default())?;
        let tables: Vec<&str> = due.end.tables.keys().map(String::as_str).collect();
        let commit = due.end.commit.to_string();
        let head = PayloadHead {
            ordinal: 0,
            name: format!("query/{commit}"),
            received_at: context.clock.now(),
            content_type: Some(MEDIA_TYPE.to_owned()),
            compression: Compression::None,
            attributes: BTreeMap::from([
                ("commit".to_owned(), commit),
                ("statement".to_owned(), due.end.statement.clone()),
                ("tables".to_owned(), tables.join(" ")),
            ]),
            messages: None,
        };
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(unwritable)?;
        Ok(Self {
            rows,
            writer,
            head: Arc::new(head),
            end: due.end.position()?,
        })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<Chunk> {
        self.writer.write(rows).map_err(unwritable)?;
        Ok(self.chunk(None))
    }

    fn finish(&mut self) -> Result<Chunk> {
        self.writer.finish().map_err(unwritable)?;
        Ok(self.chunk(Some(self.end.clone())))
    }

    /// The bytes since the last chunk; the position ends the payload.
    fn chunk(&mut self, end: Option<Position>) -> Chunk {
        Chunk {
            head: self.head.clone(),
            bytes: Bytes::from(std::mem::take(self.writer.get_mut())),
            last: end.is_some(),
            position: end,
            refused: Vec::new(),
            kept: None,
        }
    }
}

fn unwritable(error: ArrowError) -> Error {
    Error::bug(
        "result_unwritable",
        "failed to write the result of a statement",
    )
    .with_source(error)
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            if let Some(result) = &mut self.result {
                if let Some(rows) = result.rows.next().await? {
                    return result.write(&rows).map(Some);
                }
                let last = result.finish()?;
                self.result = None;
                self.is_done = true;
                return Ok(Some(last));
            }
            if self.is_done {
                return Ok(None);
            }
            match self.watch.look().await? {
                Some(due) => {
                    let begun = OpenResult::begin(self.sql.as_ref(), due, &self.context);
                    self.result = Some(begun.await?);
                }
                None if !self.context.follow => return Ok(None),
                None => self.context.clock.sleep(POLL).await,
            }
        }
    }
}
