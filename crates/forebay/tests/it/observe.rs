//! What an operator sees of `forebay serve`: metrics that Prometheus takes, a log that machines read, a bounded process.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use forebay_testkit::{Reply, StubHttp};
use serde_json::Value;

use crate::flights::variable;
use crate::forebay::Project;
use crate::served::{PIPELINE, Server, client, runtime, until, wait_for};

/// What the process may have resident, whatever callers send.
const MEMORY_MAX: u64 = 256 << 20;

#[test]
fn after_a_kill_lag_and_backlog_are_those_of_what_is_not_loaded() {
    let runtime = runtime();
    let _inside = runtime.enter();
    // Loaded before the kill, and after it.
    for buffer in ["100ms", "2s"] {
        let project = Project::new();
        let pipeline = PIPELINE.replace("100ms", buffer);
        project.write("pipelines/events.yaml", &pipeline);
        let server = Server::start(&project, "127.0.0.1:0");
        let push = client()
            .post(server.url("/v1/ingest/events"))
            .body("{\"n\": 1}\n");
        assert_eq!(runtime.block_on(push.send()).unwrap().status(), 200);
        if buffer == "100ms" {
            wait_for(&project, 1);
        }
        // The idle journal adds a record of its own.
        std::thread::sleep(Duration::from_millis(500));
        server.kill();
        let server = Server::start(&project, "127.0.0.1:0");
        wait_for(&project, 1);
        until("nothing is behind", || {
            let metrics = server.get(&runtime, "/metrics");
            let is_zero = |name: &str| {
                let line = format!("forebay_pipeline_{name}{{pipeline=\"events\"}} 0.0");
                metrics.lines().any(|found| found == line)
            };
            is_zero("lag_seconds") && is_zero("backlog_bytes")
        });
    }
}

/// Every metric is in the reference, with its type and labels.
fn assert_documented(metrics: &str) {
    let reference = include_str!("../../../../docs/reference/metrics.md");
    let families = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    for (name, kind) in families.filter_map(|family| family.split_once(' ')) {
        let row = format!("| `{name}` | {kind} | ");
        let row = reference.lines().find(|line| line.starts_with(&row));
        let row = row.unwrap_or_else(|| panic!("docs/reference/metrics.md has no {kind} {name}"));
        let samples = metrics.lines().filter(|line| line.starts_with(name));
        let labels = samples.filter_map(|line| line.split_once('{')?.1.split_once('}'));
        for label in labels.flat_map(|(labels, _)| labels.split("\",")) {
            let label = label.split('=').next().unwrap_or_default();
            let is_listed = label == "le" || row.contains(&format!("`{label}`"));
            assert!(
                is_listed,
                "docs/reference/metrics.md: {name} has a label {label}"
            );
        }
    }
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    project.write("pipelines/bad.yaml", "pipeline: bad\nschedule: {every: 1s}\nsource: {file: {path: nothing.csv}}\nextract: {csv: {}}\nload: {iceberg: {table: a.bad}}\n");
    let server = Server::start(&project, "127.0.0.1:0");
    let runtime = runtime();
    let _inside = runtime.enter();
    let push = client()
        .post(server.url("/v1/ingest/events"))
        .body("{\"n\": 1}\nno json\n");
    let answer = runtime.block_on(push.send()).unwrap();
    assert_eq!(answer.status(), 200);
    wait_for(&project, 1);
    server.get(&runtime, "/metrics");
    let metrics = server.get(&runtime, "/metrics");
    for line in [
        "forebay_pipeline_committed_rows_total{pipeline=\"events\"} 1",
        "forebay_pipeline_quarantined_records_total{pipeline=\"events\"} 1",
        "forebay_pipeline_commit_duration_seconds_count{pipeline=\"events\"} 1",
        "forebay_pipeline_lag_seconds{pipeline=\"events\"} 0.0",
        "forebay_pipeline_up{pipeline=\"bad\"} 0.0",
        "forebay_journal_records_total{pipeline=\"events\"} 1",
        "forebay_http_requests_total{path=\"/metrics\",status=\"200\"} 1",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    for name in [
        "forebay_build_info{version=",
        "forebay_pipeline_last_success_timestamp_seconds{pipeline=\"events\"} 1",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "forebay_http_request_duration_seconds_bucket{",
        "forebay_journal_fsync_duration_seconds_sum{",
    ] {
        assert!(
            metrics.lines().any(|found| found.starts_with(name)),
            "{name}\n{metrics}"
        );
    }
    assert_documented(&metrics);
    let Some(promtool) = variable("FOREBAY_TEST_PROMTOOL") else {
        println!(
            "FOREBAY_TEST_PROMTOOL is not set (test.sh does): promtool has not looked at the metrics"
        );
        return;
    };
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = check.stdin.take().unwrap();
    input.write_all(metrics.as_bytes()).unwrap();
    drop(input);
    let checked = check.wait_with_output().unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        checked.status.success() && said.is_empty(),
        "{said}\n{metrics}"
    );
}

