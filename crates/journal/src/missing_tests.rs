//! A journal whose end is missing: no new push gets a used offset, and the loss is reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use std::time::Duration;

use forebay_core::SystemClock;

use super::keys::Keys;
use super::open::{DiskSite, LockedJournal};
use super::*;

fn limits() -> Limits {
    Limits {
        segment_bytes: 2_000,
        ..Limits::default()
    }
}

fn record(body: &str) -> Record {
    Record {
        head: Head::new(SystemClock::new().now()),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// As a server opens it, with the mark beside the folder.
async fn open(root: &Path, committed: u64) -> Journal {
    let site = DiskSite {
        folder: root.join("p"),
        mark: root.join("p.mark"),
    };
    let clock = SystemClock::shared();
    for _ in 0..400 {
        match LockedJournal::lock(&site, clock.as_ref()) {
            Err(error) if error.code() == "journal_open" => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            locked => {
                let keys = Arc::new(Mutex::new(Keys::new(limits().keep_keys)));
                let locked = locked.unwrap();
                return Journal::open_locked(locked, committed, limits(), clock, keys).unwrap();
            }
        }
    }
    panic!("the journal stays open");
}

async fn push(journal: &Journal, count: usize) -> Vec<u64> {
    let mut offsets = Vec::with_capacity(count);
    for n in 0..count {
        let receipts = journal.append(vec![record(&format!("push {n}"))]).await;
        offsets.push(receipts.unwrap()[0].offset);
    }
    offsets
}

/// Offsets that can be read before the end or an error.
async fn read_from(journal: &Journal, from: u64) -> (Vec<u64>, Option<String>) {
    let mut tail = journal.tail(from).unwrap();
    let mut offsets = Vec::new();
    loop {
        match tail.next().await {
            Ok(records) if records.is_empty() && tail.is_at_gap() => {
                let error = journal.tail(tail.offset()).unwrap().next().await;
                return (offsets, Some(error.unwrap_err().code().to_owned()));
            }
            Ok(records) if records.is_empty() => return (offsets, None),
            Ok(records) => offsets.extend(records.iter().map(|record| record.offset)),
            Err(error) => return (offsets, Some(error.code().to_owned())),
        }
    }
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("p")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == "segment"));
    paths.sort();
    paths
}

/// The kinds of damage to the newest records.
#[derive(Debug, Clone, Copy)]
enum Damage {
    CutAtEdge,
    CutInRecord,
    EmptyNewest,
    DeleteNewest,
    DeleteAll,
    DeleteFolder,
    FlipLastRecord,
}

const DAMAGES: [Damage; 7] = [
    Damage::CutAtEdge,
    Damage::CutInRecord,
    Damage::EmptyNewest,
    Damage::DeleteNewest,
    Damage::DeleteAll,
    Damage::DeleteFolder,
    Damage::FlipLastRecord,
];

fn damage(root: &Path, kind: Damage, offsets: &[u64]) {
    let newest = segments(root).pop().unwrap();
    let base: u64 = newest
        .file_stem()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let last = offsets[offsets.len() - 1];
    let file = std::fs::File::options().write(true).open(&newest).unwrap();
    match kind {
        Damage::CutAtEdge => file.set_len(last - base).unwrap(),
        Damage::CutInRecord => file.set_len(last - base + 30).unwrap(),
        Damage::EmptyNewest => file.set_len(0).unwrap(),
        Damage::DeleteNewest => std::fs::remove_file(newest).unwrap(),
        Damage::DeleteAll => segments(root)
            .iter()
            .for_each(|path| std::fs::remove_file(path).unwrap()),
        Damage::DeleteFolder => std::fs::remove_dir_all(root.join("p")).unwrap(),
        Damage::FlipLastRecord => {
            let mut bytes = std::fs::read(&newest).unwrap();
            let at = usize::try_from(last - base).unwrap();
            bytes.truncate(at + 40);
            bytes[at + 30] ^= 4;
            #[expect(clippy::disallowed_methods, reason = "a test's own file")]
            std::fs::write(newest, bytes).unwrap();
        }
    }
}

#[tokio::test]
async fn acknowledged_records_that_are_missing_are_told_and_new_ones_are_read_once_that_is_accepted()
 {
    for kind in DAMAGES {
        let root = tempfile::tempdir().unwrap();
        let journal = open(root.path(), 0).await;
        let offsets = push(&journal, 30).await;
        let id = journal.id().clone();
        let end = journal.durable();
        drop(journal);
        // Wait until the journal is closed.
        drop(open(root.path(), 0).await);
        damage(root.path(), kind, &offsets);
        let journal = open(root.path(), 0).await;
        assert_eq!(journal.id(), &id, "{kind:?}");
        assert!(journal.lost_bytes() > 0, "{kind:?}");
        let fresh = push(&journal, 5).await;
        assert!(fresh[0] >= end, "{kind:?}: an offset is assigned twice");
        let first = journal.first().unwrap();
        let (_, error) = read_from(&journal, first.min(offsets[0])).await;
        assert_eq!(error.as_deref(), Some("journal_lost"), "{kind:?}");
        for gap in gap::list_gaps(&root.path().join("p")).unwrap() {
            if gap.is_lost {
                gap::accept_gap(&root.path().join("p"), gap).unwrap();
            }
        }
        let (found, error) = read_from(&journal, first.min(offsets[0])).await;
        assert_eq!(error, None, "{kind:?}");
        assert!(found.ends_with(&fresh), "{kind:?}");
    }
}

