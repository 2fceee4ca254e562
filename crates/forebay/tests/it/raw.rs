//! One pipeline reads what another has kept: in parts, killed on the way, into a target that is slow.

use std::process::{Command, Stdio};
use std::time::Duration;

use forebay_testkit::PostgresServer;

use crate::forebay::Project;
use crate::served::{PIPELINE, Server, client, runtime, until, wait_for};

const ROWS: usize = 300_000;

/// Kills on the way of the second pipeline.
const KILLS: u64 = 12;

/// Rows without a number.
fn is_refused(n: usize) -> bool {
    n % 50_000 == 49_999
}

/// More than 16 MiB, so that commits fall inside of it.
fn ndjson(from: usize) -> String {
    let row = |n: usize| match n {
        n if is_refused(n) => format!("{{\"id\":{n}}}\n"),
        n => format!(
            "{{\"id\":{n},\"text\":\"the text of row {n}, longer than it need be\",\"number\":{n}}}\n"
        ),
    };
    (from..from + ROWS).map(row).collect()
}

fn first() -> &'static str {
    "pipeline: first\nsource:\n  file: {path: \"data/*\"}\nextract: {json: {lines: true}}\nbuffer: {rows: 20_000}\nload:\n  iceberg: {table: a.first}\n"
}

fn second(required: bool) -> String {
    format!(
        "pipeline: second\nsource:\n  raw: {{pipeline: first}}\nextract: {{json: {{lines: true}}}}\nschema:\n  columns: {{number: {{type: long, required: {required}}}}}\nbuffer: {{rows: 20_000}}\nload:\n  iceberg: {{table: a.second}}\n"
    )
}

fn counts(project: &Project, table: &str) -> (String, String) {
    let count = |what: &str| project.value(&format!("SELECT count({what}) FROM {table}"));
    (count("*"), count("DISTINCT id"))
}

fn kill_after(project: &Project, pipeline: &str, time: Duration) {
    let mut run = Command::new(assert_cmd::cargo::cargo_bin("forebay"))
        .current_dir(project.path())
        .args(["run", pipeline])
        .envs(project.environment())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(time);
    run.kill().unwrap();
    run.wait().unwrap();
}

#[test]
fn what_one_pipeline_has_kept_another_loads_once_and_keeps_no_second_time() {
    let project = Project::new();
    project.write("pipelines/first.yaml", first());
    project.write("pipelines/second.yaml", &second(true));
    project.write("data/a.ndjson", &ndjson(0));
    project.write("data/b.json", "{\"id\":-1,\"number\":1}\n");
    // The first is cut off inside the large file, and goes on in another run.
    kill_after(&project, "first", Duration::from_millis(1500));
    project.ok(&["run", "first"]);
    for kill in 0..KILLS {
        kill_after(&project, "second", Duration::from_millis(150 + 97 * kill));
    }
    project.ok(&["run", "second"]);
    let refused = ROWS / 50_000;
    let good = (ROWS - refused + 1).to_string();
    assert_eq!(counts(&project, "a.second"), (good.clone(), good));

    // What comes later comes too, and only that.
    project.write("data/c.ndjson", &ndjson(ROWS));
    project.ok(&["run", "first"]);
    project.ok(&["run", "second"]);
    let good = (2 * (ROWS - refused) + 1).to_string();
    assert_eq!(counts(&project, "a.second"), (good.clone(), good));

    let own = "SELECT count(*) FROM raw.second WHERE object NOT IN (SELECT object FROM raw.first)";
    assert_eq!(project.value(own), "0");
    let same = "SELECT (SELECT sum(length) FROM raw.first) = (SELECT sum(length) FROM raw.second)";
    assert_eq!(project.value(same), "true");
    let rebuilt = project.ok(&["rebuild", "a.second"]);
    assert!(rebuilt.err.contains("a.second: equal"), "{}", rebuilt.err);

    project.write("pipelines/second.yaml", &second(false));
    let replayed = project.ok(&["quarantine", "replay", "second"]);
    let told = format!("{} records landed", 2 * refused);
    assert!(replayed.err.contains(&told), "{}", replayed.err);
    let all = (2 * ROWS + 1).to_string();
    assert_eq!(counts(&project, "a.second"), (all.clone(), all));
}

/// Files that one commit of the first pipeline takes: entries of one file of its index.
const SMALL: usize = 800;

#[test]
fn a_run_that_is_cut_off_inside_an_index_goes_on_there() {
    let project = Project::new();
    project.write("pipelines/first.yaml", first());
    let small = second(false).replace("rows: 20_000", "bytes: 1KiB");
    project.write("pipelines/second.yaml", &small);
    for n in 0..SMALL {
        let text = format!("{{\"id\":{n},\"number\":{n}}}\n");
        project.write(&format!("data/{n:04}.json"), &text);
    }
    project.ok(&["run", "first"]);
    for kill in 0..KILLS {
        kill_after(&project, "second", Duration::from_millis(120 + 61 * kill));
    }
    project.ok(&["run", "second"]);
    assert_eq!(
        counts(&project, "a.second"),
        (SMALL.to_string(), SMALL.to_string())
    );
}

const OUT: &str = "pipeline: events_out\nsource:\n  raw: {pipeline: events}\nextract:\n  json: {lines: true}\nbuffer: {time: 100ms}\nload:\n  postgres: {url: \"${env:WAREHOUSE}\", table: slow.events}\n";

const PUSHES: usize = 1_500;

/// A target that is stuck: pushes are taken and land in the lake meanwhile, and in the target once it goes on.
#[test]
fn a_stuck_target_stops_nobody_but_itself() {
    let Some(postgres) = PostgresServer::start() else {
        println!("skipped: FOREBAY_TEST_POSTGRES does not say where Postgres is");
        return;
    };
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    project.write("pipelines/events_out.yaml", OUT);
    let runtime = runtime();
    let variables = [("WAREHOUSE", &*postgres.url())];
    let server = Server::start_where(&project, "127.0.0.1:0", &[], &variables);
    let url = server.url("/v1/ingest/events");
    let client = client();
    let push = |id: usize| {
        let push = client.post(&url).body(format!("{{\"id\":{id}}}"));
        let answer = runtime.block_on(async { push.send().await });
        assert_eq!(answer.unwrap().status(), 200);
    };
    push(0);
    let landed = || postgres.sql("SELECT count(*), count(DISTINCT id) FROM slow.events");
    let there = || postgres.sql("SELECT to_regclass('slow.events') IS NOT NULL") == "t";
    until("the first push is there", || there() && landed() == "1|1");

    std::thread::scope(|scope| {
        // Until a table says that it is enough, however slow this machine is; at last by itself, when the test has failed.
        let lock = "DO $$ BEGIN LOCK TABLE slow.events; WHILE NOT EXISTS (SELECT FROM pg_class WHERE relname = 'enough') \
            AND clock_timestamp() < now() + interval '2 minutes' LOOP PERFORM pg_sleep(0.05); END LOOP; END $$";
        let stuck = scope.spawn(|| postgres.sql(lock));
        let held = "SELECT count(*) FROM pg_locks WHERE relation = 'slow.events'::regclass AND mode = 'AccessExclusiveLock' AND granted";
        until("the target is locked", || postgres.sql(held) == "1");
        for id in 1..PUSHES {
            push(id);
        }
        wait_for(&project, PUSHES);
        assert!(!stuck.is_finished());
        postgres.sql("CREATE TABLE public.enough ()");
        stuck.join().unwrap();
    });
    until("all pushes are there", || {
        landed() == format!("{PUSHES}|{PUSHES}")
    });
}
