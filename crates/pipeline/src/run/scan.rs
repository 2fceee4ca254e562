//! Reading back the pipeline's own tables (raw index, quarantine): whole files, in commit order, without an engine.

use arrow::array::RecordBatch;
use forebay_core::{Context, Error, RefName, Result, TableName};
use forebay_lake::Lake;
use forebay_store::AsOf;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::async_reader::ParquetObjectReader;

/// Every row of a table, oldest commit first; nothing when there is no such table. One file is open at a time.
pub(super) async fn rows(
    lake: &Lake,
    branch: &RefName,
    name: &TableName,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let Some(table) = lake.table(&AsOf::Head(branch.clone()), name).await? else {
        return Ok(futures::stream::empty().boxed());
    };
    let mut files = table.scan(None).await.context("table", name)?.files;
    files.sort_by(|a, b| (a.sequence, &a.path).cmp(&(b.sequence, &b.path)));
    let objects = lake.objects().clone();
    let name = name.clone();
    let batches = futures::stream::iter(files).then(move |file| {
        let reader =
            ParquetObjectReader::new(objects.clone(), file.path.clone()).with_file_size(file.bytes);
        let name = name.clone();
        async move {
            let failed = |error| unreadable(&name, &file.path, error);
            let stream = ParquetRecordBatchStreamBuilder::new(reader)
                .await
                .map_err(failed)?
                .build()
                .map_err(failed)?;
            let (name, path) = (name.clone(), file.path.clone());
            Ok::<_, Error>(stream.map_err(move |error| unreadable(&name, &path, error)))
        }
    });
    Ok(batches.try_flatten().boxed())
}

fn unreadable(
    table: &TableName,
    path: &object_store::path::Path,
    error: parquet::errors::ParquetError,
) -> Error {
    Error::data("unreadable_file", "failed to read a file of the table")
        .with_source(error)
        .with_context("object", path)
        .with_context("table", table)
}
