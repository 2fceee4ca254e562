//! A disk that fails with EIO below the running binary: an error that says so, no panic, nothing that was acknowledged lost or landed
//! twice. The failing calls are those of the real binary, by `faulty_disk.c`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::forebay::Project;
use crate::served::{PIPELINE, Server, assert_each_once, client, runtime, until};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/faulty_disk.c");
const EIO: u64 = 5;

/// Calls by what they do, as `faulty_disk.c` numbers them.
const KINDS: [(&str, u64); 8] = [
    ("read", 1),
    ("write", 2),
    ("sync", SYNC),
    ("rename", 8),
    ("open", 16),
    ("truncate", 32),
    ("make a folder", 64),
    ("remove", 128),
];
const WRITE: u64 = 2;
const SYNC: u64 = 4;

/// Which call is the first to fail: early ones open the store, late ones commit.
const FIRST_FAILURES: [u64; 4] = [1, 12, 30, 90];

/// How many calls fail then. A run asks a store that fails in a commit for half a minute what became of it, so the disk must come back.
const CALLS: u64 = 6;

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let name = format!("faulty_disk_{}.so", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&path, Path::new(SOURCE)])
            .args(["-ldl", "-lpthread"])
            .output()
            .expect("a C compiler is among the prerequisites of the tests");
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
        path
    })
}

/// What the disk below a folder does, for every process that was started with its variables.
struct FaultyDisk {
    folder: PathBuf,
    control: tempfile::NamedTempFile,
}

impl FaultyDisk {
    fn below(folder: PathBuf) -> Self {
        let control = tempfile::NamedTempFile::new().unwrap();
        control.as_file().set_len(40).unwrap();
        Self { folder, control }
    }

    fn variables(&self) -> [(&str, &str); 3] {
        [
            ("LD_PRELOAD", library().to_str().unwrap()),
            ("FAULTY_FOLDER", self.folder.to_str().unwrap()),
            ("FAULTY_CONTROL", self.control.path().to_str().unwrap()),
        ]
    }

    fn set(&self, kinds: u64, from: u64, until: u64) {
        // First nothing fails, then the numbers are there, then it does.
        for (nth, number) in [0, 0, from, until, EIO, kinds].into_iter().enumerate() {
            let at = (nth % 5) as u64 * 8;
            let control: &File = self.control.as_file();
            control.write_all_at(&number.to_le_bytes(), at).unwrap();
        }
    }

    /// From the `from`th call of these kinds on every one fails.
    fn fail_from(&self, kinds: u64, from: u64) {
        self.set(kinds, from, u64::MAX);
    }

    /// Only the `nth` call of these kinds fails.
    fn fail_once(&self, kinds: u64, nth: u64) {
        self.set(kinds, nth, nth + 1);
    }

    fn heal(&self) {
        self.set(0, 0, 0);
    }
}

/// An error with its own exit code, not a panic or a signal.
fn assert_is_error(what: &str, code: Option<i32>, text: &str) {
    let is_error = code.is_some_and(|code| code < 100) && text.contains("error");
    assert!(
        is_error && !text.contains("panic"),
        "{what}, {code:?}: {text}"
    );
}

#[test]
fn a_run_on_a_disk_that_fails_is_an_error_and_the_next_one_lands_each_record_once() {
    let project = Project::new();
    project.write(
        "pipelines/orders.yaml",
        "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {lines: true, nested: tables}}\nload: {iceberg: {table: shop.orders}}\n",
    );
    let disk = FaultyDisk::below(project.path().to_owned());
    let run = |what: &str| {
        let mut command = project.command(&["run", "orders"]);
        let output = command.envs(disk.variables()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("panic"), "{what}: {text}");
        let has_failed = output.status.code() != Some(0);
        if has_failed {
            assert_is_error(what, output.status.code(), &text);
        }
        usize::from(has_failed)
    };
    let (mut rows, mut failures) = (0, 0);
    for (name, kind) in KINDS {
        for first in FIRST_FAILURES {
            rows += 1;
            project.write(
                &format!("in/{rows}.ndjson"),
                &format!("{{\"id\":{rows},\"items\":[1,2]}}\n"),
            );
            disk.set(kind, first, first + CALLS);
            failures += run(&format!("{name} fails {CALLS} times from call {first} on"));
            disk.fail_once(kind, first);
            failures += run(&format!("{name} fails in call {first}"));
        }
        disk.heal();
        project.ok(&["run", "orders"]);
        let counts = "SELECT count(*), count(DISTINCT id) FROM shop.orders";
        assert_eq!(project.value(counts), format!("{rows},{rows}"), "{name}");
    }
    assert!(failures > 15, "{failures} runs failed");
    let items = project.value("SELECT count(*) FROM shop.orders__items");
    assert_eq!(items, (2 * rows).to_string());
    project.ok(&["verify"]);
}

