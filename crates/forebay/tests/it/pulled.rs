//! Pulling from an HTTP API through the whole binary: interrupted passes, errors in place of pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_testkit::{Reply, StubHttp, gzip};
use serde_json::{Value, json};

use crate::forebay::Project;
use crate::served::runtime;

/// A newest-first list of ten, three a page, whose third page fails until it is mended; by then a record has been added.
async fn growing_list(is_mended: &Arc<AtomicBool>, wrong: Reply) -> StubHttp {
    let is_mended = Arc::clone(is_mended);
    StubHttp::start(move |request| {
        let page: u64 = request
            .param("page")
            .and_then(|page| page.parse().ok())
            .unwrap_or(1);
        let has_grown = is_mended.load(Ordering::SeqCst);
        if page == 3 && !has_grown {
            return wrong.clone();
        }
        let newest = 10 + u64::from(has_grown);
        let ids = (1..=newest).rev().skip(page as usize * 3 - 3).take(3);
        let rows: Vec<Value> = ids
            .map(|id| json!({"id": id, "note": "x".repeat(20)}))
            .collect();
        let text = json!({"items": rows}).to_string();
        let reply = Reply::status(200).header("content-type", "application/json");
        match page {
            2 => reply
                .header("content-encoding", "gzip")
                .body(gzip(text.as_bytes())),
            _ => reply.body(text),
        }
    })
    .await
}

#[test]
fn a_pass_that_was_interrupted_knows_the_records_it_has_loaded() {
    let runtime = runtime();
    let _inside = runtime.enter();
    for wrong in [
        Reply::status(500),
        Reply::json(&json!({"ok": false, "error": "ratelimited"})),
    ] {
        let is_mended = Arc::new(AtomicBool::new(false));
        let server = runtime.block_on(growing_list(&is_mended, wrong));
        let project = Project::new();
        let pipeline = format!(
            "pipeline: p\nsource:\n  http:\n    url: {}\n    allow_private: true\n    key: id\n    retry: {{attempts: 1}}\n    paginate: {{page: {{param: page, size: 3}}}}\n    records: items\nextract: {{json: {{records: items}}}}\nload: {{iceberg: {{table: a.p}}}}\n",
            server.url("/q")
        );
        project.write("pipelines/p.yaml", &pipeline);
        let first = project.run(&["run"]);
        assert!(
            first.code != 0,
            "a pass that is not complete is a failed run: {}",
            first.err
        );
        assert_eq!(project.value("SELECT count(*) FROM a.p"), "6");
        is_mended.store(true, Ordering::SeqCst);
        project.ok(&["run"]);
        // The one that was added meanwhile is on the second reading.
        assert_eq!(project.value("SELECT count(*) FROM a.p"), "11");
        assert_eq!(project.value("SELECT count(DISTINCT id) FROM a.p"), "11");
        project.ok(&["run"]);
        assert_eq!(
            project.value("SELECT count(*) FROM a.p"),
            "11",
            "the pass is complete"
        );
    }
}

#[test]
fn a_changed_url_of_a_source_that_was_read_is_told() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let server = runtime.block_on(StubHttp::start(|request| {
        let id = if request.path == "/a" { 1 } else { 2 };
        Reply::json(&json!([{"id": id}]))
    }));
    let project = Project::new();
    let write = |path: &str, params: &str| {
        let text = format!(
            "pipeline: p\nsource: {{http: {{url: '{}', allow_private: true{params}}}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: a.p}}}}\n",
            server.url(path)
        );
        project.write("pipelines/p.yaml", &text);
    };
    write("/a", "");
    project.ok(&["run"]);
    let again = project.ok(&["run"]);
    assert!(!again.err.contains("URL"), "{}", again.err);
    for (path, params) in [("/b", ""), ("/a", ", params: {of: new}")] {
        write(path, params);
        let changed = project.ok(&["run"]);
        let expected = "the URL has changed since the source was read to its end";
        assert!(changed.err.contains(expected), "{}", changed.err);
        assert!(changed.err.contains("forebay run p --full"));
        assert_eq!(project.value("SELECT count(*) FROM a.p"), "1");
    }
    write("/b", "");
    project.ok(&["run", "--full"]);
    let now = project.ok(&["run"]);
    assert!(!now.err.contains("URL"), "{}", now.err);
    assert_eq!(project.value("SELECT sum(id) FROM a.p"), "3");
}

