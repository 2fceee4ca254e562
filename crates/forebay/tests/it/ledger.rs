//! A topic under kill -9, held to what its producer wrote: into the lake, flat and nested, and into Postgres.
//!
//! Short by itself. `FOREBAY_TEST_MESSAGES` and `FOREBAY_TEST_KILLS` ask for more, `FOREBAY_TEST_KILL_EVERY` for other pauses
//! between kills (milliseconds).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use forebay_testkit::PostgresServer;
use serde_json::{Value, json};

use crate::flights::variable;
use crate::forebay::Project;
use crate::kafka::{Topic, finished, rows, start_peer};
use crate::served::Server;

const KILLS: u64 = 8;
const MESSAGES: u64 = 100_000;
const KILL_EVERY: u64 = 750;

/// What a test was asked for.
pub(crate) struct Asked {
    pub(crate) messages: u64,
    kills: u64,
    /// Milliseconds, about.
    pub(crate) every: u64,
}

impl Asked {
    pub(crate) fn new() -> Self {
        let number = |name: &str, usual| variable(name).map_or(usual, |text| text.parse().unwrap());
        Self {
            messages: number("FOREBAY_TEST_MESSAGES", MESSAGES),
            kills: number("FOREBAY_TEST_KILLS", KILLS),
            every: number("FOREBAY_TEST_KILL_EVERY", KILL_EVERY),
        }
    }

    /// Fills the topic with messages like `fill`, and kills the server again and again; returns the last one.
    pub(crate) fn survive(
        &self,
        project: &Project,
        topic: &Topic,
        fill: Value,
        variables: &[(&str, &str)],
    ) -> Server {
        let start = |address: &str| Server::start_where(project, address, &[], variables);
        let sending = start_peer(&topic.server.broker(), &fill.to_string());
        let mut server = start("127.0.0.1:0");
        for kill in 0..self.kills {
            let pause = self.every * 2 / 5 + kill * 137 % (self.every * 6 / 5).max(1);
            std::thread::sleep(Duration::from_millis(pause));
            let address = server.kill();
            server = start(&address);
        }
        finished(sending);
        server
    }

    /// Waits until all of it is there.
    fn wait(&self, count: impl Fn() -> String) {
        let wanted = self.messages.to_string();
        for _ in 0..600 + self.messages / 2_000 {
            if count() == wanted {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{} of {wanted} and no more", count());
    }

    /// Each id once, and of every row the price that its producer gave it.
    fn ledger(&self) -> String {
        let n = self.messages;
        format!("{n},{n},0,{},{}", n - 1, n * (n - 1) / 2)
    }

    fn say(&self, where_to: &str) {
        println!(
            "{} messages over {} kills {where_to}, each once",
            self.messages, self.kills
        );
    }
}

const FIGURES: &str =
    "count(*), count(DISTINCT id), min(id), max(id), sum(CAST(price * 4 AS BIGINT))";

/// Another reader of the same table: counts the same.
fn pyiceberg(project: &Project, asked: &Asked) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/ledger_reader.py");
    let read = Command::new(variable("FOREBAY_TEST_PYTHON").unwrap())
        .arg(script)
        .arg(project.path().join(".forebay/store.db"))
        .args(["shop.orders", &asked.ledger()])
        .envs(project.environment())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{errors}");
}

fn into_the_lake(nested: bool) {
    let asked = Asked::new();
    let Some(topic) = Topic::new(4) else { return };
    let project = Project::new();
    topic.pipeline(&project, "");
    let mut fill = topic.fill(0, asked.messages);
    fill["nested"] = json!(nested);
    let server = asked.survive(&project, &topic, fill, &[]);
    asked.wait(|| {
        let counted = project.run(&["sql", "SELECT count(*) FROM shop.orders", "--format", "csv"]);
        counted.out.lines().nth(1).unwrap_or("0").to_owned()
    });
    assert_eq!(server.stop(), Some(0));
    let figures = format!("SELECT {FIGURES} FROM shop.orders");
    assert_eq!(rows(&project, &figures), [asked.ledger()]);
    if nested {
        let items =
            "SELECT sum(cardinality(items)), count(customer__address__city) FROM shop.orders";
        let (all, each) = (asked.messages * 6, asked.messages);
        assert_eq!(rows(&project, items), [format!("{all},{each}")]);
    }
    pyiceberg(&project, &asked);
    asked.say("into the lake");
}

#[test]
fn killed_again_and_again_each_message_is_there_once() {
    into_the_lake(false);
}

#[test]
fn killed_again_and_again_each_nested_message_is_there_once() {
    into_the_lake(true);
}

#[test]
fn killed_again_and_again_each_message_is_a_row_of_postgres_once() {
    let asked = Asked::new();
    let Some(topic) = Topic::new(4) else { return };
    let Some(postgres) = PostgresServer::start() else {
        println!("skipped: FOREBAY_TEST_POSTGRES does not say where Postgres is");
        return;
    };
    let project = Project::new();
    topic.pipeline(&project, "");
    topic.pipeline_to_postgres(&project);
    let variables = [("WAREHOUSE", &*postgres.url())];
    let server = asked.survive(&project, &topic, topic.fill(0, asked.messages), &variables);
    let there = || postgres.sql("SELECT to_regclass('shop.orders') IS NOT NULL") == "t";
    asked.wait(|| match there() {
        true => postgres.sql("SELECT count(*) FROM shop.orders"),
        false => "0".to_owned(),
    });
    assert_eq!(server.stop(), Some(0));
    let found = postgres.sql(&format!("SELECT {FIGURES} FROM shop.orders"));
    assert_eq!(found.replace('|', ","), asked.ledger());
    // The lake's part of the same commits: every message is in the raw zone once.
    let kept = "SELECT sum(cardinality(messages)) FROM raw.orders";
    assert_eq!(rows(&project, kept), [asked.messages.to_string()]);
    asked.say("into Postgres");
}
