use std::sync::Arc;

use forebay_core::{Clock, CommitId, ErrorKind, RefName, SystemClock};
use forebay_store::{Commit, LeaseRequest, PositionMove, Store};
use forebay_testkit::{FakeClock, Fault, LossyStore};
use object_store::ObjectStoreExt;

use super::super::{Head, Journals, Place, Receipt, Record, Taken};
use super::*;
use crate::{Journal, Limits};

/// A storage, a store beside it, and servers that come and go.
struct World {
    objects: Arc<LossyStore>,
    folder: tempfile::TempDir,
    lake: Lake,
    clock: Arc<dyn Clock>,
}

impl World {
    async fn new() -> Self {
        Self::with_clock(SystemClock::shared()).await
    }

    async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let objects = LossyStore::new(&[]);
        let file = folder.path().join("store.db");
        let store = Store::open(&file, clock.clone()).await.unwrap();
        let root = "s3://bucket/lake".to_owned();
        Self {
            lake: Lake::new(store, objects.clone(), root, clock.clone()),
            objects,
            folder,
            clock,
        }
    }

    /// A server on the machine of this name; `alone` when no other server uses the storage.
    fn server(&self, machine: &str, alone: bool) -> Journals {
        let folder = self.folder.path().join(machine);
        Journals::new(folder, self.clock.clone()).in_lake(self.lake.clone(), alone)
    }

    /// Opens the journal as a server of its own that then dies without closing it.
    async fn dies_after(&self, machine: &str, bodies: &'static [&str]) -> Ident {
        let server = self.server(machine, true);
        let clock = self.clock.clone();
        let life = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let id = runtime.block_on(async {
                let journal = open(&server).await.unwrap();
                for body in bodies {
                    push(&journal, body, clock.as_ref()).await.unwrap();
                }
                journal.id().clone()
            });
            runtime.shutdown_background();
            id
        };
        tokio::task::spawn_blocking(life).await.unwrap()
    }

    async fn paths(&self) -> Vec<Path> {
        let listed = self.objects.list(Some(&Path::from("journal/events")));
        let paths = listed.map_ok(|meta| meta.location).try_collect();
        let mut paths: Vec<Path> = paths.await.unwrap();
        paths.sort();
        paths
    }

    /// Moves the position of a journal, as a run's commit does.
    async fn move_to(&self, split: &Ident, offset: u64) {
        let request = LeaseRequest {
            branch: RefName::main(),
            pipeline: name(),
            split: split.clone(),
            owner: "run".to_owned(),
            duration: Duration::from_secs(60),
        };
        let store = self.lake.store();
        let lease = store.take_lease(&request, true).await.unwrap();
        let moved = PositionMove {
            pipeline: name(),
            split: split.clone(),
            epoch: lease.epoch,
            sequence: lease.sequence,
            sequence_after: lease.sequence + 1,
            position: Taken { offset }.position().unwrap(),
        };
        let commit = Commit {
            id: CommitId::new(self.clock.now(), u128::from(offset)),
            branch: RefName::main(),
            author: "test".to_owned(),
            message: String::new(),
            run: None,
            at: None,
            heads: Vec::new(),
            positions: vec![moved],
        };
        store.commit(commit).await.unwrap();
    }

    async fn commit(&self, journal: &Journal, offset: u64) {
        self.move_to(journal.id(), offset).await;
        journal.release(offset).await.unwrap();
    }
}

fn name() -> Ident {
    "events".parse().unwrap()
}

fn limits() -> Limits {
    Limits {
        linger: Duration::ZERO,
        ..Limits::default()
    }
}

async fn open(server: &Journals) -> Result<Journal> {
    server.of(&name(), Place::Storage, limits()).await
}

/// Until it is known which journals are free.
async fn open_at_last(server: &Journals) -> Journal {
    loop {
        match open(server).await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return opened.unwrap(),
        }
    }
}

