//! `forebay serve` as callers and operators meet it: pushes, kills, changed files, AWS clients, the end.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::flights::variable;
use crate::forebay::Project;
use crate::served::{
    PIPELINE, Server, assert_each_once, client, push_until, runtime, until, wait_for,
};

/// Kills in the test of interruptions; `FOREBAY_TEST_KILLS` asks for more.
const KILLS: u64 = 8;

/// Changes in the test of changed files; `FOREBAY_TEST_CHANGES` asks for more.
const CHANGES: u64 = 10;

#[test]
fn what_is_pushed_can_be_asked_for_and_the_end_loses_nothing() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let server = Server::start(&project, "127.0.0.1:0");
    let client = client();
    let (url, runtime) = (server.url("/v1/ingest/events"), runtime());
    let _inside = runtime.enter();
    let push = |body: String| {
        runtime
            .block_on(client.post(&url).body(body).send())
            .unwrap()
    };
    assert_eq!(push("{\"n\": 0}\n".to_owned()).status(), 200);
    for n in 1..100 {
        assert_eq!(
            push(format!("{{\"n\": {n}}}\n{{\"n\": {}}}\n", n + 1000)).status(),
            200
        );
    }
    wait_for(&project, 199);
    assert_eq!(push("{\"n\": 5000}\nnot json\n".to_owned()).status(), 200);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(
        project.value("SELECT count(DISTINCT n) FROM push.events"),
        "200"
    );
    assert_eq!(project.value("SELECT count(*) FROM quarantine.events"), "1");
    // What the server had no time for is taken by the next one, or by `run`.
    assert!(project.ok(&["run"]).err.contains(": 0 rows"));
    assert_eq!(project.value("SELECT count(*) FROM push.events"), "200");
}

#[test]
fn many_small_pushes_share_payloads_and_come_again_as_they_were() {
    let project = Project::new();
    let check = "schema: {columns: {n: {type: long, check: \"value < 500\"}}}\n";
    project.write("pipelines/events.yaml", &format!("{PIPELINE}{check}"));
    let server = Server::start(&project, "127.0.0.1:0");
    let (runtime, client) = (runtime(), client());
    let _inside = runtime.enter();
    let url = server.url("/v1/ingest/events");
    let push = |n: u64| {
        let body = match n {
            7 => "no json".to_owned(),
            n => format!(
                "{{\"n\": {n}}}\n{{\"n\": {}, \"second\": true}}",
                n + 1000 * (n % 2)
            ),
        };
        let push = client.post(&url).body(body);
        runtime.spawn(async move { push.send().await.unwrap().status().as_u16() })
    };
    let pushed: Vec<_> = (0..400).map(push).collect();
    for status in pushed {
        assert_eq!(runtime.block_on(status).unwrap(), 200);
    }
    // Of odd pushes the second record is refused, and all of the seventh.
    wait_for(&project, 399 + 200);
    assert_eq!(server.stop(), Some(0));
    let payloads = project.value("SELECT count(*) FROM raw.events");
    let payloads: u64 = payloads.parse().unwrap();
    println!("400 pushes in {payloads} payloads");
    assert!(payloads < 200, "{payloads} payloads of 400 pushes");
    let refused = "SELECT count(*) FROM quarantine.events WHERE event = 'rejected'";
    assert_eq!(project.value(refused), "200");
    let rebuilt = project.ok(&["rebuild", "push.events"]);
    assert!(
        rebuilt.err.contains("push.events: equal, 599 rows"),
        "{}",
        rebuilt.err
    );
    project.write("pipelines/events.yaml", PIPELINE);
    for landed in ["199 records landed", "0 records landed"] {
        let replayed = project.run(&["quarantine", "replay", "events"]);
        assert!(replayed.err.contains(landed), "{}", replayed.err);
    }
    assert_eq!(project.value("SELECT count(*) FROM push.events"), "798");
}

