//! Pipelines into Postgres: from the lake and from files, through crashes and lost answers, with what is refused.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use forebay_testkit::{PostgresServer, on_s3};

use crate::flights::variable;
use crate::forebay::Project;

const INTO: &str = "pipeline: orders\nsource:\n  file: {path: \"data/*.ndjson\"}\nextract:\n  json: {lines: true}\nbuffer: {bytes: 3KiB}\nload:\n  postgres: {url: \"${env:WAREHOUSE}\", table: shop.orders}\n";
const FROM_LAKE: &str = "pipeline: out\nsource:\n  table: {name: shop.orders}\nextract:\n  table: {}\nload:\n  postgres: {url: \"${env:WAREHOUSE}\", table: shop.copied, mode: MODE}\n";

/// Crashes in the test of crashes; `FOREBAY_TEST_KILLS` asks for more.
const KILLS: u32 = 10;

/// Files of 60 rows each, of which the third of a file is one that Postgres refuses.
fn files(project: &Project, count: usize) {
    for file in 0..count {
        let row = |n: usize| {
            let note = if n == 2 { "a\\u0000b" } else { "fine" };
            format!("{{\"id\":{},\"note\":\"{note}\"}}\n", file * 60 + n)
        };
        let rows: String = (0..60).map(row).collect();
        project.write(&format!("data/{file:03}.ndjson"), &rows);
    }
}

/// Between a client and the server: does something at the n-th COMMIT.
struct Proxy {
    url: String,
    left: Arc<AtomicU32>,
    victim: Arc<AtomicI32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// The server has done it, and the client ends before it hears.
    Kill,
    /// The server has done it, and the client does not hear.
    Cut,
}

impl Proxy {
    fn start(server: &PostgresServer, at: At) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
        let (left, victim) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicI32::new(0)));
        let (socket, counts, target) = (server.socket(), left.clone(), victim.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (socket, counts, target) = (socket.clone(), counts.clone(), target.clone());
                std::thread::spawn(move || pass(client.unwrap(), socket, at, &counts, &target));
            }
        });
        Self { url, left, victim }
    }
}