#[test]
fn the_log_is_json_where_that_is_asked_for_and_names_the_request() {
    let project = Project::new();
    let text = PIPELINE.replace("push: {}", "push: {auth: {token: \"${secret:door}\"}}");
    project.write("pipelines/events.yaml", &text);
    project.write("pipelines/worse.yaml", "pipeline: worse\n");
    project.write("forebay.toml", "[log]\nformat = \"json\"\n");
    let server = Server::start(&project, "127.0.0.1:0");
    let runtime = runtime();
    let _inside = runtime.enter();
    let push = |token: &str, id: &str| {
        let url = server.url("/v1/ingest/events");
        let push = client().post(url).bearer_auth(token).body("{\"n\": 1}");
        runtime
            .block_on(push.header("x-request-id", id).send())
            .unwrap()
    };
    assert_eq!(push("guessed", "a-guess").status(), 401);
    let taken = push("open sesame, open wide", "the-owner");
    assert_eq!(taken.headers()["x-request-id"], "the-owner");
    assert_eq!(taken.status(), 200);
    let said = loop {
        let said = server.said();
        if said.iter().any(|line| line.contains("a-guess")) {
            break said;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let lines: Vec<Value> = said
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let audited: Vec<&Value> = lines
        .iter()
        .filter(|line| line["fields"]["request"] == "a-guess")
        .collect();
    assert_eq!(audited.len(), 1, "{audited:?}");
    assert_eq!(audited[0]["level"], "warn");
    assert_eq!(audited[0]["fields"]["code"], "not_allowed");
    assert_eq!(audited[0]["fields"]["status"], 401);
    let peer = audited[0]["fields"]["peer"].as_str().unwrap();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    assert!(!said.concat().contains("guessed"), "a token is never shown");
    let broken = lines.iter().find(|line| line["level"] == "error").unwrap();
    assert!(
        broken["fields"]["file"]
            .as_str()
            .unwrap()
            .ends_with("worse.yaml")
    );
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn what_a_run_says_names_the_pipeline_and_the_run() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let server = Server::start_with(&project, "127.0.0.1:0", &["--log", "json", "-v"]);
    let runtime = runtime();
    let _inside = runtime.enter();
    let push = client()
        .post(server.url("/v1/ingest/events"))
        .body("{\"n\": 1}");
    assert_eq!(runtime.block_on(push.send()).unwrap().status(), 200);
    wait_for(&project, 1);
    let committed = server.said().into_iter().find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        (line["message"] == "committed").then_some(line)
    });
    let span = &committed.expect("a commit is logged")["span"];
    assert_eq!(span["pipeline"], "events");
    for name in ["run", "commit", "split"] {
        assert!(span[name].is_string(), "{name}: {span}");
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn bombs_and_floods_leave_the_memory_bounded() {
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let server = Server::start(&project, "127.0.0.1:0");
    let (runtime, client) = (runtime(), client());
    let _inside = runtime.enter();
    let zeros = vec![0; 256 << 20];
    let bomb = forebay_testkit::zstd(&zeros);
    drop(zeros);
    let plain = vec![b'x'; 8 << 20];
    let attack = |n: usize| {
        let push = client.post(server.url("/v1/ingest/events"));
        let push = match n % 2 {
            0 => push.header("content-encoding", "zstd").body(bomb.clone()),
            // Half of a body, held for a while by a caller that never sends the rest, costs its half.
            _ => push.header("content-encoding", "br").body(plain.clone()),
        };
        runtime.spawn(async move { push.send().await.map(|answer| answer.status().as_u16()) })
    };
    let attacks: Vec<_> = (0..60).map(attack).collect();
    for attack in attacks {
        // Whoever is refused before all is sent may see a closed connection instead of the answer.
        if let Ok(status) = runtime.block_on(attack).unwrap() {
            assert!([400, 413, 429].contains(&status), "{status}");
        }
    }
    // A caller that gave up may leave the server with its body: until that is done with, the answer is "later".
    until("an honest push is taken", || {
        let push = client.post(server.url("/v1/ingest/events"));
        let answer = runtime.block_on(push.body("{\"n\": 1}").send());
        let status = answer.map(|answer| answer.status().as_u16());
        assert!(
            status.is_err() || matches!(status, Ok(200 | 429 | 503)),
            "{status:?}"
        );
        matches!(status, Ok(200))
    });
    let peak = server.memory_peak();
    println!("peak of resident memory: {} MiB", peak >> 20);
    assert!(peak < MEMORY_MAX, "{peak} bytes");
    assert_eq!(server.stop(), Some(0));
}

/// An attribute of a span.
fn attribute<'s>(span: &'s Value, name: &str) -> &'s Value {
    let all = span["attributes"].as_array().unwrap();
    let found = all.iter().find(|one| one["key"] == name);
    found.map_or(&Value::Null, |one| &one["value"])
}

