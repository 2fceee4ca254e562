use std::path::Path;
use std::time::Duration;

use forebay_core::{ErrorKind, SystemClock, Timestamp};
use forebay_testkit::FakeClock;
use proptest::prelude::*;

use super::*;

fn small() -> Limits {
    Limits {
        segment_bytes: 2_000,
        ..Limits::default()
    }
}

fn open(folder: &Path, limits: Limits) -> Journal {
    Journal::open(folder, limits, SystemClock::shared()).unwrap()
}

fn record(body: &str) -> Record {
    Record {
        head: Head::new(SystemClock::new().now()),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

async fn once(journal: &Journal, body: &str, key: &str) -> Receipt {
    journal.append_once(vec![record(body)], key).await.unwrap()[0]
}

async fn read_all(journal: &Journal, from: u64) -> Vec<(u64, String)> {
    let mut tail = journal.tail(from).unwrap();
    let mut found = Vec::new();
    loop {
        let more = tail.next().await.unwrap();
        if more.is_empty() {
            return found;
        }
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        found.extend(
            more.iter()
                .map(|pushed| (pushed.offset, text(&pushed.body))),
        );
    }
}

/// Waits until the writer of a dropped journal has released it.
async fn reopen(folder: &Path, limits: Limits) -> Journal {
    for _ in 0..200 {
        match Journal::open(folder, limits, SystemClock::shared()) {
            Err(error) if error.code() == "journal_open" => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the journal stays open");
}

#[tokio::test]
async fn what_is_acknowledged_is_read_in_order_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        let journal = reopen(folder.path(), small()).await;
        for n in 0..50 {
            let body = format!("{round}-{n}-{}", "x".repeat(n));
            let receipt = journal.append(vec![record(&body)]).await.unwrap()[0];
            expected.push((receipt.offset, body));
        }
        assert_eq!(read_all(&journal, 0).await, expected);
        let middle = expected[expected.len() / 2].0;
        assert_eq!(
            read_all(&journal, middle).await,
            expected[expected.len() / 2..]
        );
    }
}

#[tokio::test]
async fn many_callers_share_flushes_and_each_gets_its_own_place() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), small());
    let pushes = (0..500).map(|n| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let records = vec![record(&format!("{n}a")), record(&format!("{n}b"))];
            (n, journal.append(records).await.unwrap())
        })
    });
    let mut expected = Vec::new();
    for push in futures::future::join_all(pushes).await {
        let (n, receipts) = push.unwrap();
        expected.push((receipts[0].offset, format!("{n}a")));
        expected.push((receipts[1].offset, format!("{n}b")));
    }
    expected.sort();
    assert_eq!(read_all(&journal, 0).await, expected);
}

#[tokio::test]
async fn a_reader_waits_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), small());
    let mut tail = journal.tail(0).unwrap();
    assert!(tail.next().await.unwrap().is_empty());
    let pushing = journal.clone();
    tokio::spawn(async move { pushing.append(vec![record("late")]).await.unwrap() });
    tail.grown().await.unwrap();
    assert_eq!(tail.next().await.unwrap()[0].body, "late");
}

/// Waits until the idle writer has added a record of its own behind `end`.
async fn vouched(folder: &Path, end: u64) {
    let segment = folder.join(format!("{:020}.segment", 0));
    while std::fs::metadata(&segment).unwrap().len() <= end {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_journal_that_was_loaded_has_no_backlog_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), Limits::default());
    journal.append(vec![record("a")]).await.unwrap();
    let loaded = journal.durable();
    vouched(folder.path(), loaded).await;
    drop(journal);
    let journal = reopen(folder.path(), Limits::default()).await;
    let later = SystemClock::new().now().plus(Duration::from_secs(60));
    assert!(journal.lag(later) >= Duration::from_secs(60));
    journal.resume(loaded).await.unwrap();
    assert_eq!((journal.backlog(), journal.lag(later)), (0, Duration::ZERO));
    // The position stays where the push ends.
    let next = journal.append(vec![record("b")]).await.unwrap()[0].offset;
    assert!(journal.backlog() > 0);
    let found = read_all(&journal, loaded).await;
    assert_eq!(found, [(next, "b".to_owned())]);
}

