//! A topic that is read in several parts: by servers that share one store, under kill -9, and divided anew on the way.

use std::time::Duration;

use forebay_testkit::{PostgresServer, S3Server};
use serde_json::{Value, json};

use crate::forebay::Project;
use crate::kafka::{Topic, finished, rows, start_peer, wait_for};
use crate::ledger::Asked;
use crate::served::{Server, until};

const COUNT: &str = "SELECT count(*) FROM shop.orders";

/// Rounds of the kills, each of one of two servers.
const ROUNDS: u64 = 4;

/// A server with a workspace of its own, that says what it does.
fn start(project: &Project, name: &str) -> Server {
    let workspace = ["--workspace", name];
    Server::start_where(
        project,
        "127.0.0.1:0",
        &workspace,
        &[("FOREBAY_LOG", "info")],
    )
}

fn divide(topic: &Topic, project: &Project, shares: u32) {
    topic.pipeline(project, &format!("    shares: {shares}\n"));
}

fn each_once(project: &Project, messages: u64) {
    wait_for(project, COUNT, &messages.to_string());
    let figures = "SELECT count(DISTINCT id), min(id), max(id), sum(CAST(price * 4 AS BIGINT)) FROM shop.orders";
    let (last, sum) = (messages - 1, messages * (messages - 1) / 2);
    let ledger = format!("{messages},0,{last},{sum}");
    assert_eq!(rows(project, figures), [ledger]);
    let kept = "SELECT sum(cardinality(messages)) FROM raw.orders";
    assert_eq!(rows(project, kept), [messages.to_string()]);
}

/// What the server has said last of how many splits fall to it.
fn newest(said: &[String]) -> Option<&String> {
    said.iter().rev().find(|line| line.contains("wanted="))
}

/// Waits until so many splits fall to the server.
fn falls_to(server: &Server, wanted: u32, of: u32) {
    let text = format!("wanted={wanted} of={of}");
    server.wait_said(20, |said| {
        newest(said).is_some_and(|line| line.contains(&text))
    });
}

fn nothing_failed(server: &Server) {
    let said = server.said();
    let failed = said.iter().any(|line| line.contains("failed"));
    assert!(!failed, "{said:#?}");
}

/// A project for servers that share the store and the storage, and nothing on a disk.
fn together(schema: &str) -> Option<(Project, PostgresServer)> {
    let (storage, postgres) = (S3Server::shared()?, PostgresServer::start()?);
    let project = Project::new().on(storage);
    let url = postgres.url();
    let settings = format!("[store]\nurl = \"{url}&schema={schema}\"\nlease = \"2s\"\n");
    project.write("forebay.toml", &settings);
    Some((project, postgres))
}

fn fill(topic: &Topic, from: u64, to: u64) -> std::process::Child {
    let fill: Value = topic.fill(from, to);
    start_peer(&topic.server.broker(), &fill.to_string())
}

#[test]
fn two_servers_share_a_topic_and_take_over_from_each_other() {
    let Some((project, _postgres)) = together("shared") else {
        return;
    };
    let Some(topic) = Topic::new(8) else { return };
    divide(&topic, &project, 4);
    let start = |name: &str| start(&project, name);
    let mut one = start("one");
    falls_to(&one, 4, 4);
    let mut two = start("two");
    falls_to(&one, 2, 4);
    falls_to(&two, 2, 4);
    let round = Asked::new().messages / 5;
    for n in 0..ROUNDS {
        let sending = fill(&topic, n * round, (n + 1) * round);
        std::thread::sleep(Duration::from_millis(700 + n * 331 % 900));
        let (dead, name, left) = match n % 2 {
            0 => (&mut one, "one", &two),
            _ => (&mut two, "two", &one),
        };
        let killed = std::mem::replace(dead, start("other"));
        killed.kill();
        falls_to(left, 2, 4);
        let stopped = std::mem::replace(dead, start(name));
        assert_eq!(stopped.stop(), Some(0));
        finished(sending);
    }
    each_once(&project, ROUNDS * round);
    let shares = "SELECT DISTINCT split FROM raw.orders ORDER BY 1";
    let names = ["0", "1", "2", "3"].map(|n| format!("share_{n}_of_4"));
    assert_eq!(rows(&project, shares), names);
    assert_eq!(one.stop(), Some(0));
    falls_to(&two, 4, 4);
    assert_eq!(two.stop(), Some(0));
}