fn pass(mut client: TcpStream, socket: PathBuf, at: At, left: &AtomicU32, victim: &AtomicI32) {
    let mut server = UnixStream::connect(socket).unwrap();
    let (mut down, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let deaf = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hears = deaf.clone();
    std::thread::spawn(move || {
        let mut room = vec![0; 1 << 16];
        while let Ok(n @ 1..) = down.read(&mut room) {
            if hears.load(Ordering::SeqCst) || back.write_all(&room[..n]).is_err() {
                break;
            }
        }
        back.shutdown(std::net::Shutdown::Both).ok();
    });
    let mut room = vec![0; 1 << 16];
    while let Ok(n @ 1..) = client.read(&mut room) {
        let commits = room[..n].ends_with(b"COMMIT\0");
        let take = |left: u32| left.checked_sub(1);
        let last = commits && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) == Ok(1);
        deaf.fetch_or(last, Ordering::SeqCst);
        if server.write_all(&room[..n]).is_err() {
            return;
        }
        if last {
            // Time enough for the server.
            std::thread::sleep(std::time::Duration::from_millis(100));
            if at == At::Kill {
                let pid = rustix::process::Pid::from_raw(victim.load(Ordering::SeqCst)).unwrap();
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
            client.shutdown(std::net::Shutdown::Both).ok();
            return;
        }
    }
}

fn spawn(project: &Project, warehouse: &str) -> Child {
    Command::new(assert_cmd::cargo::cargo_bin("forebay"))
        .current_dir(project.path())
        .args(["run", "orders"])
        .envs(project.environment())
        .env("WAREHOUSE", warehouse)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn ok(project: &Project, server: &PostgresServer, args: &[&str]) -> String {
    let output = project
        .command(args)
        .env("WAREHOUSE", server.url())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "forebay {args:?} failed:\n{errors}"
    );
    errors
}

/// Everything is there once: rows in Postgres, and in the lake what was refused and where it came from.
fn check(project: &Project, server: &PostgresServer, files: usize) {
    let rows = server.sql("SELECT count(*), count(DISTINCT id), sum(id) FROM shop.orders");
    let good: Vec<usize> = (0..files * 60).filter(|id| id % 60 != 2).collect();
    let (count, sum) = (good.len(), good.iter().sum::<usize>());
    assert_eq!(rows, format!("{count}|{count}|{sum}"));
    let payloads = "SELECT count(*) || ' ' || count(DISTINCT name) FROM raw.orders";
    assert_eq!(project.value(payloads), format!("{files} {files}"));
    let refused = "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || count(DISTINCT payload) FROM quarantine.orders WHERE stage = 'load' AND code = 'nul_in_text'";
    assert_eq!(project.value(refused), format!("{files} {files} {files}"));
    let sequence =
        server.sql("SELECT sequence FROM shop.forebay_positions WHERE split <> 'replay'");
    assert!(
        sequence.parse::<usize>().unwrap() >= files / 6,
        "{sequence} commits"
    );
}

#[test]
fn a_process_that_dies_between_the_two_commits_loses_and_doubles_nothing() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    project.write("pipelines/orders.yaml", INTO);
    files(&project, 40);
    let proxy = Proxy::start(&server, At::Kill);
    let kills = variable("FOREBAY_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut died = 0;
    for n in 0..kills {
        let mut child = spawn(&project, &proxy.url);
        proxy.victim.store(child.id() as i32, Ordering::SeqCst);
        // The first COMMITs make the schema's tables.
        proxy.left.store(1 + n % 4, Ordering::SeqCst);
        died += u32::from(!child.wait().unwrap().success());
    }
    assert!(died >= kills / 2, "only {died} of {kills} died");
    ok(&project, &server, &["run", "orders"]);
    check(&project, &server, 40);
}

/// The position of so many files names objects, of which the catalog hears only with the lake's part of the commit.
#[test]
fn objects_that_only_the_target_names_may_be_cleaned_away() {
    if on_s3() {
        println!("skipped: the objects are deleted from the disk");
        return;
    }
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let mut ahead = 0;
    for commits in 1..5 {
        server.sql("DROP SCHEMA IF EXISTS shop CASCADE");
        let project = Project::new();
        project.write(
            "pipelines/orders.yaml",
            &INTO.replace("buffer: {bytes: 3KiB}\n", ""),
        );
        for n in 0..600 {
            project.write(&format!("data/{n:03}.ndjson"), &format!("{{\"id\":{n}}}\n"));
        }
        let proxy = Proxy::start(&server, At::Kill);
        let mut child = spawn(&project, &proxy.url);
        proxy.victim.store(child.id() as i32, Ordering::SeqCst);
        proxy.left.store(commits, Ordering::SeqCst);
        if child.wait().unwrap().success() {
            continue;
        }
        // As `clean` does a day later.
        std::fs::remove_dir_all(project.path().join(".forebay/positions")).ok();
        let told = ok(&project, &server, &["run", "orders"]);
        ahead += u32::from(told.contains("one commit ahead"));
        project.write("data/more.ndjson", "{\"id\":600}\n");
        ok(&project, &server, &["run", "orders"]);
        let rows = server.sql("SELECT count(*), count(DISTINCT id) FROM shop.orders");
        assert_eq!(rows, "601|601");
        ok(&project, &server, &["verify"]);
    }
    assert!(ahead > 0, "no process died between the two commits");
}

#[test]
fn an_answer_to_commit_that_is_lost_is_found_out() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    project.write("pipelines/orders.yaml", INTO);
    files(&project, 20);
    ok(&project, &server, &["check"]);
    let proxy = Proxy::start(&server, At::Cut);
    // Connections are lost again and again; the run itself goes on.
    proxy.left.store(3, Ordering::SeqCst);
    let left = proxy.left.clone();
    std::thread::spawn(move || {
        for n in 0..6 {
            while left.load(Ordering::SeqCst) > 0 {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            left.store(1 + n % 3, Ordering::SeqCst);
        }
    });
    let mut child = spawn(&project, &proxy.url);
    assert!(child.wait().unwrap().success());
    check(&project, &server, 20);
}

#[test]
fn a_server_that_crashes_is_waited_for() {
    let Some(mut server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    project.write("pipelines/orders.yaml", INTO);
    files(&project, 120);
    let mut child = spawn(&project, &server.url());
    for n in 0..3 {
        std::thread::sleep(std::time::Duration::from_millis(400 + n * 150));
        server.stop();
        std::thread::sleep(std::time::Duration::from_millis(300));
        server.start_again();
    }
    assert!(child.wait().unwrap().success());
    check(&project, &server, 120);
}

#[test]
fn what_postgres_refused_lands_once_when_it_is_replayed() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    server.sql("CREATE SCHEMA shop; CREATE TABLE shop.orders (id bigint PRIMARY KEY, qty bigint CHECK (qty < 10))");
    project.write("pipelines/orders.yaml", INTO);
    project.write(
        "data/a.ndjson",
        "{\"id\":1,\"qty\":1}\n{\"id\":2,\"qty\":20}\n{\"id\":3,\"qty\":3}\n{\"id\":1,\"qty\":4}\n",
    );
    ok(&project, &server, &["run"]);
    assert_eq!(
        server.sql("SELECT string_agg(id::text, ',' ORDER BY id) FROM shop.orders"),
        "1,3"
    );
    let replay = ["quarantine", "replay", "orders"];
    let run = |args: &[&str]| {
        let output = project
            .command(args)
            .env("WAREHOUSE", server.url())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(
        run(&replay).contains("0 records landed"),
        "nothing is fixed yet"
    );
    server.sql("ALTER TABLE shop.orders DROP CONSTRAINT orders_qty_check");
    let told = run(&replay);
    assert!(told.contains("1 record landed"), "{told}");
    assert!(run(&replay).contains("0 records landed"));
    assert_eq!(
        server.sql("SELECT string_agg(id || ' ' || qty, ',' ORDER BY id) FROM shop.orders"),
        "1 1,2 20,3 3"
    );
    // The run goes on as if nothing had been.
    project.write("data/b.ndjson", "{\"id\":5,\"qty\":5}\n");
    ok(&project, &server, &["run"]);
    assert_eq!(server.sql("SELECT count(*) FROM shop.orders"), "4");
}

#[test]
fn a_table_of_the_lake_is_copied_and_then_followed() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    let lake = "pipeline: orders\nsource:\n  file: {path: \"data/*.ndjson\"}\nextract:\n  json: {lines: true}\nload:\n  iceberg: {table: shop.orders}\n";
    project.write("pipelines/orders.yaml", lake);
    project.write("pipelines/out.yaml", &FROM_LAKE.replace("MODE", "append"));
    let rows = |from: usize, to: usize| -> String {
        (from..to).map(|n| format!("{{\"id\":{n},\"at\":\"2026-01-01T00:00:{:02}Z\",\"tags\":[\"a\",\"b\"],\"who\":{{\"name\":\"n{n}\"}}}}\n", n % 60)).collect()
    };
    project.write("data/a.ndjson", &rows(0, 1_000));
    ok(&project, &server, &["run", "orders"]);
    ok(&project, &server, &["run", "out"]);
    let count = "SELECT count(*), count(DISTINCT id), sum(id) FROM shop.copied";
    assert_eq!(server.sql(count), "1000|1000|499500");
    let types = "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_name) FROM information_schema.columns WHERE table_name = 'copied' AND column_name IN ('id', 'tags')";
    assert_eq!(server.sql(types), "id bigint, tags ARRAY");
    // Nothing new, then only what is.
    ok(&project, &server, &["run", "out"]);
    assert_eq!(server.sql(count), "1000|1000|499500");
    project.write("data/b.ndjson", &rows(1_000, 1_500));
    ok(&project, &server, &["run", "orders"]);
    ok(&project, &server, &["run", "out"]);
    assert_eq!(server.sql(count), "1500|1500|1124250");
    // The raw zone names what was read, and holds no rows.
    let raw = "SELECT sum(length) FROM raw.out";
    assert!(project.value(raw).parse::<u64>().unwrap() < 20_000);
    // Another mode starts anew: the catalog and the target agree on that by `--full`.
    project.write("pipelines/out.yaml", &FROM_LAKE.replace("MODE", "replace"));
    server.sql("DELETE FROM shop.copied WHERE id < 700");
    ok(&project, &server, &["run", "out"]);
    assert_eq!(server.sql(count), "1500|1500|1124250");
}

#[test]
fn a_target_that_was_restored_is_not_loaded_twice() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    project.write("pipelines/orders.yaml", INTO);
    files(&project, 4);
    ok(&project, &server, &["run"]);
    server.sql(
        "UPDATE shop.forebay_positions SET sequence = sequence - 1, position = NULL, outbox = NULL",
    );
    files(&project, 5);
    let run = || {
        project
            .command(&["run"])
            .env("WAREHOUSE", server.url())
            .output()
            .unwrap()
    };
    let answer = run();
    let told = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(
        !answer.status.success() && told.contains("--full"),
        "{told}"
    );
    server.sql("DROP TABLE shop.forebay_positions");
    assert!(
        !run().status.success(),
        "a target that has forgotten is no better"
    );
    server.sql("TRUNCATE shop.orders");
    ok(&project, &server, &["run", "--full"]);
    assert_eq!(
        server.sql("SELECT count(*), count(DISTINCT id) FROM shop.orders"),
        "295|295"
    );
    let shown = told.contains("postgres@");
    assert!(shown, "the target is named: {told}");
}