#[tokio::test]
async fn the_position_behind_the_last_push_outlives_a_full_segment() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), small());
    let long = "x".repeat(2_500);
    journal.append(vec![record(&long)]).await.unwrap();
    let loaded = journal.durable();
    vouched(folder.path(), loaded).await;
    drop(journal);
    let journal = reopen(folder.path(), small()).await;
    journal.append(vec![record("next")]).await.unwrap();
    journal.resume(loaded).await.unwrap();
    drop(journal);
    let journal = reopen(folder.path(), small()).await;
    assert_eq!(read_all(&journal, loaded).await.len(), 1);
}

#[tokio::test]
async fn a_backlog_gets_younger_while_it_is_loaded_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let at = |second: i64| Timestamp(second * 1_000_000);
    let journal = open(folder.path(), small());
    let mut offsets = Vec::new();
    for second in 1..=3 {
        let push = Record {
            head: Head::new(at(second)),
            body: Bytes::from(vec![b'x'; 2_500]),
        };
        offsets.push(journal.append(vec![push]).await.unwrap()[0].offset);
    }
    drop(journal);
    let journal = reopen(folder.path(), small()).await;
    for (offset, seconds) in offsets.into_iter().zip([9, 8, 7]) {
        journal.release(offset).await.unwrap();
        assert_eq!(journal.lag(at(10)), Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn released_segments_go_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), small());
    let mut offsets = Vec::new();
    for n in 0..200 {
        offsets.push(journal.append(vec![record(&n.to_string())]).await.unwrap()[0].offset);
    }
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let before = files();
    journal.release(offsets[150]).await.unwrap();
    assert!(files() < before);
    assert_eq!(read_all(&journal, offsets[150]).await.len(), 50);
    assert_eq!(journal.tail(offsets[1]).unwrap_err().code(), "journal_lost");
    assert_eq!(journal.tail(1 << 40).unwrap_err().code(), "journal_lost");
    assert!(journal.backlog() > 0);
    journal.release(journal.durable()).await.unwrap();
    assert_eq!(journal.backlog(), 0);
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path(), small());
    let second = Journal::open(folder.path(), small(), SystemClock::shared()).unwrap_err();
    assert_eq!(
        (second.kind(), second.code()),
        (ErrorKind::Conflict, "journal_open")
    );
}

#[tokio::test]
async fn a_key_gives_one_copy_also_in_parallel_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), small());
    let pushes = (0..1000).map(|_| {
        let journal = journal.clone();
        tokio::spawn(async move { once(&journal, "one", "k").await })
    });
    let receipts: Vec<Receipt> = futures::future::join_all(pushes)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        receipts.iter().filter(|receipt| !receipt.duplicate).count(),
        1
    );
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.offset == receipts[0].offset)
    );
    let error = journal
        .append_once(vec![record("other")], "k")
        .await
        .unwrap_err();
    assert_eq!(error.code(), "key_reused");
    // Enough to fill segments, so that the key has to come from a file of keys, and the segment to be deleted.
    for n in 0..100 {
        once(&journal, "two", &format!("k{n}")).await;
    }
    journal.release(journal.durable()).await.unwrap();
    drop(journal);
    let journal = reopen(folder.path(), small()).await;
    for key in ["k", "k0", "k99"] {
        let body = if key == "k" { "one" } else { "two" };
        assert!(once(&journal, body, key).await.duplicate, "{key}");
    }
}