#[test]
fn what_one_share_has_learned_the_others_hold_to() {
    let Some(topic) = Topic::new(2) else { return };
    let project = Project::new();
    divide(&topic, &project, 2);
    let info = [("FOREBAY_LOG", "info")];
    let server = Server::start_where(&project, "127.0.0.1:0", &[], &info);
    let mut count = 0;
    // Both know the column before one of them learns that it is wider than that, and another one beside it.
    for values in [["1", "2"], ["1.5", "3"], ["4", "\"x\""], ["\"y\"", "2.5"]] {
        for (partition, value) in values.iter().enumerate() {
            let record = format!("{{\"id\": {count}, \"x\": {value}}}");
            topic.peer(&[topic.send(json!(record), json!({"partition": partition}))]);
            count += 1;
            wait_for(&project, COUNT, &count.to_string());
        }
    }
    nothing_failed(&server);
    assert_eq!(server.stop(), Some(0));
    let figures = "SELECT sum(x), count(x__v_string), count(*) FROM shop.orders";
    assert_eq!(rows(&project, figures), ["14.0,2,8"]);
}

#[test]
fn one_stands_by_where_there_is_one_split() {
    let Some((project, _postgres)) = together("standby") else {
        return;
    };
    let Some(topic) = Topic::new(2) else { return };
    topic.pipeline(&project, "");
    let start = |name: &str| start(&project, name);
    let servers = [start("one"), start("two")];
    finished(fill(&topic, 0, 100));
    wait_for(&project, COUNT, "100");
    let says = |server: &Server, what: &str| {
        newest(&server.said()).is_some_and(|line| line.contains(what))
    };
    // The first has the split alone until the second has come.
    let both = ["wanted=0", "wanted=1"];
    let settled = || {
        both.iter()
            .all(|what| servers.iter().any(|server| says(server, what)))
    };
    until("both know of each other", settled);
    let (at_work, by): (Vec<_>, Vec<_>) = servers
        .into_iter()
        .partition(|server| says(server, "wanted=1"));
    let (at_work, by) = (at_work.into_iter().next().unwrap(), by.into_iter().next());
    let by = by.expect("one of the two stands by");
    at_work.kill();
    finished(fill(&topic, 100, 200));
    wait_for(&project, COUNT, "200");
    nothing_failed(&by);
    assert_eq!(by.stop(), Some(0));
    each_once(&project, 200);
}

#[test]
fn a_topic_is_divided_anew_while_it_is_read() {
    let Some(topic) = Topic::new(6) else { return };
    let project = Project::new();
    topic.pipeline(&project, "");
    let mut server = Server::start(&project, "127.0.0.1:0");
    let round = Asked::new().messages / 5;
    let divisions = [3, 4, 1, 4, 2];
    for (n, shares) in (0..).zip(divisions) {
        let sending = fill(&topic, n * round, (n + 1) * round);
        std::thread::sleep(Duration::from_millis(300));
        divide(&topic, &project, shares);
        std::thread::sleep(Duration::from_millis(800 + n * 173 % 500));
        let address = server.kill();
        server = Server::start(&project, &address);
        finished(sending);
    }
    let before = divisions.len() as u64 * round;
    wait_for(&project, COUNT, &before.to_string());
    finished(fill(&topic, before, before + 600));
    each_once(&project, before + 600);
    assert_eq!(server.stop(), Some(0));
    let parts = rows(&project, "SELECT DISTINCT split FROM raw.orders");
    let newest = ["share_0_of_2", "share_1_of_2"].map(str::to_owned);
    assert!(newest.iter().all(|part| parts.contains(part)), "{parts:?}");
}

#[test]
fn a_divided_topic_goes_on_in_postgres_where_it_was() {
    let Some(topic) = Topic::new(5) else { return };
    let Some(postgres) = PostgresServer::start() else {
        println!("skipped: FOREBAY_TEST_POSTGRES does not say where Postgres is");
        return;
    };
    let project = Project::new();
    for (n, shares) in (0..).zip([1, 3, 2, 3, 1]) {
        divide(&topic, &project, shares);
        topic.pipeline_to_postgres(&project);
        finished(fill(&topic, n * 100, (n + 1) * 100));
        let run = project
            .command(&["run"])
            .env("WAREHOUSE", postgres.url())
            .output();
        let run = run.unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        let found = postgres.sql("SELECT count(*), count(DISTINCT id), max(id) FROM shop.orders");
        let all = (n + 1) * 100;
        assert_eq!(found, format!("{all}|{all}|{}", all - 1), "{shares} shares");
    }
}