fn record(body: &str, clock: &dyn Clock) -> Record {
    Record {
        head: Head::new(clock.now()),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

async fn push(journal: &Journal, body: &str, clock: &dyn Clock) -> Result<u64> {
    let receipts = journal.append(vec![record(body, clock)]).await?;
    Ok(receipts[0].offset)
}

async fn once(journal: &Journal, body: &str, key: &str) -> Result<Receipt> {
    let record = record(body, &SystemClock::new());
    Ok(journal.append_once(vec![record], key).await?[0])
}

async fn read_all(journal: &Journal, from: u64) -> Vec<String> {
    let mut tail = journal.tail(from).unwrap();
    let mut found = Vec::new();
    loop {
        let more = tail.next().await.unwrap();
        if more.is_empty() {
            return found;
        }
        let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
        found.extend(more.iter().map(|pushed| text(&pushed.body)));
    }
}

#[tokio::test]
async fn callers_share_objects_and_all_is_read_in_order_also_on_another_machine() {
    let world = World::new().await;
    let server = world.server("one", true);
    let journal = open(&server).await.unwrap();
    journal.set_limits(Limits {
        linger: Duration::from_millis(20),
        ..limits()
    });
    let pushes = (0..500).map(|n| {
        let journal = journal.clone();
        let clock = world.clock.clone();
        tokio::spawn(async move {
            let body = format!("{n:03}");
            (push(&journal, &body, clock.as_ref()).await.unwrap(), body)
        })
    });
    let pushed = futures::future::join_all(pushes).await;
    let mut pushed: Vec<(u64, String)> = pushed.into_iter().map(|one| one.unwrap()).collect();
    pushed.sort();
    let bodies: Vec<String> = pushed.iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(read_all(&journal, 0).await, bodies);
    let objects = world.paths().await.len();
    assert!(objects < 50, "{objects} objects of 500 pushes");
    let id = journal.id().clone();
    let end = journal.durable();
    drop((journal, server));

    let server = world.server("another", true);
    let journal = open(&server).await.unwrap();
    assert_eq!(journal.id(), &id, "it resumes the journal");
    assert_eq!(journal.durable(), end + STAMP);
    assert_eq!(read_all(&journal, 0).await, bodies);
    assert_eq!(read_all(&journal, pushed[250].0).await, bodies[250..]);
    push(&journal, "more", world.clock.as_ref()).await.unwrap();
    assert_eq!(read_all(&journal, end).await, ["more"]);
    assert!(journal.lag(world.clock.now()) > Duration::ZERO);
}

const STAMP: u64 = crate::frame::STAMP_BYTES as u64;

#[tokio::test]
async fn whatever_gets_lost_an_acknowledged_push_is_there_once() {
    for faults in [
        &[Fault::Applied][..],
        &[Fault::Twice],
        &[Fault::Lost],
        &[Fault::Lost, Fault::Applied],
        &[Fault::Silent],
        &[Fault::Lost; 3],
        &[Fault::Lost, Fault::Lost, Fault::Silent],
        &[Fault::Silent, Fault::Silent, Fault::Silent],
    ] {
        let world = World::new().await;
        let server = world.server("one", true);
        let journal = open(&server).await.unwrap();
        once(&journal, "before", "k0").await.unwrap();
        world.objects.will(faults);
        // No answer means unknown: the caller sends the push again under its key, also while the first try is still open.
        for (body, key) in [("one", "k1"), ("after", "k2")] {
            while let Err(error) = once(&journal, body, key).await {
                assert_eq!(error.code(), "journal_failed", "{faults:?}");
            }
        }
        let expected = ["before", "one", "after"];
        assert_eq!(read_all(&journal, 0).await, expected, "{faults:?}");
        assert!(once(&journal, "one", "k1").await.unwrap().duplicate);
        drop((journal, server));
        let journal = open(&world.server("two", true)).await.unwrap();
        assert_eq!(read_all(&journal, 0).await, expected, "{faults:?}");
        assert!(once(&journal, "one", "k1").await.unwrap().duplicate);
    }
}

#[tokio::test]
async fn who_is_overtaken_acknowledges_nothing_more() {
    let world = World::new().await;
    let first = world.server("one", true);
    let old = open(&first).await.unwrap();
    once(&old, "one", "k1").await.unwrap();
    let second = world.server("two", true);
    let new = open(&second).await.unwrap();
    assert_eq!(new.id(), old.id());
    let error = once(&old, "lost", "k2").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Conflict, "journal_taken")
    );
    assert!(push(&old, "lost", world.clock.as_ref()).await.is_err());
    assert!(
        first.find(&name()).is_none(),
        "nobody pushes to it any more"
    );
    once(&new, "two", "k2").await.unwrap();
    assert_eq!(read_all(&new, 0).await, ["one", "two"]);
    // Also when everything that was after its end is committed and deleted.
    let offset = new.durable();
    world.commit(&new, offset).await;
    assert!(push(&old, "lost", world.clock.as_ref()).await.is_err());
}

