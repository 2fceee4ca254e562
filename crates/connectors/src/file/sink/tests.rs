//! Tests of file sinks, and rows for those of other sinks.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use forebay_core::{RunId, SystemClock, Timestamp};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

/// Commit data that file sinks ignore.
pub(crate) fn nothing() -> Delivered {
    Delivered {
        position: forebay_core::Position(serde_json::Value::Null),
        outbox: Vec::new(),
    }
}

/// Rows of `id` and `note`.
pub(crate) fn rows(values: &[(i64, Option<&str>)]) -> RecordBatch {
    let id = values.iter().map(|(id, _)| *id).collect::<Int64Array>();
    let note = values
        .iter()
        .map(|(_, note)| *note)
        .collect::<StringArray>();
    RecordBatch::try_from_iter([("id", Arc::new(id) as ArrayRef), ("note", Arc::new(note))])
        .unwrap()
}

fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn run_id(number: u128) -> RunId {
    RunId::new(Timestamp(1_700_000_000_000_000), number)
}

/// A run of the split after `sequence` commits.
fn context(project: &Path, sequence: i64, run: u128) -> SinkContext {
    SinkContext {
        sequence,
        run: run_id(run),
        unfinished_runs: vec![run_id(run)],
        ..SinkContext::alone(SystemClock::shared(), project).unwrap()
    }
}

async fn open_as(context: SinkContext, format: FileFormat) -> Box<dyn Sink> {
    let config = FileSinkConfig {
        path: "out".to_owned(),
        format,
        guard_formulas: true,
    };
    Folder(config).open(context).await.unwrap()
}

fn part(sequence: i64, run: u128, number: u32) -> String {
    format!("part-all-{sequence:010}-{}-{number:04}", run_id(run))
}

async fn write(sink: &mut Box<dyn Sink>, id: i64, child: &str) {
    let batch = Batch::main(rows(&[(id, None)]), None);
    let child = child.to_owned();
    sink.write(Batch { child, ..batch }).await.unwrap();
}

#[tokio::test]
async fn a_commit_makes_whole_files_and_nothing_before_it() {
    for (format, extension) in [
        (FileFormat::Parquet, "parquet"),
        (FileFormat::Ndjson, "ndjson"),
        (FileFormat::Csv, "csv"),
    ] {
        let project = tempfile::tempdir().unwrap();
        let out = project.path().join("out");
        let mut sink = open_as(context(project.path(), 0, 1), format).await;
        write(&mut sink, 1, "").await;
        write(&mut sink, 2, "").await;
        assert!(listed(&out).iter().all(|name| name.starts_with('.')));
        sink.commit(0, nothing()).await.unwrap();
        let first = format!("{}.{extension}", part(0, 1, 1));
        assert_eq!(listed(&out), std::slice::from_ref(&first));
        write(&mut sink, 3, "items").await;
        write(&mut sink, 3, "").await;
        drop(sink);
        assert_eq!(listed(&out), ["items".to_owned(), first.clone()]);
        assert_eq!(listed(&out.join("items")), [""; 0]);
        let mut sink = open_as(context(project.path(), 1, 2), format).await;
        write(&mut sink, 3, "").await;
        sink.commit(1, nothing()).await.unwrap();
        sink.commit(2, nothing()).await.unwrap();
        let second = format!("{}.{extension}", part(1, 2, 1));
        assert_eq!(listed(&out), ["items".to_owned(), first, second]);
    }
}

#[tokio::test]
async fn a_commit_that_is_made_again_leaves_its_rows_once() {
    let project = tempfile::tempdir().unwrap();
    let out = project.path().join("out");
    let format = FileFormat::Ndjson;
    let mut sink = open_as(context(project.path(), 3, 1), format).await;
    write(&mut sink, 1, "").await;
    write(&mut sink, 1, "items").await;
    sink.commit(3, nothing()).await.unwrap();
    write(&mut sink, 2, "").await;
    write(&mut sink, 2, "items").await;
    sink.commit(4, nothing()).await.unwrap();
    write(&mut sink, 3, "items").await;
    // The process dies: the catalog has four commits, and nothing is dropped.
    std::mem::forget(sink);
    assert_eq!(listed(&out).len(), 3);
    assert_eq!(listed(&out.join("items")).len(), 3);

    let next = SinkContext {
        unfinished_runs: vec![run_id(2), run_id(1)],
        ..context(project.path(), 4, 2)
    };
    let mut sink = open_as(next, format).await;
    let committed = format!("{}.ndjson", part(3, 1, 1));
    assert_eq!(listed(&out), ["items".to_owned(), committed.clone()]);
    assert_eq!(
        listed(&out.join("items")),
        [format!("{}.ndjson", part(3, 1, 2))]
    );
    write(&mut sink, 2, "").await;
    sink.commit(4, nothing()).await.unwrap();
    let again = format!("{}.ndjson", part(4, 2, 1));
    assert_eq!(listed(&out), ["items".to_owned(), committed, again]);
}

#[tokio::test]
async fn files_of_others_stay() {
    let project = tempfile::tempdir().unwrap();
    let out = project.path().join("out");
    let format = FileFormat::Csv;
    let of_split = |split: &str, run: u128| SinkContext {
        split: split.parse().unwrap(),
        ..context(project.path(), 0, run)
    };
    // The same run on another split, and a run that this catalog does not have.
    for (split, run) in [("other", 1), ("all", 9)] {
        let mut sink = open_as(of_split(split, run), format).await;
        write(&mut sink, 1, "").await;
        sink.commit(0, nothing()).await.unwrap();
        write(&mut sink, 2, "").await;
        std::mem::forget(sink);
    }
    std::fs::File::create_new(out.join("part-00000001.csv")).unwrap();
    let before = listed(&out);
    assert_eq!(before.len(), 5);
    let next = SinkContext {
        unfinished_runs: vec![run_id(2), run_id(1)],
        ..of_split("all", 2)
    };
    let mut sink = open_as(next, format).await;
    assert_eq!(listed(&out), before);
    write(&mut sink, 3, "").await;
    sink.commit(0, nothing()).await.unwrap();
    assert_eq!(listed(&out).len(), 6);
    sink.withdraw().await.unwrap();
    assert_eq!(listed(&out), before);
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let project = tempfile::tempdir().unwrap();
    let mut sink = open_as(context(project.path(), 0, 1), FileFormat::Parquet).await;
    let expected = rows(&[(1, Some("a")), (2, None)]);
    sink.write(Batch::main(expected.clone(), None))
        .await
        .unwrap();
    let other =
        RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![7])) as ArrayRef)])
            .unwrap();
    sink.write(Batch::main(other.clone(), None)).await.unwrap();
    sink.commit(0, nothing()).await.unwrap();
    let read = |name: String| {
        let file = std::fs::File::open(project.path().join("out").join(name)).unwrap();
        ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
    };
    let first = read(format!("{}.parquet", part(0, 1, 1)));
    assert_eq!(first.columns(), expected.columns());
    let second = read(format!("{}.parquet", part(0, 1, 2)));
    assert_eq!(second.columns(), other.columns());

    let mut sink = open_as(context(project.path(), 1, 2), FileFormat::Csv).await;
    sink.write(Batch::main(rows(&[(1, Some("=x"))]), None))
        .await
        .unwrap();
    sink.commit(1, nothing()).await.unwrap();
    let path = format!("out/{}.csv", part(1, 2, 1));
    let text = std::fs::read_to_string(project.path().join(path)).unwrap();
    assert_eq!(text, "id,note\n1,'=x\n");
}