#[tokio::test]
async fn records_that_come_together_are_there_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), Limits::default());
    let three = || vec![record("one"), record("two"), record("three")];
    let before = journal.append(vec![record("before")]).await.unwrap()[0].offset;
    let first = journal.append_once(three(), "k").await.unwrap();
    let again = journal.append_once(three(), "k").await.unwrap();
    assert_eq!((again.len(), again[0].offset), (3, first[0].offset));
    assert!(again.iter().all(|receipt| receipt.duplicate));
    let other = vec![record("one"), record("twot"), record("hree")];
    let error = journal.append_once(other, "k").await.unwrap_err();
    assert_eq!(error.code(), "key_reused");
    let end = usize::try_from(journal.durable()).unwrap();
    let mut bytes = std::fs::read(folder.path().join("00000000000000000000.segment")).unwrap();
    bytes.truncate(end);
    let begin = usize::try_from(first[0].offset).unwrap();
    for cut in begin..=end {
        let folder = with_segment(&bytes[..cut]);
        let journal = open(folder.path(), Limits::default());
        let whole = cut == end;
        let found = read_all(&journal, 0).await;
        assert_eq!(found.len(), if whole { 4 } else { 1 }, "cut at {cut}");
        assert_eq!(found[0], (before, "before".to_owned()));
        let again = journal.append_once(three(), "k").await.unwrap();
        assert_eq!(again[0].duplicate, whole, "cut at {cut}");
        assert_eq!(read_all(&journal, 0).await.len(), 4, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_key_taken() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), small());
    {
        let push = journal.append_once(vec![record("one")], "k");
        futures::pin_mut!(push);
        // Polled once: it has been sent, and the caller does not wait for the answer.
        assert!(futures::poll!(push.as_mut()).is_pending());
    }
    assert!(once(&journal, "one", "k").await.duplicate);
    assert_eq!(read_all(&journal, 0).await.len(), 1);
}

#[tokio::test]
async fn keys_are_forgotten_when_their_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::manual(Timestamp(1_700_000_000_000_000));
    let journal = Journal::open(folder.path(), small(), clock.clone()).unwrap();
    let push = || Record {
        head: Head::new(clock.now()),
        body: Bytes::from_static(b"x"),
    };
    assert!(!journal.append_once(vec![push()], "k").await.unwrap()[0].duplicate);
    clock.advance(Duration::from_secs(899));
    assert!(journal.append_once(vec![push()], "k").await.unwrap()[0].duplicate);
    clock.advance(Duration::from_secs(2));
    assert!(!journal.append_once(vec![push()], "k").await.unwrap()[0].duplicate);
}

#[tokio::test]
async fn pushes_are_refused_while_the_pipeline_is_far_behind() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        backlog_bytes: 100,
        ..small()
    };
    let journal = open(folder.path(), limits);
    journal
        .append(vec![record(&"x".repeat(200))])
        .await
        .unwrap();
    let refused = journal.append(vec![record("y")]).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.code()),
        (ErrorKind::Unavailable, "journal_backlog")
    );
    journal.release(journal.durable()).await.unwrap();
    journal.append(vec![record("y")]).await.unwrap();
}

/// The one segment of a journal with these bodies, and the offset of each.
async fn segment(bodies: &[String]) -> (Vec<u8>, Vec<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), Limits::default());
    let mut offsets = Vec::new();
    for body in bodies {
        offsets.push(journal.append(vec![record(body)]).await.unwrap()[0].offset);
    }
    let end = usize::try_from(journal.durable()).unwrap();
    let mut bytes = std::fs::read(folder.path().join("00000000000000000000.segment")).unwrap();
    bytes.truncate(end);
    (bytes, offsets)
}

#[expect(clippy::disallowed_methods, reason = "a damaged file is made by hand")]
fn with_segment(bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::new();
    let id = Folder::open(folder.path()).unwrap().id(None, &clock);
    let mark = folder.path().join("mark");
    mark::MarkFile::open(&mark, &id.unwrap()).unwrap().set(0);
    std::fs::write(folder.path().join("00000000000000000000.segment"), bytes).unwrap();
    folder
}

