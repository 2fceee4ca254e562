//! One flipped bit, or a cut, anywhere in the files of a journal on disk: it is reported, or nothing changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use std::time::Duration;

use forebay_core::SystemClock;

use super::keys::Keys;
use super::missing_tests::copy;
use super::open::{DiskSite, LockedJournal};
use super::*;

/// Damages of each kind of file; every fourth is a cut.
const DAMAGES: usize = 60;

const RECORDS: usize = 40;

fn limits() -> Limits {
    Limits {
        segment_bytes: 2_000,
        ..Limits::default()
    }
}

fn pipeline() -> Ident {
    "p".parse().unwrap()
}

/// The state of a journal in a server, and the records its readers get.
#[derive(Debug, Clone, PartialEq, Eq)]
struct JournalContent {
    id: Ident,
    end: u64,
    records: Vec<(u64, Bytes)>,
    /// The offset that each idempotency key was used for.
    keys: Vec<Option<u64>>,
}

fn body(n: usize) -> Bytes {
    format!("push {n} {}", "x".repeat(n)).into()
}

fn record(n: usize) -> Record {
    Record {
        head: Head::new(SystemClock::new().now()),
        body: body(n),
    }
}

/// Opens the journal as a server with everything before `committed` committed.
async fn open(root: &Path, committed: u64) -> Result<Journal> {
    let site = DiskSite {
        folder: root.join("p"),
        mark: root.join("p.mark"),
    };
    let clock = SystemClock::shared();
    loop {
        match LockedJournal::lock(&site, clock.as_ref()) {
            Err(error) if error.code() == "journal_open" => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            locked => {
                let keys = Arc::new(Mutex::new(Keys::new(limits().keep_keys)));
                return Journal::open_locked(locked?, committed, limits(), clock, keys);
            }
        }
    }
}

/// A journal with full segments, one that is not full, and keys of segments that are gone; up to where it is committed.
async fn fill(root: &Path) -> u64 {
    let journal = open(root, 0).await.unwrap();
    let mut middle = 0;
    for n in 0..RECORDS {
        let key = format!("key {n}");
        let receipts = journal.append_once(vec![record(n)], &key);
        let receipt = receipts.await.unwrap()[0];
        if n == RECORDS / 2 {
            middle = receipt.offset;
        }
    }
    journal.release(middle).await.unwrap();
    middle
}

async fn content(root: &Path, committed: u64) -> Result<JournalContent> {
    let journal = open(root, committed).await?;
    let mut tail = journal.tail(committed)?;
    let mut records = Vec::new();
    loop {
        let more = tail.next().await?;
        if more.is_empty() {
            break;
        }
        records.extend(more.into_iter().map(|pushed| (pushed.offset, pushed.body)));
    }
    let now = SystemClock::new().now();
    let mut keys = Vec::new();
    for n in 0..RECORDS {
        let body = body(n);
        let print = keys::fingerprint([&body[..]].into_iter());
        let found = journal
            .keys()
            .reserve(Key::of(&format!("key {n}")), print, now)?;
        keys.push(match found {
            Reservation::Taken(offset) => Some(offset),
            Reservation::UnderWay(_) | Reservation::Mine => None,
        });
    }
    Ok(JournalContent {
        id: journal.id().clone(),
        end: journal.durable(),
        records,
        keys,
    })
}

#[tokio::test]
async fn the_last_byte_of_every_segment_and_of_the_name_counts() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path(), 0).await.unwrap();
    for n in 0..RECORDS {
        journal.append(vec![record(n)]).await.unwrap();
    }
    let end = journal.durable();
    drop(journal);
    let path = root.path().join("p");
    let folder = Folder { path: path.clone() };
    let find = || verify::findings(&folder, end, Some(end)).unwrap();
    assert_eq!(find(), []);
    let segments = folder.segments().unwrap();
    assert!(segments.len() > 1);
    for segment in segments {
        let file = folder.file(segment.base);
        let whole = std::fs::read(&file).unwrap();
        cut_last_byte(&file);
        assert!(!find().is_empty(), "{}", segment.base);
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&file, whole).unwrap();
    }
    cut_last_byte(&path.join("id"));
    let journals = Journals::new(root.path().to_owned(), SystemClock::shared());
    let found = journals.verify(&pipeline()).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    // Its name can still be read.
    open(root.path(), end).await.unwrap();
}

fn cut_last_byte(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length - 1).unwrap();
}

/// Files below the root that are not empty, by kind.
fn files_by_kind(root: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for folder in [root.to_owned(), root.join("p")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if path.is_dir() || entry.metadata().unwrap().len() == 0 {
                continue;
            }
            let name = path.extension().or(path.file_name()).unwrap();
            let kind = name.to_str().unwrap().to_owned();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            kinds.entry(kind).or_default().push(relative);
        }
    }
    kinds
}

/// Flips a bit, or cuts the end off.
fn damage(path: &Path, nth: usize, noise: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    if nth.is_multiple_of(4) {
        bytes.truncate(noise % bytes.len());
    } else {
        let bit = noise % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_flipped_bit_or_a_cut_in_any_file_of_a_journal_is_told_or_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let committed = fill(root.path()).await;
    let expected = content(root.path(), committed).await.unwrap();
    assert_eq!(expected.records.len(), RECORDS / 2);
    assert!(expected.keys.iter().all(Option::is_some));
    // Wait until the journal is closed.
    drop(open(root.path(), committed).await.unwrap());
    let kinds = files_by_kind(root.path());
    let names: Vec<&str> = kinds.keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "keys", "mark", "segment"]);
    let whole = Journals::new(root.path().to_owned(), SystemClock::shared());
    assert_eq!(whole.verify(&pipeline()).await.unwrap(), []);
    let mut state = 0x5EED_u64;
    for (kind, paths) in kinds {
        let mut reported = 0;
        for nth in 0..DAMAGES {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let noise = usize::try_from(state >> 20).unwrap();
            let path = &paths[noise % paths.len()];
            let damaged = tempfile::tempdir().unwrap();
            copy(root.path(), damaged.path());
            damage(&damaged.path().join(path), nth, noise / paths.len());
            let journals = Journals::new(damaged.path().to_owned(), SystemClock::shared());
            let findings = journals.verify(&pipeline()).await;
            let is_reported = findings.map_or(true, |findings| !findings.is_empty());
            match content(damaged.path(), committed).await {
                Err(_) => reported += 1,
                Ok(found) if found == expected => reported += usize::from(is_reported),
                Ok(found) => {
                    assert!(is_reported, "{kind} {}: {found:?}", path.display());
                    reported += 1;
                }
            }
        }
        println!("{kind}: {reported} of {DAMAGES} were reported, the others changed nothing");
        assert!(reported > 0, "{kind}");
        // The mark is only used when records are missing, so nothing else would report its damage.
        assert!(kind != "mark" || reported == DAMAGES, "{reported}");
    }
}
