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