#[test]
fn traces_reach_a_collector_and_go_on_where_the_caller_began() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let answer = |_: &forebay_testkit::Request| Reply::json(&serde_json::json!({}));
    let collector = runtime.block_on(StubHttp::start(answer));
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let settings = format!(
        "[otlp]\nendpoint = \"{}\"\nheaders = {{x-key = \"${{secret:door}}\"}}\n",
        collector.url("")
    );
    project.write("forebay.toml", &settings);
    let server = Server::start(&project, "127.0.0.1:0");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let push = client()
        .post(server.url("/v1/ingest/events"))
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .body("{\"n\": 1}");
    assert_eq!(runtime.block_on(push.send()).unwrap().status(), 200);
    let unsent = client()
        .post(server.url("/v1/ingest/events"))
        .header(
            "traceparent",
            "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        )
        .body("");
    assert_eq!(runtime.block_on(unsent.send()).unwrap().status(), 400);
    server.get(&runtime, "/v1/pipelines/nobody");
    let is_there = |status: &str| status.contains("\"rows_committed\":1");
    while !is_there(&server.get(&runtime, "/v1/pipelines/events")) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.stop(), Some(0));

    let requests = collector.requests();
    assert!(!requests.is_empty(), "nothing was sent");
    let mut spans = Vec::new();
    for request in &requests {
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", "/v1/traces")
        );
        assert_eq!(request.headers["x-key"], "open sesame, open wide");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let resource = &body["resourceSpans"][0];
        assert_eq!(
            attribute(&resource["resource"], "service.name")["stringValue"],
            "forebay"
        );
        let some = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        spans.extend(some.iter().cloned());
    }
    let of =
        |name: &str| -> Vec<&Value> { spans.iter().filter(|span| span["name"] == name).collect() };
    let of_caller: Vec<&Value> = spans
        .iter()
        .filter(|span| span["traceId"] == trace)
        .collect();
    assert_eq!(of_caller.len(), 2, "{of_caller:?}");
    let request = of_caller
        .iter()
        .find(|span| span["name"] == "request")
        .unwrap();
    assert_eq!(request["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(request["kind"], 2);
    assert_eq!(
        attribute(request, "http.route")["stringValue"],
        "/v1/ingest/{pipeline}"
    );
    assert_eq!(
        attribute(request, "http.response.status_code")["intValue"],
        "200"
    );
    let append = of("append");
    assert_eq!(
        append.len(),
        1,
        "a caller that does not sample is not sampled here"
    );
    assert_eq!(append[0]["parentSpanId"], request["spanId"]);
    let commit = of("commit");
    let commit = commit
        .iter()
        .find(|span| attribute(span, "rows")["intValue"] == "1")
        .expect("the commit of the row is told");
    assert_eq!(attribute(commit, "pipeline")["stringValue"], "events");
    let (run, split) = (of("run"), of("split"));
    assert_eq!(split[0]["parentSpanId"], run[0]["spanId"]);
    assert_eq!(commit["links"][0]["traceId"], run[0]["traceId"]);
    for span in &spans {
        let at = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
        assert!(at("startTimeUnixNano") <= at("endTimeUnixNano"), "{span}");
        assert!(
            span["traceId"].as_str().unwrap().len() == 32
                && span["spanId"].as_str().unwrap().len() == 16
        );
    }
}

#[test]
fn a_collector_that_hangs_holds_up_nobody() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let hang = |_: &forebay_testkit::Request| {
        Reply::json(&serde_json::json!({})).delay(Duration::from_secs(3600))
    };
    let collector = runtime.block_on(StubHttp::start(hang));
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    project.write(
        "forebay.toml",
        &format!("[otlp]\nendpoint = \"{}\"\n", collector.url("")),
    );
    let server = Server::start(&project, "127.0.0.1:0");
    for n in 0..200 {
        let push = client()
            .post(server.url("/v1/ingest/events"))
            .body(format!("{{\"n\": {n}}}"));
        assert_eq!(runtime.block_on(push.send()).unwrap().status(), 200);
    }
    wait_for(&project, 200);
}