#[tokio::test]
async fn an_old_writer_finds_its_place_taken_long_after() {
    let world = World::new().await;
    let first = world.server("one", true);
    let old = open(&first).await.unwrap();
    let second = world.server("two", true);
    let new = open(&second).await.unwrap();
    for n in 0..5 {
        push(&new, &n.to_string(), world.clock.as_ref())
            .await
            .unwrap();
        world.commit(&new, new.durable()).await;
    }
    let error = push(&old, "lost", world.clock.as_ref()).await.unwrap_err();
    assert_eq!(error.code(), "journal_taken");
    // The stamps of both openings and the newest object remain.
    assert_eq!(world.paths().await.len(), 3);
    assert_eq!(new.backlog(), 0);
}

#[tokio::test]
async fn keys_outlive_what_was_released_and_the_machine() {
    let world = World::new().await;
    {
        let server = world.server("one", true);
        let journal = open(&server).await.unwrap();
        for n in 0..10 {
            once(&journal, "body", &n.to_string()).await.unwrap();
        }
        world.commit(&journal, journal.durable()).await;
        once(&journal, "body", "10").await.unwrap();
    }
    let keys = |path: &Path| path.as_ref().ends_with(".keys");
    assert_eq!(
        world.paths().await.iter().filter(|path| keys(path)).count(),
        1
    );
    let server = world.server("two", true);
    let journal = open(&server).await.unwrap();
    for n in 0..=10 {
        let again = once(&journal, "body", &n.to_string()).await.unwrap();
        assert!(again.duplicate, "key {n}");
    }
    let other = once(&journal, "other", "3").await.unwrap_err();
    assert_eq!(other.code(), "key_reused");
    assert!(!once(&journal, "body", "11").await.unwrap().duplicate);
}

#[tokio::test]
async fn a_hole_and_damage_are_told_and_nothing_is_deleted() {
    for damage in ["delete", "cut", "flip"] {
        let world = World::new().await;
        world.dies_after("one", &["a", "b", "c", "d"]).await;
        let before = world.paths().await;
        // A stamp, then an object each.
        assert_eq!(before.len(), 5);
        let path = &before[2];
        let mut bytes = world.objects.content(path).await.unwrap().to_vec();
        world.objects.delete(path).await.unwrap();
        match damage {
            "cut" => bytes.truncate(bytes.len() - 1),
            _ => bytes[90] ^= 1,
        }
        if damage != "delete" {
            world.objects.put(path, bytes.into()).await.unwrap();
        }
        let after = world.paths().await;
        let error = open(&world.server("two", true)).await.unwrap_err();
        let code = if damage == "flip" {
            "journal_corrupt"
        } else {
            "journal_lost"
        };
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Data, code),
            "{damage}"
        );
        assert_eq!(world.paths().await, after, "{damage}");
    }
}