/// Pushes records of ascending ids; gives those that were acknowledged.
struct Pusher<'a> {
    server: &'a Server,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    next: u64,
    acknowledged: Vec<u64>,
}

impl<'a> Pusher<'a> {
    fn new(server: &'a Server) -> Self {
        Self {
            server,
            runtime: runtime(),
            client: client(),
            next: 0,
            acknowledged: Vec::new(),
        }
    }

    fn push(&mut self) -> u16 {
        self.next += 1;
        let body = format!("{{\"id\":{},\"text\":\"{}\"}}", self.next, "x".repeat(300));
        let url = self.server.url("/v1/ingest/events");
        let request = self.client.post(url).body(body);
        let answer = self.runtime.block_on(async { request.send().await });
        let status = answer.unwrap().status().as_u16();
        if status == 200 {
            self.acknowledged.push(self.next);
        }
        status
    }
}

#[test]
fn a_server_on_a_disk_that_fails_answers_503_and_loses_nothing_that_it_acknowledged() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let disk = FaultyDisk::below(project.path().join(".forebay"));
    let server = Server::start_where(&project, "127.0.0.1:0", &[], &disk.variables());
    let mut pusher = Pusher::new(&server);
    for (name, kind) in KINDS {
        assert_eq!(pusher.push(), 200, "{name}");
        disk.fail_from(kind, 1);
        let push_slowly = |_| {
            std::thread::sleep(Duration::from_millis(10));
            pusher.push()
        };
        let answers: Vec<u16> = (0..20).map(push_slowly).collect();
        let are_clear = answers.iter().all(|status| [200, 503].contains(status));
        assert!(are_clear, "{name}: {answers:?}");
        if [WRITE, SYNC].contains(&kind) {
            assert!(!answers.contains(&200), "{name}: {answers:?}");
        }
        assert_eq!(
            server.get(&pusher.runtime, "/healthz").trim(),
            "ok",
            "{name}"
        );
        disk.heal();
        let begins_again = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            pusher.push() == 200
        });
        assert!(begins_again, "{name}: {:#?}", server.said());
    }
    let acknowledged = pusher.acknowledged.clone();
    let said = server.said().join("\n");
    assert!(!said.contains("panic"), "{said}");
    assert_eq!(server.stop(), Some(0));
    // What a run that failed has left to its next try.
    project.ok(&["run", "events"]);
    assert_each_once(&project, "push.events", acknowledged.into_iter());
    project.ok(&["verify"]);
}

/// After a failed flush the system calls pages clean that never reached the disk: whoever flushes again is told that all is well.
#[test]
fn a_journal_whose_flush_failed_does_not_trust_the_file_again() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let disk = FaultyDisk::below(project.path().join(".forebay/journal"));
    let server = Server::start_where(&project, "127.0.0.1:0", &[], &disk.variables());
    let mut pusher = Pusher::new(&server);
    // The dirty bytes are those that are written while flushes are counted.
    disk.fail_once(SYNC, u64::MAX - 1);
    assert_eq!(pusher.push(), 200);
    for _ in 0..5 {
        // So long that the journal notes what is durable, which is not flushed by itself.
        std::thread::sleep(Duration::from_millis(400));
        disk.fail_once(SYNC, 1);
        let answers: Vec<u16> = (0..4).map(|_| pusher.push()).collect();
        assert_eq!(answers, [503, 200, 200, 200]);
    }
    disk.heal();
    let acknowledged = pusher.acknowledged.clone();
    until("what was acknowledged has landed", || {
        let count = "SELECT count(*) FROM push.events";
        let answer = project.run(&["sql", count, "--format", "csv"]);
        answer.out.lines().nth(1) == Some(&acknowledged.len().to_string())
    });
    assert_eq!(server.stop(), Some(0));
    assert_each_once(&project, "push.events", acknowledged.into_iter());
    project.ok(&["verify"]);
}
