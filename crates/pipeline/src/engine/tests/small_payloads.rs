//! Sources of very many very small payloads: memory until a commit is bounded, and every request is a row.

use std::sync::Arc;

use forebay_testkit::{Reply, Request, StubHttp};
use serde_json::json;

use super::world::World;
use crate::buffer::PAYLOADS_MAX;
use crate::engine::{Figures, run};

/// A few more than one commit takes.
const PAGES: u64 = PAYLOADS_MAX + 20;

fn page(request: &Request, records: u64) -> Reply {
    let page = request.param("p").and_then(|page| page.parse().ok());
    let page: u64 = page.unwrap_or(0);
    let data: Vec<_> = (0..records).map(|_| json!({ "id": page })).collect();
    let host = &request.headers["host"];
    let next = (page + 1 < PAGES).then(|| format!("http://{host}/?p={}", page + 1));
    Reply::json(&json!({ "data": data, "next": next }))
}

async fn run_pages(records: u64) -> (World, Arc<Figures>) {
    forebay_testkit::install_crypto();
    let server = StubHttp::start(move |request| page(request, records)).await;
    let pipeline = format!(
        "pipeline: p\nsource: {{http: {{url: \"{}\", records: data, paginate: {{next: {{path: next}}}}, allow_private: true}}}}\nextract: {{json: {{}}}}\nload: {{iceberg: {{table: t.rows}}}}\nbuffer: {{time: 1h}}\n",
        server.url("/")
    );
    let world = World::new().await;
    let context = world.context();
    let figures = context.figures.clone();
    run(World::spec(&pipeline), context).await.unwrap();
    assert_eq!(server.requests().len() as u64, PAGES);
    (world, figures)
}

#[tokio::test(flavor = "multi_thread")]
async fn small_pages_are_committed_before_they_fill_the_memory() {
    let (world, figures) = run_pages(1).await;
    assert_eq!(world.rows("t.rows").await.len() as u64, PAGES);
    assert_eq!(world.rows("audit.requests").await.len() as u64, PAGES);
    assert_eq!(Figures::get(&figures.commits), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_bring_nothing_are_committed_too() {
    let (world, _) = run_pages(0).await;
    assert_eq!(world.rows("audit.requests").await.len() as u64, PAGES);
}
