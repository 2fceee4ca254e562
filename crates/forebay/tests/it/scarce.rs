//! A machine that runs out of something: file handles, disk space. Errors that say so, no panic, and nothing lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::forebay::Project;
use crate::served::{PIPELINE, Server, client, runtime, until, wait_for};

/// Limits of open files that a run is tried with: from too few to start to almost enough.
const FILE_LIMITS: std::ops::Range<u32> = 5..40;

/// Size of the file system that is filled up.
const DISK_BYTES: usize = 48 << 20;

fn limited(project: &Project, files: u32, args: &str) -> std::process::Output {
    let script = format!("ulimit -n {files} && exec \"$0\" {args}");
    Command::new("sh")
        .args(["-c", &script])
        .arg(assert_cmd::cargo::cargo_bin("forebay"))
        .current_dir(project.path())
        .envs(project.environment())
        .output()
        .unwrap()
}

#[test]
fn a_run_without_file_handles_is_an_error_and_the_next_one_lands_each_record_once() {
    let project = Project::new();
    project.write(
        "pipelines/orders.yaml",
        "pipeline: orders\nsource: {file: {path: \"in/*.ndjson\"}}\nextract: {json: {lines: true, nested: tables}}\nload: {iceberg: {table: shop.orders}}\n",
    );
    let (mut rows, mut failures) = (0, 0);
    for files in FILE_LIMITS.step_by(2) {
        project.write(
            &format!("in/{files}.ndjson"),
            &format!("{{\"id\":{files},\"items\":[1,2]}}\n"),
        );
        rows += 1;
        let output = limited(&project, files, "run orders");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains("panic"), "{files} files: {text}");
        let code = output.status.code();
        if code != Some(0) {
            // Not that of a panic, nor of a signal.
            let is_error = code.is_some_and(|code| code < 100) && text.contains("error");
            assert!(is_error, "{files} files, {code:?}: {text}");
            failures += 1;
        }
    }
    assert!(failures > 3, "{failures} runs failed");
    project.ok(&["run", "orders"]);
    let counts = "SELECT count(*), count(DISTINCT id) FROM shop.orders";
    assert_eq!(project.value(counts), format!("{rows},{rows}"));
    let items = project.value("SELECT count(*) FROM shop.orders__items");
    assert_eq!(items, (2 * rows).to_string());
}

fn set_file_limit(server: &Server, files: u64) {
    let pid = Pid::from_raw(server.process_id().cast_signed());
    let limit = prlimit(
        pid,
        Resource::Nofile,
        Rlimit {
            current: Some(files),
            maximum: getrlimit(Resource::Nofile).maximum,
        },
    );
    limit.unwrap();
}

/// The number that the next file handle of the server would have.
fn next_handle(server: &Server) -> u64 {
    let folder = format!("/proc/{}/fd", server.process_id());
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let taken: BTreeSet<u64> = names
        .map(|name| name.to_str().unwrap().parse().unwrap())
        .collect();
    (0..).find(|handle| !taken.contains(handle)).unwrap()
}

#[test]
fn a_server_without_file_handles_answers_503_at_once_and_recovers() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let server = Server::start(&project, "127.0.0.1:0");
    let runtime = runtime();
    let push = |id: usize| {
        let url = server.url("/v1/ingest/events");
        let body = format!("{{\"id\":{id}}}");
        // A client of its own, so that the connection is new.
        let pushed = async { client().post(url).body(body).send().await };
        runtime.block_on(pushed).unwrap().status().as_u16()
    };
    assert_eq!(push(0), 200);
    wait_for(&project, 1);
    // The connection of the first push is closed.
    std::thread::sleep(Duration::from_millis(300));
    set_file_limit(&server, next_handle(&server));
    let answers: Vec<u16> = (0..5).map(push).collect();
    assert!(answers.contains(&503), "{answers:?}");
    assert!(
        answers.iter().all(|status| [200, 503].contains(status)),
        "{answers:?}"
    );
    // Longer than runs that fail wait before they are tried again.
    std::thread::sleep(Duration::from_secs(1));
    set_file_limit(&server, 1_024);
    until("pushes are taken again", || push(1_000) == 200);
    until("what was acknowledged has landed", || {
        let landed = "SELECT count(*) FROM push.events WHERE id = 1000";
        let answer = project.run(&["sql", landed, "--format", "csv"]);
        answer.out.lines().nth(1).is_some_and(|count| count != "0")
    });
    let acknowledged = 2 + answers.iter().filter(|status| **status == 200).count();
    wait_for(&project, acknowledged);
    let said = server.said().join("\n");
    assert!(!said.contains("panic"), "{said}");
    assert_eq!(server.stop(), Some(0));
}

/// A file system of its own, until it is dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` for who may not mount one.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"])
            .arg(folder.path())
            .output();
        mounted.ok()?.status.success().then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all of the space that is left.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.path().join("ballast");
        let mut file = std::fs::File::create(&path).unwrap();
        while std::io::Write::write_all(&mut file, &[1; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[test]
fn a_server_takes_pushes_again_by_itself_when_a_full_disk_has_space() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: this user may not mount a file system");
        return;
    };
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let workspace = disk.path().join("workspace");
    let workspace = ["--workspace", workspace.to_str().unwrap()];
    let server = Server::start_with(&project, "127.0.0.1:0", &workspace);
    let (runtime, client) = (runtime(), client());
    let _inside = runtime.enter();
    let mut acknowledged = 0;
    let mut push = || {
        let url = server.url("/v1/ingest/events");
        let body = format!("{{\"text\":\"{}\"}}", "x".repeat(2_000));
        let sent = runtime.block_on(client.post(url).body(body).send());
        let status = sent.unwrap().status().as_u16();
        acknowledged += u64::from(status == 200);
        status
    };
    for round in 0..3 {
        assert_eq!(push(), 200, "round {round}");
        let ballast = disk.fill();
        let refused = (0..2_000).any(|_| push() == 429);
        assert!(refused, "round {round}: the disk is full");
        std::thread::sleep(Duration::from_secs(2));
        std::fs::remove_file(ballast).unwrap();
        let taken = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            push() == 200
        });
        assert!(taken, "round {round}: {:#?}", server.said());
    }
    let count = || {
        let count = ["sql", "SELECT count(*) FROM push.events", "--format", "csv"];
        let answer = project.run(&[&count[..], &workspace[..]].concat());
        answer
            .out
            .lines()
            .nth(1)
            .and_then(|count| count.parse().ok())
    };
    until("every acknowledged push has landed", || {
        count() == Some(acknowledged)
    });
    assert!(!server.said().iter().any(|line| line.contains("panic")));
    assert_eq!(server.stop(), Some(0));
    assert_eq!(count(), Some(acknowledged));
}