#[test]
fn a_url_that_changes_in_the_middle_of_a_pass_or_beside_a_cursor_is_told() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let is_mended = Arc::new(AtomicBool::new(false));
    let pages = Arc::clone(&is_mended);
    let server = runtime.block_on(StubHttp::start(move |request| {
        let page = request.param("page").unwrap_or_default();
        match (page.as_str(), pages.load(Ordering::SeqCst)) {
            ("1", _) => Reply::json(&json!([{"id": 1, "at": 10}, {"id": 2, "at": 20}])),
            ("2", true) => Reply::json(&json!([{"id": 3, "at": 30}])),
            ("2", false) => Reply::status(403),
            _ => Reply::json(&json!([])),
        }
    }));
    let project = Project::new();
    let write = |name: &str, path: &str, more: &str| {
        let text = format!(
            "pipeline: {name}\nsource: {{http: {{url: '{}', allow_private: true, paginate: {{page: {{param: page, stable: true}}}}{more}}}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: a.{name}}}}}\n",
            server.url(path)
        );
        project.write(&format!("pipelines/{name}.yaml"), &text);
    };
    let cursor = ", cursor: {param: since, field: at, format: raw}";
    for (name, more) in [("once", ""), ("newest", cursor)] {
        is_mended.store(false, Ordering::SeqCst);
        let rows = format!("SELECT count(*) FROM a.{name}");
        write(name, "/a", more);
        let broken = project.run(&["run", name]);
        assert_ne!(broken.code, 0, "{}", broken.err);
        assert!(broken.err.contains("403"), "{}", broken.err);
        assert_eq!(project.value(&rows), "2");
        is_mended.store(true, Ordering::SeqCst);
        write(name, "/b", more);
        let changed = project.run(&["run", name]);
        assert_eq!(changed.code, 2, "{}", changed.err);
        assert!(changed.err.contains("source_changed"), "{}", changed.err);
        assert!(changed.err.contains("after page 1"), "{}", changed.err);
        write(name, "/a", more);
        let finished = project.ok(&["run", name]);
        assert!(
            !finished.err.contains("URL has changed"),
            "{}",
            finished.err
        );
        assert_eq!(project.value(&rows), "3");
        write(name, "/b", more);
        let after = project.ok(&["run", name]);
        assert!(
            after.err.contains("the URL has changed since"),
            "{}",
            after.err
        );
        let again = project.ok(&["run", name]);
        assert_eq!(
            again.err.contains("the URL has changed"),
            more.is_empty(),
            "{}",
            again.err
        );
    }
}

#[test]
fn a_secret_that_a_server_puts_into_its_records_is_in_no_reason() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let server = runtime.block_on(StubHttp::start(|request| {
        let token = &request.headers["authorization"];
        Reply::json(&json!([{"id": "1"}, {"id": token}]))
    }));
    let project = Project::new();
    let text = format!(
        "pipeline: p\nsource: {{http: {{url: '{}', allow_private: true, auth: {{bearer: {{token: '${{secret:token}}'}}}}}}}}\nextract: {{json: {{}}}}\ntransform: [{{sql: SELECT cast(id AS bigint) AS id FROM input}}]\nload: {{iceberg: {{table: a.p}}}}\n",
        server.url("/a")
    );
    project.write("pipelines/p.yaml", &text);
    let token = "echoed-token-of-the-test-4711";
    let said = |args: &[&str]| {
        let output = project
            .command(args)
            .env("FOREBAY_SECRET_TOKEN", token)
            .output()
            .unwrap();
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty());
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    let run = said(&["run"]);
    assert_eq!(project.value("SELECT count(*) FROM a.p"), "1", "{run}");
    let replay = said(&["quarantine", "replay", "p"]);
    let list = said(&["quarantine", "ls", "p"]);
    let reason = project.value("SELECT reason FROM quarantine.p");
    for text in [replay, list, reason] {
        assert!(text.contains("***"), "{text}");
        assert!(!(run.contains(token) || text.contains(token)), "{text}");
    }
}

#[test]
fn a_next_page_that_nobody_asked_for_fails_the_run_until_it_is_declared() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let body = json!({"count": 4, "next": "/q?page=2", "results": [{"id": 1}, {"id": 2}]});
    let link =
        Reply::json(&json!({"results": [{"id": 1}]})).header("link", "</q?page=2>; rel=next");
    let unsure = Reply::json(&json!({"results": [{"id": 1}], "cursor": "x"}));
    for (reply, said, code) in [
        (Reply::json(&body), "{next: {path: next}}", 2),
        (link, "{link_header: {}}", 2),
        (unsure, "field=\"cursor\"", 0),
    ] {
        let server = runtime.block_on(StubHttp::start(move |_| reply.clone()));
        let project = Project::new();
        // The source is not told where the records are in the first.
        for records in ["", ", records: results"] {
            for (paginate, code) in [("", code), (", paginate: none", 0)] {
                project.write(
                    "pipelines/p.yaml",
                    &format!(
                        "pipeline: p\nsource: {{http: {{url: \"{}\", allow_private: true{records}{paginate}}}}}\nextract: {{json: {{records: results}}}}\nload: {{iceberg: {{table: a.p}}}}\n",
                        server.url("/q")
                    ),
                );
                let pulled = project.run(&["run", "--full"]);
                assert_eq!(pulled.code, code, "{}", pulled.err);
                if paginate.is_empty() {
                    assert!(pulled.err.contains(said), "{}", pulled.err);
                    assert!(pulled.err.contains("paginate: none"), "{}", pulled.err);
                } else {
                    assert!(!pulled.err.contains("paginate"), "{}", pulled.err);
                }
            }
        }
    }
}
