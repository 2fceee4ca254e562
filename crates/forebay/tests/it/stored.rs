//! Pushes whose journal lies in the storage: the machine goes, what was acknowledged stays. Needs what `test.sh` installs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_testkit::{PostgresServer, S3Server};
use tokio::time::Instant;

use crate::flights::variable;
use crate::forebay::Project;
use crate::served::{Server, assert_each_once, push_until, runtime};

const PIPELINE: &str = "\
pipeline: events
source: {push: {journal: storage}}
extract: {json: {lines: true}}
buffer: {time: 100ms}
load: {iceberg: {table: push.events}}
";

/// Kills in the test of interruptions; `FOREBAY_TEST_KILLS` asks for more.
const KILLS: u64 = 6;

/// How long a run of a machine that is gone keeps others from its journal.
const LEASE: Duration = Duration::from_secs(30);

fn project(server: &S3Server) -> Project {
    let project = Project::new().on(server);
    project.write("pipelines/events.yaml", PIPELINE);
    project
}

/// Callers that push until they are told to stop.
struct Callers {
    runtime: tokio::runtime::Runtime,
    stop: Arc<AtomicBool>,
    callers: Vec<tokio::task::JoinHandle<Vec<u64>>>,
}

impl Callers {
    /// Eight, numbered from `first` on.
    fn start(server: &Server, first: u64) -> Self {
        let (runtime, stop) = (runtime(), Arc::<AtomicBool>::default());
        let url = server.url("/v1/ingest/events");
        let start = |caller| runtime.spawn(push_until(url.clone(), stop.clone(), caller));
        let callers = (first..first + 8).map(start).collect();
        Self {
            runtime,
            stop,
            callers,
        }
    }

    /// What was acknowledged.
    fn end(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let ends = self.callers.into_iter();
        ends.flat_map(|caller| self.runtime.block_on(caller).unwrap())
            .collect()
    }
}

fn lose(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
}

/// Kills the server again and again and asks what became of what was acknowledged.
fn killed(project: &Project, between: impl Fn()) {
    let kills = variable("FOREBAY_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut server = Server::start(project, "127.0.0.1:0");
    let callers = Callers::start(&server, 0);
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(900 + kill * 137 % 700));
        let address = server.kill();
        between();
        server = Server::start(project, &address);
    }
    std::thread::sleep(Duration::from_millis(1500));
    let acknowledged = callers.end();
    assert_eq!(server.stop(), Some(0));
    project.ok(&["run", "--quiet"]);
    println!("{} pushes over {kills} kills", acknowledged.len());
    assert_each_once(project, "push.events", acknowledged.iter().copied());
    assert!(acknowledged.len() > 100, "too few pushes to say anything");
}

/// Names of what lies in a folder, and in those below it.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let names = entries.flat_map(|entry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path.file_name().unwrap().to_string_lossy().into_owned()],
    });
    names.collect()
}

#[test]
fn killed_and_its_journal_folder_lost_every_acknowledged_push_is_there_once() {
    let Some(storage) = S3Server::shared() else {
        return;
    };
    let project = project(storage);
    let folder = project.path().join(".forebay/journal");
    killed(&project, || lose(&folder));
    let mut left = files(&folder);
    left.sort();
    assert_eq!(left, ["id", "lock"], "the journal is not on the disk");
}

#[test]
fn a_disk_can_be_the_storage() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    killed(&project, || {});
    let left = files(&project.path().join(".forebay/journal"));
    let segments = left.iter().filter(|name| name.ends_with(".segment"));
    // One of each start, and the newest.
    assert!(segments.count() <= 9 + 1, "{left:?}");
}

#[test]
fn a_machine_that_is_lost_loses_nothing_that_was_acknowledged() {
    let (Some(storage), Some(postgres)) = (S3Server::shared(), PostgresServer::start()) else {
        return;
    };
    let project = project(storage);
    let settings = format!("[store]\nurl = \"{}&schema=pushes\"\n", postgres.url());
    project.write("forebay.toml", &settings);
    let mut server = Server::start(&project, "127.0.0.1:0");
    let callers = Callers::start(&server, 0);
    std::thread::sleep(Duration::from_secs(3));
    let address = server.kill();
    lose(&project.path().join(".forebay"));
    server = Server::start(&project, &address);
    // The new machine cannot know at once that the old one is gone.
    std::thread::sleep(Duration::from_secs(20));
    let acknowledged = callers.end();
    assert_eq!(server.stop(), Some(0));
    let begun = Instant::now();
    while project.run(&["run", "--quiet"]).code != 0 {
        assert!(
            begun.elapsed() < LEASE + Duration::from_secs(10),
            "the split stays held"
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("{} pushes over the loss of a machine", acknowledged.len());
    assert_each_once(&project, "push.events", acknowledged.iter().copied());
    assert!(acknowledged.len() > 100, "too few pushes to say anything");
    let journals = "SELECT count(DISTINCT split) FROM raw.events";
    println!("{} journals", project.value(journals));
}

#[test]
fn what_a_dead_server_left_is_loaded_by_one_that_lives() {
    let (Some(storage), Some(postgres)) = (S3Server::shared(), PostgresServer::start()) else {
        return;
    };
    let project = project(storage);
    let settings = format!("[store]\nurl = \"{}&schema=pushes\"\n", postgres.url());
    project.write("forebay.toml", &settings);
    // They share the store and the storage, and nothing on a disk.
    let start =
        |workspace: &str| Server::start_with(&project, "127.0.0.1:0", &["--workspace", workspace]);
    let (one, two) = (start("one"), start("two"));
    let (of_one, of_two) = (Callers::start(&one, 0), Callers::start(&two, 8));
    // The second one has to see first that the first one lives.
    std::thread::sleep(Duration::from_secs(10));
    one.kill();
    lose(&project.path().join("one"));
    let (of_one, of_two) = (of_one.end(), of_two.end());
    assert!(
        of_one.len() > 100 && of_two.len() > 100,
        "too few pushes to say anything"
    );
    let begun = Instant::now();
    let count = "SELECT count(*) FROM push.events WHERE caller < 8";
    while project.value(count).parse::<usize>().unwrap() < of_one.len() {
        assert!(
            begun.elapsed() < LEASE * 2,
            "nobody loads what the first one left"
        );
        std::thread::sleep(Duration::from_secs(1));
    }
    println!("loaded {:?} after the death", begun.elapsed());
    assert_eq!(two.stop(), Some(0));
    let journals = "SELECT count(DISTINCT split) FROM raw.events";
    assert_eq!(project.value(journals), "2");
    assert_each_once(&project, "push.events", of_one.union(&of_two).copied());
}