#[tokio::test]
async fn a_journal_older_than_the_committed_position_gives_no_place_out_that_was_committed() {
    for cut in [0, 1, 2] {
        let root = tempfile::tempdir().unwrap();
        let journal = open(root.path(), 0).await;
        push(&journal, 20).await;
        drop(journal);
        drop(open(root.path(), 0).await);
        let backup = tempfile::tempdir().unwrap();
        copy(root.path(), backup.path());
        let journal = open(root.path(), 0).await;
        push(&journal, 20 + cut).await;
        let committed = journal.durable();
        drop(journal);
        let journal = open(backup.path(), committed).await;
        assert_eq!(journal.lost_bytes(), 0, "all of it is committed");
        let fresh = push(&journal, 40).await;
        let (found, error) = read_from(&journal, committed).await;
        assert_eq!((found, error), (fresh.clone(), None));
        let first = journal.first().unwrap();
        let (found, error) = read_from(&journal, first).await;
        assert_eq!(error, None, "a full read skips committed records");
        assert!(found.ends_with(&fresh));
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_journal_without_a_mark_is_opened_as_before() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path(), 0).await;
    let offsets = push(&journal, 10).await;
    drop(journal);
    drop(open(root.path(), 0).await);
    std::fs::remove_file(root.path().join("p.mark")).unwrap();
    let journal = open(root.path(), offsets[5]).await;
    assert_eq!(journal.lost_bytes(), 0);
    let (found, error) = read_from(&journal, 0).await;
    assert_eq!((found, error), (offsets, None));
}

#[derive(Debug, Clone, Copy)]
enum MarkDamage {
    Flip,
    Empty,
    Delete,
}

fn damage_mark(root: &Path, kind: MarkDamage) {
    let path = root.join("p.mark");
    let mut bytes = std::fs::read(&path).unwrap();
    match kind {
        MarkDamage::Flip => bytes[9] ^= 4,
        MarkDamage::Empty => bytes.clear(),
        MarkDamage::Delete => return std::fs::remove_file(path).unwrap(),
    }
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn without_a_mark_a_torn_end_is_a_loss_and_is_not_cut_off() {
    for kind in [MarkDamage::Flip, MarkDamage::Empty, MarkDamage::Delete] {
        let root = tempfile::tempdir().unwrap();
        let journal = open(root.path(), 0).await;
        let offsets = push(&journal, 30).await;
        drop(journal);
        drop(open(root.path(), 0).await);
        damage_mark(root.path(), kind);
        let journals = Journals::new(root.path().to_owned(), SystemClock::shared());
        let pipeline = "p".parse().unwrap();
        let findings = journals.verify(&pipeline).await.unwrap();
        assert_eq!(findings.len(), 1, "{kind:?}: {findings:?}");
        damage(root.path(), Damage::CutInRecord, &offsets);
        let newest = segments(root.path()).pop().unwrap();
        let bytes = std::fs::metadata(&newest).unwrap().len();
        let findings = journals.verify(&pipeline).await.unwrap();
        assert_eq!(findings.len(), 2, "{kind:?}: {findings:?}");
        let journal = open(root.path(), 0).await;
        assert!(journal.lost_bytes() > 0, "{kind:?}");
        assert_eq!(std::fs::metadata(&newest).unwrap().len(), bytes, "{kind:?}");
        let fresh = push(&journal, 3).await;
        let (found, error) = read_from(&journal, 0).await;
        assert_eq!(error.as_deref(), Some("journal_lost"), "{kind:?}");
        let kept = found.len();
        assert_eq!(found, offsets[..kept], "{kind:?}");
        let folder = root.path().join("p");
        let at = journal.durable();
        for gap in gap::list_gaps(&folder).unwrap() {
            gap::accept_gap(&folder, gap).unwrap();
        }
        let (found, error) = read_from(&journal, 0).await;
        assert_eq!(error, None, "{kind:?}");
        assert_eq!(found[kept..], fresh, "{kind:?}");
        // The new mark is used again.
        drop(journal);
        assert_eq!(open(root.path(), 0).await.durable(), at);
        assert_eq!(journals.verify(&pipeline).await.unwrap(), [], "{kind:?}");
    }
}

#[tokio::test]
async fn records_without_a_name_are_not_read_again_under_another_one() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path(), 0).await;
    push(&journal, 3).await;
    drop(journal);
    drop(open(root.path(), 0).await);
    damage_mark(root.path(), MarkDamage::Delete);
    std::fs::remove_file(root.path().join("p/id")).unwrap();
    let journals = Journals::new(root.path().to_owned(), SystemClock::shared());
    let pipelines = journals.on_this_disk().unwrap();
    assert_eq!(pipelines, ["p".parse().unwrap()]);
    let findings = journals.verify(&pipelines[0]).await.unwrap();
    assert_eq!(findings.len(), 2, "{findings:?}");
    let site = DiskSite {
        folder: root.path().join("p"),
        mark: root.path().join("p.mark"),
    };
    let error = LockedJournal::lock(&site, SystemClock::shared().as_ref()).unwrap_err();
    assert_eq!(error.code(), "journal_corrupt");
}