#[test]
fn what_was_refused_is_replayed_beside_the_server_that_goes_on() {
    let project = Project::new();
    let check = "schema: {columns: {n: {type: long, check: \"value < 500\"}}}\n";
    project.write("pipelines/events.yaml", &format!("{PIPELINE}{check}"));
    let server = Server::start(&project, "127.0.0.1:0");
    let (url, client, runtime) = (server.url("/v1/ingest/events"), client(), runtime());
    let push = |n: u64| {
        let push = client.post(&url).body(format!("{{\"n\": {n}}}\n"));
        let status = runtime.block_on(async { push.send().await.unwrap().status() });
        assert_eq!(status, 200);
    };
    [1, 700, 2].into_iter().for_each(push);
    wait_for(&project, 2);
    project.write("pipelines/events.yaml", PIPELINE);
    let replayed = project.ok(&["quarantine", "replay", "events"]);
    assert!(replayed.err.contains("1 record landed"), "{}", replayed.err);
    push(3);
    wait_for(&project, 4);
    push(4);
    assert_eq!(server.stop(), Some(0));
    project.ok(&["run"]);
    assert_eq!(
        project.value("SELECT count(DISTINCT n) || ' ' || count(*) FROM push.events"),
        "5 5"
    );
}

#[test]
fn killed_again_and_again_every_acknowledged_push_is_there_once() {
    let kills = variable("FOREBAY_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let mut server = Server::start(&project, "127.0.0.1:0");
    let (url, stop, runtime) = (
        server.url("/v1/ingest/events"),
        Arc::new(AtomicBool::new(false)),
        runtime(),
    );
    let callers: Vec<_> = (0..8)
        .map(|caller| runtime.spawn(push_until(url.clone(), stop.clone(), caller)))
        .collect();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(150 + kill * 137 % 700));
        let address = server.kill();
        server = Server::start(&project, &address);
    }
    std::thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeSet::new();
    for caller in callers {
        acknowledged.extend(runtime.block_on(caller).unwrap());
    }
    assert_eq!(server.stop(), Some(0));
    project.ok(&["run", "--quiet"]);
    println!(
        "{} pushes acknowledged over {kills} kills",
        acknowledged.len()
    );
    assert_each_once(&project, "push.events", acknowledged.iter().copied());
    assert!(acknowledged.len() > 100, "too few pushes to say anything");
}

