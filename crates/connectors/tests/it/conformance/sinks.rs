//! What each sink promises to a run.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use forebay_connectors::sink::{Delivered, Sink, SinkContext};
use forebay_core::{Batch, ErrorKind, Origins, Position, Result, RunId, SystemClock, Timestamp};
use serde_json::json;

use super::sites::{SINK_SITES, SinkSite};

/// Rows with these numbers, and a column `more` where asked for.
fn rows(ids: &[i64], more: bool) -> Batch {
    let mut origins = Origins::default();
    for (place, _) in ids.iter().enumerate() {
        origins.push(0, place as u64, 1);
    }
    let numbers: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x"; ids.len()]));
    let more = more.then_some(("more", texts, true));
    let columns = [("id", numbers, true)].into_iter().chain(more);
    let records = RecordBatch::try_from_iter_with_nullable(columns);
    Batch::main(records.unwrap(), Some(origins))
}

fn delivered(n: i64) -> Delivered {
    Delivered {
        position: Position(json!({ "read": n })),
        outbox: format!("outbox {n}").into_bytes(),
    }
}

/// The sink of a run: `epoch` counts the processes that had the split, `sequence` the commits that the catalog knows.
async fn open(site: &SinkSite, epoch: i64, sequence: i64) -> Box<dyn Sink> {
    let run = |n: i64| RunId::new(Timestamp(1_000_000), u128::try_from(n).unwrap());
    let context = SinkContext {
        epoch,
        sequence,
        run: run(epoch),
        unfinished_runs: (1..=epoch).map(run).collect(),
        ..SinkContext::alone(SystemClock::shared(), site.folder.path()).unwrap()
    };
    let mut sink = site.target.open(context).await.unwrap();
    if sink
        .standing()
        .is_some_and(|standing| standing.sequence.is_none())
    {
        sink.adopt(sequence).await.unwrap();
    }
    sink
}

async fn load(sink: &mut dyn Sink, batch: Batch, sequence: i64) -> Result<()> {
    assert!(sink.write(batch).await?.is_empty());
    assert!(sink.flush().await?.is_empty());
    sink.commit(sequence, delivered(sequence + 1)).await
}

/// The sites whose system is installed and which `is_meant`.
fn sites(is_meant: fn(&SinkSite) -> bool) -> impl Iterator<Item = (&'static str, SinkSite)> {
    let sites = SINK_SITES.iter();
    let sites = sites.filter_map(|(name, site)| Some((*name, site()?)));
    sites.filter(move |(_, site)| is_meant(site))
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_there_after_their_commit_and_not_before() {
    for (name, site) in sites(|_| true) {
        let mut sink = open(&site, 1, 0).await;
        assert!(sink.write(rows(&[1, 2], false)).await.unwrap().is_empty());
        assert!(sink.flush().await.unwrap().is_empty());
        assert_eq!((site.read)(), Vec::<i64>::new(), "{name}");
        sink.commit(0, delivered(1)).await.unwrap();
        assert_eq!((site.read)(), [1, 2], "{name}");
        // A process that is gone before its commit leaves nothing that is read.
        let mut sink = open(&site, 2, 1).await;
        assert!(sink.write(rows(&[3], false)).await.unwrap().is_empty());
        drop(sink);
        assert_eq!((site.read)(), [1, 2], "{name}");
        let mut sink = open(&site, 3, 1).await;
        load(sink.as_mut(), rows(&[3], true), 1).await.unwrap();
        load(sink.as_mut(), rows(&[4], false), 2).await.unwrap();
        assert_eq!(
            (site.read)(),
            [1, 2, 3, 4],
            "{name}: with a column that comes and goes"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_commit_that_the_catalog_does_not_have_are_there_once() {
    for (name, site) in sites(|site| !site.target.is_transactional()) {
        let mut sink = open(&site, 1, 0).await;
        load(sink.as_mut(), rows(&[1, 2], false), 0).await.unwrap();
        drop(sink);
        let mut sink = open(&site, 2, 0).await;
        load(sink.as_mut(), rows(&[1, 2, 3], false), 0)
            .await
            .unwrap();
        assert_eq!((site.read)(), [1, 2, 3], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactional_sink_has_the_position_of_its_rows() {
    for (name, site) in sites(|site| site.target.is_transactional()) {
        let mut sink = open(&site, 1, 0).await;
        for n in 0..3 {
            load(sink.as_mut(), rows(&[n], false), n).await.unwrap();
        }
        drop(sink);
        let context = SinkContext {
            epoch: 2,
            sequence: 2,
            ..SinkContext::alone(SystemClock::shared(), site.folder.path()).unwrap()
        };
        let standing = site.target.open(context).await.unwrap().standing().unwrap();
        let last = standing.last.unwrap();
        assert_eq!(standing.sequence, Some(3), "{name}");
        assert_eq!(
            (last.position, last.outbox),
            (delivered(3).position, delivered(3).outbox),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactional_sink_refuses_who_has_lost_the_split() {
    for (name, site) in sites(|site| site.target.is_transactional()) {
        let mut stale = open(&site, 1, 0).await;
        load(stale.as_mut(), rows(&[1], false), 0).await.unwrap();
        let mut owner = open(&site, 2, 1).await;
        let error = load(stale.as_mut(), rows(&[9], false), 1)
            .await
            .unwrap_err();
        let kind = error.kind();
        // Its connection may have been ended, too.
        assert!(
            [ErrorKind::Conflict, ErrorKind::Unavailable].contains(&kind),
            "{name}: {error:?}"
        );
        load(owner.as_mut(), rows(&[2], false), 1).await.unwrap();
        assert_eq!((site.read)(), [1, 2], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transactional_sink_takes_rows_back_to_a_mark() {
    for (name, site) in sites(|site| site.target.is_transactional()) {
        let mut sink = open(&site, 1, 0).await;
        sink.mark().await.unwrap();
        assert!(sink.write(rows(&[1], false)).await.unwrap().is_empty());
        assert!(sink.flush().await.unwrap().is_empty());
        sink.mark().await.unwrap();
        assert!(sink.write(rows(&[2], false)).await.unwrap().is_empty());
        assert!(sink.flush().await.unwrap().is_empty());
        sink.undo().await.unwrap();
        load(sink.as_mut(), rows(&[3], false), 0).await.unwrap();
        assert_eq!((site.read)(), [1, 3], "{name}");
    }
}