#[tokio::test]
async fn what_is_committed_may_be_gone_in_part() {
    let world = World::new().await;
    let id = world.dies_after("one", &["a", "b", "c", "d"]).await;
    let third = {
        let server = world.server("two", true);
        let journal = open(&server).await.unwrap();
        journal.tail(0).unwrap().next().await.unwrap()[2].end
    };
    // As an interrupted release leaves it.
    let paths = world.paths().await;
    world.objects.delete(&paths[2]).await.unwrap();
    let server = world.server("three", true);
    assert_eq!(open(&server).await.unwrap_err().code(), "journal_lost");
    world.move_to(&id, third).await;
    let journal = open_at_last(&server).await;
    assert_eq!(read_all(&journal, third).await, ["d"]);
    assert!(journal.backlog() > 0);
    assert_eq!(journal.tail(0).unwrap_err().code(), "journal_lost");
    // It fails at the offset where it cannot resume.
    world.move_to(&id, journal.durable() + 1).await;
    drop((journal, server));
    let error = open(&world.server("four", true)).await.unwrap_err();
    assert_eq!(error.code(), "journal_lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_share_no_journal_and_what_one_leaves_is_taken_over() {
    let clock = FakeClock::manual(Timestamp(1_700_000_000_000_000));
    let world = World::with_clock(clock.clone()).await;
    let one = world.server("one", false);
    let first = open(&one).await.unwrap();
    push(&first, "of one", clock.as_ref()).await.unwrap();
    let two = world.server("two", false);
    // It is not known yet whether the first one lives.
    assert_eq!(open(&two).await.unwrap_err().code(), "journal_held");
    assert_eq!(open(&two).await.unwrap_err().code(), "journal_opening");
    let passing = tokio::spawn({
        let clock = clock.clone();
        async move {
            loop {
                clock.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let second = open_at_last(&two).await;
    passing.abort();
    let _ = passing.await;
    assert_ne!(first.id(), second.id());
    assert!(!two.has_left_behind(&name(), limits()).await.unwrap());
    push(&first, "of one too", clock.as_ref()).await.unwrap();
    push(&second, "of two", clock.as_ref()).await.unwrap();

    // The first one ends, and releases its journal.
    let left = first.id().clone();
    one.close().await;
    drop((first, one));
    assert!(two.has_left_behind(&name(), limits()).await.unwrap());
    let adopted = two.left_behind(&name(), limits()).await.unwrap();
    assert_eq!(adopted.len(), 1);
    assert_eq!(adopted[0].id(), &left);
    assert_eq!(read_all(&adopted[0], 0).await, ["of one", "of one too"]);
    assert!(two.split(&name(), &left, limits()).await.is_some());
    assert_eq!(open(&two).await.unwrap().id(), second.id());
    // A run has it to read, until it has.
    assert!(two.has_left_behind(&name(), limits()).await.unwrap());
    world.commit(&adopted[0], adopted[0].durable()).await;
    assert!(!two.has_left_behind(&name(), limits()).await.unwrap());
}

#[tokio::test]
async fn a_dead_server_is_waited_for_unless_it_is_this_one() {
    let clock = FakeClock::manual(Timestamp(1_700_000_000_000_000));
    let world = World::with_clock(clock.clone()).await;
    let id = world.dies_after("one", &["a"]).await;
    let other = world.server("two", false);
    assert_eq!(open(&other).await.unwrap_err().code(), "journal_held");
    clock.advance(CLAIM);
    assert_eq!(open(&other).await.unwrap().id(), &id);
    drop(other);
    let id = world.dies_after("three", &["b"]).await;
    let again = open(&world.server("three", false)).await.unwrap();
    assert_eq!(again.id(), &id, "its folder has its identity");
    assert_eq!(read_all(&again, 0).await, ["a", "b"]);
}

#[tokio::test]
async fn a_pipeline_that_changes_its_place_leaves_nothing_behind() {
    let world = World::new().await;
    let server = world.server("one", true);
    let on_disk = server.of(&name(), Place::Disk, limits()).await.unwrap();
    once(&on_disk, "on disk", "k").await.unwrap();
    let stored = open(&server).await.unwrap();
    assert!(once(&stored, "on disk", "k").await.unwrap().duplicate);
    push(&stored, "stored", world.clock.as_ref()).await.unwrap();
    let left = server.left_behind(&name(), limits()).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(read_all(&left[0], 0).await, ["on disk"]);
    let back = server.of(&name(), Place::Disk, limits()).await.unwrap();
    assert_eq!(back.id(), on_disk.id());
    drop((on_disk, stored, left, back, server));
    // Also after a restart.
    for _ in 0..200 {
        let server = world.server("one", true);
        let Ok(_current) = open(&server).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if let Ok(left) = server.left_behind(&name(), limits()).await {
            assert_eq!(read_all(&left[0], 0).await, ["on disk"]);
            return;
        }
    }
    panic!("the journal on the disk stays open");
}