#[test]
fn a_target_of_another_workspace_with_as_many_commits_is_refused() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = |first: usize| {
        let project = Project::new();
        project.write("pipelines/orders.yaml", INTO);
        project.write("data/a.ndjson", &format!("{{\"id\":{first}}}\n"));
        ok(&project, &server, &["run"]);
        project
    };
    project(1);
    server.sql("CREATE TABLE kept AS SELECT position, outbox FROM shop.forebay_positions");
    server.sql("DROP TABLE shop.forebay_positions, shop.orders");
    let second = project(2);
    second.write("data/b.ndjson", "{\"id\":3}\n");
    server.sql(
        "UPDATE shop.forebay_positions SET position = kept.position, outbox = kept.outbox FROM kept",
    );
    let run = second
        .command(&["run"])
        .env("WAREHOUSE", server.url())
        .output();
    let told = String::from_utf8_lossy(&run.unwrap().stderr).into_owned();
    assert!(
        told.contains("target_disagrees") && told.contains("another workspace"),
        "{told}"
    );
    assert_eq!(server.sql("SELECT count(*) FROM shop.orders"), "1");
}

/// A process of `forebay serve`, and where it listens; ended with the value.
struct Serving(Child, String);

impl Serving {
    fn start(project: &Project, warehouse: &str) -> Self {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin("forebay"))
            .current_dir(project.path())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .envs(project.environment())
            .env("WAREHOUSE", warehouse)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let found = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("http://")?;
            Some(address.to_owned())
        });
        // Somebody must read on, or the server would wait for it.
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| println!("{line}"));
        });
        Self(child, found.unwrap())
    }

    fn push(&self, pipeline: &str, body: &str) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("http://{}/v1/ingest/{pipeline}", self.1);
        let push = async {
            let answer = reqwest::Client::new()
                .post(url)
                .body(body.to_owned())
                .send()
                .await;
            assert_eq!(answer.unwrap().status(), 200);
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(push);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(server: &PostgresServer, statement: &str, expected: &str) {
    let mut got = String::new();
    for _ in 0..300 {
        got = server.sql(statement);
        if got == expected {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{statement} is {got}, not {expected}");
}

#[test]
fn what_is_pushed_goes_through_the_lake_into_postgres_and_survives_lost_connections() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    let pushed = "source: {push: {}}\nextract: {json: {lines: true}}\nbuffer: {time: 1s}\n";
    project.write("pipelines/direct.yaml", &format!("pipeline: direct\n{pushed}load:\n  postgres: {{url: \"${{env:WAREHOUSE}}\", table: shop.direct}}\n"));
    project.write(
        "pipelines/orders.yaml",
        &format!("pipeline: orders\n{pushed}load:\n  iceberg: {{table: shop.orders}}\n"),
    );
    project.write(
        "pipelines/out.yaml",
        &FROM_LAKE
            .replace("MODE", "append")
            .replace("load:", "buffer: {time: 100ms}\nload:"),
    );
    server.sql("CREATE SCHEMA shop; CREATE TABLE shop.direct (id bigint)");
    let serving = Serving::start(&project, &server.url());
    serving.push("direct", "{\"id\":1}\n{\"id\":2}\n");
    serving.push("orders", "{\"id\":1}\n{\"id\":2}\n");
    eventually(&server, "SELECT count(*) FROM shop.direct", "2");
    let made = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('shop.copied')";
    eventually(&server, made, "1");
    eventually(&server, "SELECT count(*) FROM shop.copied", "2");
    // The connections go while rows wait for their commit, and nothing else comes that would wake anybody.
    serving.push("direct", "{\"id\":3}\n");
    serving.push("orders", "{\"id\":3}\n");
    std::thread::sleep(std::time::Duration::from_millis(400));
    server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'forebay'");
    eventually(
        &server,
        "SELECT count(*) || ' ' || count(DISTINCT id) FROM shop.direct",
        "3 3",
    );
    eventually(
        &server,
        "SELECT count(*) || ' ' || count(DISTINCT id) FROM shop.copied",
        "3 3",
    );
    drop(serving);
    // And -9 in between.
    let serving = Serving::start(&project, &server.url());
    serving.push("orders", "{\"id\":4}\n");
    drop(serving);
    let _serving = Serving::start(&project, &server.url());
    eventually(
        &server,
        "SELECT count(*) || ' ' || count(DISTINCT id) FROM shop.copied",
        "4 4",
    );
}

#[test]
fn a_replace_that_refuses_every_record_or_finds_no_file_keeps_the_rows() {
    let Some(server) = PostgresServer::start() else {
        return;
    };
    let project = Project::new();
    let text = INTO.replace("table: shop.orders", "table: shop.orders, mode: replace")
        + "schema: {columns: {id: {type: long, required: true}}}\n";
    project.write("pipelines/orders.yaml", &text);
    project.write("data/a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    ok(&project, &server, &["run", "orders"]);
    let run = || {
        let mut command = project.command(&["run", "orders"]);
        let output = command.env("WAREHOUSE", server.url()).output().unwrap();
        (
            output.status.success(),
            server.sql("SELECT count(*) FROM shop.orders"),
        )
    };
    project.write("data/a.ndjson", "{\"ident\":1}\n");
    assert_eq!(run(), (false, "2".to_owned()), "every record is refused");
    std::fs::remove_file(project.path().join("data/a.ndjson")).unwrap();
    assert_eq!(run(), (true, "2".to_owned()), "no file is there");
    project.write("data/a.ndjson", "");
    assert_eq!(run(), (true, "0".to_owned()), "a file without rows");
}
