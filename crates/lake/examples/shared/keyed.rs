//! A table with a key, loaded and counted.

use std::sync::Arc;

use arrow::array::RecordBatch;
use forebay_core::{Clock, CommitId, RefName, TableName};
use forebay_lake::{CommitRequest, Draft, Lake, WriterOptions};
use forebay_store::AsOf;

use crate::machine::Failed;

const TABLE: &str = "bench.rows";
const BATCH: usize = 65_536;

/// Makes the rows of keys.
pub(crate) type RowMaker = fn(&[u64]) -> Result<RecordBatch, Failed>;

pub(crate) fn table() -> Result<TableName, Failed> {
    Ok(TABLE.parse()?)
}

/// Commits a row for each key.
pub(crate) async fn load(
    lake: &Lake,
    clock: &Arc<dyn Clock>,
    rows: RowMaker,
    keys: Vec<u64>,
    is_upsert: bool,
) -> Result<(), Failed> {
    let table = table()?;
    let mut draft = lake.draft(&RefName::main(), &table).await?;
    if !draft.exists() {
        draft.create(&rows(&[0])?.schema(), &[])?;
    }
    if is_upsert {
        draft.upsert_by(&["id".to_owned()], None)?;
    }
    let draft = tokio::task::spawn_blocking(move || write(draft, rows, &keys)).await??;
    let request = CommitRequest {
        id: CommitId::new(clock.now(), uuid::Uuid::new_v4().as_u128()),
        branch: RefName::main(),
        author: "bench".to_owned(),
        message: "rows".to_owned(),
        run: None,
        drafts: vec![draft],
        positions: Vec::new(),
    };
    lake.commit(request).await?;
    Ok(())
}

fn write(mut draft: Draft, rows: RowMaker, keys: &[u64]) -> Result<Draft, Failed> {
    let mut writer = draft.writer(WriterOptions::default())?;
    for keys in keys.chunks(BATCH) {
        writer.write(&rows(keys)?)?;
    }
    draft.append(writer.finish()?);
    Ok(draft)
}

pub(crate) async fn live_rows(lake: &Lake) -> Result<u64, Failed> {
    let table = lake.table(&AsOf::Head(RefName::main()), &table()?).await?;
    let plan = table.ok_or("the table is gone")?.scan(None).await?;
    let live = plan.files.iter().map(|file| {
        let deleted = file.deleted.as_ref().map_or(0, |deleted| deleted.len());
        file.rows - deleted
    });
    Ok(live.sum())
}