#[tokio::test]
async fn a_torn_end_is_cut_at_every_byte_and_nothing_before_it_is() {
    let bodies: Vec<String> = (0..4).map(|n| "b".repeat(n * 9)).collect();
    let (bytes, offsets) = segment(&bodies).await;
    for cut in 0..=bytes.len() {
        let folder = with_segment(&bytes[..cut]);
        let journal = open(folder.path(), Limits::default());
        let whole = offsets
            .iter()
            .skip(1)
            .map(|end| *end as usize)
            .chain([bytes.len()]);
        let whole = whole.filter(|end| *end <= cut).count();
        let found = read_all(&journal, 0).await;
        assert_eq!(found.len(), whole, "cut at {cut}");
        journal.append(vec![record("after")]).await.unwrap();
        assert_eq!(read_all(&journal, 0).await.len(), whole + 1, "cut at {cut}");
    }
}

#[tokio::test]
async fn damage_of_what_was_acknowledged_is_told_and_nothing_is_cut() {
    let bodies: Vec<String> = (0..6).map(|n| format!("body {n}")).collect();
    let (bytes, offsets) = segment(&bodies).await;
    for at in [offsets[1] + 30, offsets[2] + 1, offsets[3] + 17] {
        let mut damaged = bytes.clone();
        damaged[usize::try_from(at).unwrap()] ^= 0x40;
        let folder = with_segment(&damaged);
        let error = Journal::open(folder.path(), Limits::default(), SystemClock::shared());
        assert_eq!(error.unwrap_err().code(), "journal_corrupt", "byte {at}");
        let left = std::fs::read(folder.path().join("00000000000000000000.segment")).unwrap();
        assert_eq!(left, damaged);
    }
}

#[tokio::test]
async fn damage_of_the_last_record_is_told_once_the_journal_was_idle() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path(), Limits::default());
    let offset = journal.append(vec![record("the last one")]).await.unwrap()[0].offset;
    let path = folder.path().join("00000000000000000000.segment");
    let durable = journal.durable();
    while std::fs::metadata(&path).unwrap().len() <= durable {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(journal);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(offset).unwrap() + 30] ^= 1;
    let folder = with_segment(&bytes);
    let error = Journal::open(folder.path(), Limits::default(), SystemClock::shared());
    assert_eq!(error.unwrap_err().code(), "journal_corrupt");
}

proptest! {
    /// Pages of an unfinished flush reach the disk in any order: whichever of them are lost, durable records stay.
    #[test]
    fn a_flush_that_reached_the_disk_in_part_costs_only_its_own_records(
        holes in proptest::collection::vec((0_usize..4096, 1_usize..300), 0..6),
        durable in 0_usize..8,
    ) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for n in 0..8_usize {
            let records = [record(&"z".repeat(n * 37))];
            let mut frames = frame::encode(&records).unwrap();
            // The records from `durable` on are one batch, which was not flushed.
            let known = ends[n.min(durable)] as u64;
            bytes.extend_from_slice(frames.place(ends[n] as u64, known).0);
            ends.push(bytes.len());
        }
        let safe = ends[durable];
        for (start, length) in holes {
            let start = (safe + start).min(bytes.len());
            let end = (start + length).min(bytes.len());
            bytes[start..end].fill(0);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let found = runtime.block_on(async {
            let folder = with_segment(&bytes);
            let journal = open(folder.path(), Limits::default());
            read_all(&journal, 0).await
        });
        prop_assert!(found.len() >= durable);
        for (n, (offset, body)) in found.iter().enumerate() {
            prop_assert_eq!((*offset, body.len()), (ends[n] as u64, n * 37));
        }
    }
}

#[test]
fn keys_of_a_segment_come_back_from_their_file() {
    let keyed: Vec<_> = (0..5)
        .map(|n| keys::Keyed {
            key: Key::of(&n.to_string()),
            seen: keys::Seen {
                offset: n,
                print: n * 7,
                at: Timestamp(-3),
            },
        })
        .collect();
    let bytes = keys::to_bytes(&keyed);
    let back = keys::from_bytes(&bytes).unwrap();
    assert_eq!(format!("{back:?}"), format!("{keyed:?}"));
    assert!(keys::from_bytes(&bytes[..bytes.len() - 1]).is_none());
    let mut damaged = bytes;
    damaged[3] ^= 1;
    assert!(keys::from_bytes(&damaged).is_none());
}
