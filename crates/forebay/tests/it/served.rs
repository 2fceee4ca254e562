//! A `forebay serve` of a project, for tests: started, asked, killed, ended.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::forebay::Project;

/// A pipeline that takes pushes of records.
pub(crate) const PIPELINE: &str = "\
pipeline: events
source: {push: {}}
extract: {json: {lines: true}}
buffer: {time: 100ms}
load: {iceberg: {table: push.events}}
";

pub(crate) struct Server {
    process: Child,
    address: String,
    /// What it has said on stderr.
    said: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts the server and waits until it listens; `address` of `127.0.0.1:0` takes any port.
    pub(crate) fn start(project: &Project, address: &str) -> Self {
        Self::start_with(project, address, &[])
    }

    /// As [`Self::start`], with more arguments.
    pub(crate) fn start_with(project: &Project, address: &str, more: &[&str]) -> Self {
        Self::start_where(project, address, more, &[])
    }

    /// As [`Self::start_with`], with more variables.
    pub(crate) fn start_where(
        project: &Project,
        address: &str,
        more: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut process = Command::new(assert_cmd::cargo::cargo_bin("forebay"))
            .current_dir(project.path())
            .args(["serve", "--listen", address])
            .args(more)
            .envs(project.environment())
            .env("FOREBAY_SECRET_DOOR", "open sesame, open wide")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| {
            said.push(line.clone());
            let (_, address) = line.split_once("listening on http://")?;
            let is_address = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
            Some(address.chars().take_while(|c| is_address(*c)).collect())
        });
        let address = found.expect("the server says where it listens");
        let said = Arc::new(Mutex::new(said));
        // Somebody must read on, or the server would wait for it.
        std::thread::spawn({
            let said = said.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    println!("{line}");
                    said.lock().unwrap().push(line);
                }
            }
        });
        Self {
            process,
            address,
            said,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// As a power cut would; returns the address for the next one.
    pub(crate) fn kill(self) -> String {
        self.address.clone()
    }

    /// Asks it to end, and waits; returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap().code()
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The most memory that it has had resident, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().unwrap();
        kib * 1024
    }

    /// Lines of stderr so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits until what it has said is as wanted, for `seconds` at most.
    pub(crate) fn wait_said(&self, seconds: u32, is_wanted: impl Fn(&[String]) -> bool) {
        let waited = (0..seconds * 10).take_while(|_| !is_wanted(&self.said()));
        waited.for_each(|_| std::thread::sleep(Duration::from_millis(100)));
        assert!(is_wanted(&self.said()), "{:#?}", self.said());
    }

    /// The text of a page.
    pub(crate) fn get(&self, runtime: &tokio::runtime::Runtime, path: &str) -> String {
        let url = self.url(path);
        runtime.block_on(async {
            client()
                .get(url)
                .send()
                .await
                .unwrap()
                .text()
                .await
                .unwrap()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

/// Pushes numbered records from several callers until told to stop. A push without an answer is sent again under the
/// same key. Returns the numbers that were acknowledged.
pub(crate) async fn push_until(url: String, stop: Arc<AtomicBool>, caller: u64) -> Vec<u64> {
    let client = client();
    let mut acknowledged = Vec::new();
    for n in 0.. {
        let id = caller * 1_000_000 + n;
        let body = json!({"id": id, "caller": caller, "text": "x".repeat(100)}).to_string();
        loop {
            if stop.load(Ordering::Relaxed) {
                return acknowledged;
            }
            let push = client
                .post(&url)
                .header("idempotency-key", id.to_string())
                .body(body.clone());
            match push.send().await {
                Ok(answer) if answer.status() == 200 => {
                    acknowledged.push(id);
                    break;
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
    acknowledged
}

/// Waits until something is so, which `what` names.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..300 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("not within 30 s: {what}");
}

/// Asks until the table has so many rows.
pub(crate) fn wait_for(project: &Project, rows: usize) {
    for _ in 0..200 {
        let answer = project.run(&["sql", "SELECT count(*) FROM push.events", "--format", "csv"]);
        if answer.out.lines().nth(1) == Some(rows.to_string().as_str()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the table does not come to {rows} rows");
}

/// Holds a table to the ledger of what was acknowledged: each id of it is there, and no id is there twice.
pub(crate) fn assert_each_once(
    project: &Project,
    table: &str,
    acknowledged: impl Iterator<Item = u64>,
) {
    let rows = project.ok(&[
        "sql",
        &format!("SELECT id, count(*) AS n FROM {table} GROUP BY id"),
        "--format",
        "csv",
    ]);
    let found: BTreeMap<u64, u64> = rows
        .out
        .lines()
        .skip(1)
        .map(|line| {
            let (id, n) = line.split_once(',').unwrap();
            (id.parse().unwrap(), n.parse().unwrap())
        })
        .collect();
    let twice: Vec<_> = found.iter().filter(|(_, n)| **n != 1).collect();
    assert!(twice.is_empty(), "landed more than once: {twice:?}");
    let lost: Vec<_> = acknowledged.filter(|id| !found.contains_key(id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}
