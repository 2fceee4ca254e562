//! Reading back the pipeline's own tables (raw index, quarantine): whole files, in commit order, without an engine.

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use forebay_core::{Context, Error, RefName, Result, TableName};
use forebay_lake::Lake;
use forebay_store::AsOf;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};

use crate::rows;

/// Rows of one data file, and the sequence number of the snapshot that they came with.
pub(in crate::engine) struct SequencedRows {
    pub(in crate::engine) sequence: i64,
    pub(in crate::engine) rows: RecordBatch,
}

/// Every row of a table, oldest commit first; nothing when the table does not exist. One file is open at a time.
pub(in crate::engine) async fn rows(
    lake: &Lake,
    branch: &RefName,
    name: &TableName,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let rows = sequenced_rows(lake, branch, name).await?;
    Ok(rows.map_ok(|sequenced| sequenced.rows).boxed())
}

/// The same rows with their sequence numbers.
pub(in crate::engine) async fn sequenced_rows(
    lake: &Lake,
    branch: &RefName,
    name: &TableName,
) -> Result<BoxStream<'static, Result<SequencedRows>>> {
    let Some(table) = lake.table(&AsOf::Head(branch.clone()), name).await? else {
        return Ok(futures::stream::empty().boxed());
    };
    let mut files = table.scan(None).await.context("table", name)?.files;
    files.sort_by(|a, b| (a.sequence, &a.path).cmp(&(b.sequence, &b.path)));
    let objects = lake.objects().clone();
    let name = name.clone();
    let batches = futures::stream::iter(files).then(move |file| {
        let objects = objects.clone();
        let table = name.clone();
        let deleted = file.deleted.clone();
        let sequence = file.sequence;
        async move {
            let file = rows::File {
                table: &table,
                path: &file.path,
                bytes: file.bytes,
            };
            let batches = file.rows(&objects, 0, rows::BATCH_ROWS).await?;
            let mut at = 0;
            Ok::<_, Error>(batches.map(move |batch| {
                let batch = batch?;
                let from = at;
                at += batch.num_rows() as u64;
                let rows = match &deleted {
                    None => batch,
                    Some(deleted) => {
                        let kept = (from..at).map(|row| Some(!deleted.contains(row)));
                        filter_record_batch(&batch, &kept.collect()).map_err(|error| {
                            Error::bug("filter_failed", "failed to leave deleted rows out")
                                .with_source(error)
                        })?
                    }
                };
                Ok(SequencedRows { sequence, rows })
            }))
        }
    });
    Ok(batches.try_flatten().boxed())
}