#[test]
fn a_file_that_changes_under_load_costs_no_request_and_no_record() {
    let changes = variable("FOREBAY_TEST_CHANGES").map_or(CHANGES, |text| text.parse().unwrap());
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let server = Server::start(&project, "127.0.0.1:0");
    let (url, runtime, client) = (server.url("/v1/ingest/events"), runtime(), client());
    let _inside = runtime.enter();
    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(Mutex::new(Vec::new()));
    let push = |n: u64| client.post(&url).body(json!({"id": n}).to_string()).send();
    assert_eq!(runtime.block_on(push(0)).unwrap().status(), 200);
    let pushing = runtime.spawn({
        let (client, url, stop, refused) =
            (client.clone(), url.clone(), stop.clone(), refused.clone());
        async move {
            let mut n = 1_u64;
            while !stop.load(Ordering::Relaxed) {
                let push = client.post(&url).body(json!({"id": n}).to_string()).send();
                match push.await {
                    Ok(answer) if answer.status() == 200 => n += 1,
                    other => refused.lock().unwrap().push(format!("{other:?}")),
                }
            }
            n
        }
    });
    let status = || -> Value {
        let answer = runtime
            .block_on(client.get(server.url("/v1/pipelines/events")).send())
            .unwrap();
        serde_json::from_str(&runtime.block_on(answer.text()).unwrap()).unwrap()
    };
    for change in 1..=changes {
        project.write(
            "pipelines/events.yaml",
            "pipeline: events\nsource: nonsense\n",
        );
        while status()["broken"].is_null() {
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(
            status()["phase"],
            "running",
            "the old version stays at work"
        );
        project.write(
            "pipelines/events.yaml",
            &PIPELINE.replace("100ms", &format!("{}ms", 100 + change)),
        );
        while status()["changes"] != change {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let pushed = runtime.block_on(pushing).unwrap();
    assert_eq!(*refused.lock().unwrap(), Vec::<String>::new());
    assert_eq!(server.stop(), Some(0));
    project.ok(&["run", "--quiet"]);
    let counts = project.ok(&[
        "sql",
        "SELECT count(*), count(DISTINCT id) FROM push.events",
        "--format",
        "csv",
    ]);
    assert_eq!(
        counts.out.lines().nth(1),
        Some(format!("{pushed},{pushed}").as_str())
    );
}

#[test]
fn one_bad_pipeline_leaves_the_others_alone() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    project.write("pipelines/bad.yaml", "pipeline: bad\nschedule: {every: 1s}\nsource: {file: {path: nothing.csv}}\nextract: {csv: {}}\nload: {iceberg: {table: a.bad}}\n");
    project.write("pipelines/worse.yaml", "pipeline: worse\n");
    let server = Server::start(&project, "127.0.0.1:0");
    let (runtime, client) = (runtime(), client());
    let _inside = runtime.enter();
    let get = |path: &str| -> String {
        let answer = runtime
            .block_on(client.get(server.url(path)).send())
            .unwrap();
        runtime.block_on(answer.text()).unwrap()
    };
    let phase = |list: &Value, name: &str| {
        let found = list["pipelines"]
            .as_array()?
            .iter()
            .find(|p| p["pipeline"] == name)?;
        found["phase"].as_str().map(str::to_owned)
    };
    let list = loop {
        let list: Value = serde_json::from_str(&get("/v1/pipelines")).unwrap();
        if phase(&list, "bad").as_deref() == Some("failed") && !list["broken"][0].is_null() {
            break list;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(phase(&list, "events").as_deref(), Some("running"));
    assert!(get("/metrics").contains("forebay_pipeline_up{pipeline=\"bad\"} 0"));
    assert_eq!(get("/readyz"), "ok\n");
    let push = client
        .post(server.url("/v1/ingest/events"))
        .body("{\"n\": 1}")
        .send();
    assert_eq!(runtime.block_on(push).unwrap().status(), 200);
    wait_for(&project, 1);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn boto3_writes_through_the_doors_for_aws_clients() {
    let Some(python) = variable("FOREBAY_TEST_PYTHON") else {
        println!("FOREBAY_TEST_PYTHON is not set (test.sh does): this test has checked nothing");
        return;
    };
    let project = Project::new();
    let text = PIPELINE.replace("push: {}", "push: {auth: {token: \"${secret:door}\"}}");
    project.write("pipelines/events.yaml", &text);
    let server = Server::start(&project, "127.0.0.1:0");
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/boto3_pushes.py");
    let pushed = Command::new(python)
        .arg(script)
        .arg(server.url(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&pushed.stderr).into_owned();
    assert!(pushed.status.success(), "{said}");
    // Single ones, and ten aggregated or beside them.
    wait_for(&project, 1 + 500 + 1 + 500 + 10);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(
        project.value("SELECT count(DISTINCT n) FROM push.events"),
        "1012"
    );
}

#[test]
fn a_pipeline_that_takes_pushes_is_rebuilt_while_it_is_served() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let server = Server::start(&project, "127.0.0.1:0");
    let (runtime, stop) = (runtime(), Arc::new(AtomicBool::new(false)));
    let url = server.url("/v1/ingest/events");
    let pushing = runtime.spawn(push_until(url, stop.clone(), 1));
    let count = "SELECT count(*) FROM push.events";
    until("some rows have landed", || {
        let answer = project.run(&["sql", count, "--format", "csv"]);
        answer.out.lines().nth(1).is_some_and(|rows| rows != "0")
    });
    for _ in 0..3 {
        let rebuilt = project.ok(&["rebuild", "push.events"]);
        assert!(
            rebuilt.err.contains("push.events: equal"),
            "{}",
            rebuilt.err
        );
    }
    stop.store(true, Ordering::Relaxed);
    let acknowledged = runtime.block_on(pushing).unwrap();
    assert_eq!(server.stop(), Some(0));
    assert_each_once(&project, "push.events", acknowledged.into_iter());
}

#[test]
fn a_second_server_in_one_workspace_is_refused_and_one_after_a_kill_is_not() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let server = Server::start(&project, "127.0.0.1:0");
    let refused = project.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_ne!(refused.code, 0);
    let process = format!("(process {})", server.process_id());
    assert!(
        refused.err.contains("already_serving") && refused.err.contains(&process),
        "{}",
        refused.err
    );
    server.kill();
    let next = Server::start(&project, "127.0.0.1:0");
    assert_eq!(next.stop(), Some(0));
}
