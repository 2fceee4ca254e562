//! Targets without replay, ownership of tables, and the tables that a rebuild changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use forebay_core::{RefName, Result};
use forebay_testkit::PostgresServer;

use super::world::World;
use crate::engine::{CommitStep, Failpoint, RunContext, rebuild, replay};

fn lines(name: &str, path: &str, extract: &str, table: &str) -> String {
    format!(
        "pipeline: {name}\nsource: {{file: {{path: \"{path}/*\"}}}}\nextract:\n  json: {{{extract}}}\nload: {{iceberg: {{table: {table}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_made_anew_is_not_replayed_into_and_closes_what_older_runs_refused() {
    let Some(server) = PostgresServer::shared() else {
        return;
    };
    server.sql("CREATE SCHEMA replaced");
    let world = World::new().await;
    let tight = "pipeline: p\nsource: {file: {path: \"data/*\"}}\nextract: {json: {}}\nschema: {columns: {v: {type: string, required: true}}}\nload: {postgres: {url: \"${env:WAREHOUSE}\", table: replaced.rows, mode: replace}}\n";
    world
        .folder
        .write("data/a.ndjson", "{\"id\":1,\"v\":\"a\"}\n{\"id\":2}\n");
    for _ in 0..3 {
        world.run(tight).await.unwrap();
        assert_eq!(
            world.open().await.len(),
            1,
            "only the newest run's refusal is open"
        );
    }
    let fixed = tight.replace(", required: true", "");
    let error = world.replay(&fixed).await.unwrap_err();
    assert_eq!(error.code(), "replay_into_replace");
    world.run(&fixed).await.unwrap();
    assert_eq!(world.open().await.len(), 0);
    assert_eq!(
        server.sql("SELECT id FROM replaced.rows ORDER BY id"),
        "1\n2"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_a_record_never_becomes_a_table_of_another_pipeline() {
    let world = World::new().await;
    let victim = lines("victim", "bills", "lines: true", "t.rows__billing");
    let other = lines("p", "data", "nested: tables", "t.rows");
    world.folder.write("bills/a", "{\"amount\":10}\n");
    world.run(&victim).await.unwrap();
    world.folder.write(
        "data/a.ndjson",
        "{\"id\":1,\"items\":[{\"n\":1}]}\n{\"id\":2,\"billing\":[{\"amount\":666}]}\n{\"id\":3}\n",
    );
    world.run(&other).await.unwrap();
    assert_eq!(world.rows("t.rows__billing").await.len(), 1);
    assert_eq!(world.rows("t.rows__items").await.len(), 1);
    assert_eq!(world.rows("t.rows").await.len(), 2);
    let open = world.open().await;
    assert_eq!(
        (open.len(), open[0].rejected.code.as_str()),
        (1, "table_taken")
    );

    // The other way round: a pipeline that names a child table as its own target.
    let thief = lines("thief", "bills", "lines: true", "t.rows__items");
    let error = world.run(&thief).await.unwrap_err();
    assert_eq!(error.code(), "table_taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_that_declare_one_table_share_its_children() {
    let world = World::new().await;
    for name in ["one", "two"] {
        let pipeline = lines(name, "data", "nested: tables", "t.rows");
        world
            .folder
            .write("data/a.ndjson", "{\"id\":1,\"items\":[{\"n\":1}]}\n");
        world.run(&pipeline).await.unwrap();
    }
    assert_eq!(world.rows("t.rows").await.len(), 2);
    assert_eq!(world.rows("t.rows__items").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_touches_no_table_of_another_pipeline_and_leaves_no_branch_when_it_fails() {
    let world = World::new().await;
    let orders = lines("orders", "data", "nested: tables", "t.orders");
    let archive = lines("archive", "old", "lines: true", "t.orders__archive");
    let error = rebuild(World::spec(&orders), world.context())
        .await
        .unwrap_err();
    assert_eq!(error.code(), "raw_empty");
    let branches = world.lake.store().branches().await.unwrap();
    let left = branches
        .iter()
        .filter(|branch| branch.name != RefName::main());
    assert_eq!(left.count(), 0);
    world
        .folder
        .write("data/a.ndjson", "{\"id\":1,\"items\":[1]}\n");
    world.folder.write("old/a", "{\"id\":9}\n");
    world.run(&orders).await.unwrap();
    world.run(&archive).await.unwrap();
    let rebuilt = rebuild(World::spec(&orders), world.context())
        .await
        .unwrap();
    let tables: Vec<String> = rebuilt.tables.iter().map(ToString::to_string).collect();
    assert_eq!(tables, ["t.orders", "t.orders__items"]);
    let branch = forebay_store::AsOf::Head(rebuilt.branch);
    let archive = "t.orders__archive".parse().unwrap();
    let left = world.lake.table(&branch, &archive).await.unwrap();
    assert!(left.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_a_double_would_round_lands_once_it_is_declared_as_the_hint_says() {
    let world = World::new().await;
    let pipeline = lines("p", "data", "", "t.rows");
    world.folder.write(
        "data/a.ndjson",
        "{\"id\":1}\n{\"id\":2,\"v\":0.1234567890123456789}\n",
    );
    world.run(&pipeline).await.unwrap();
    let fixed = format!("{pipeline}schema: {{columns: {{v: {{type: \"decimal(38,19)\"}}}}}}\n");
    let done = world.replay(&fixed).await.unwrap();
    assert_eq!((done.landed, done.refused), (1, 0));
    world
        .folder
        .write("data/b.ndjson", "{\"id\":3,\"v\":0.5}\n");
    world.run(&fixed).await.unwrap();
    assert_eq!(world.rows("t.rows").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_a_check_refuses_teaches_no_column_and_no_type() {
    let world = World::new().await;
    let pipeline = lines("p", "data", "nested: keep", "t.rows")
        + "schema: {columns: {n: {check: \"value < 50\"}}}\n";
    world.folder.write(
        "data/a.ndjson",
        "{\"id\":1,\"n\":1,\"o\":{\"a\":1}}\n{\"id\":2,\"n\":60,\"v\":0.5,\"o\":{\"a\":2,\"b\":[{\"c\":1}]}}\n",
    );
    world.run(&pipeline).await.unwrap();
    assert_eq!(world.empty_columns().await, Vec::<String>::new());
    // A column that only the rejected record had may be declared by the file, and have another type in other records.
    let declared = pipeline.replace(
        "value < 50\"}",
        "value < 50\"}, v: {type: \"decimal(9,2)\"}",
    );
    world.folder.write(
        "data/b.ndjson",
        "{\"id\":3,\"n\":2,\"v\":2,\"o\":{\"b\":\"text\"}}\n",
    );
    world.run(&declared).await.unwrap();
    let fixed = declared.replace("value < 50", "value < 500");
    let done = world.replay(&fixed).await.unwrap();
    assert_eq!((done.landed, done.refused), (1, 0));
    let rows = world.rows("t.rows").await;
    let third = rows.iter().find(|row| row["id"] == 3).unwrap();
    assert_eq!(third["o"]["b"], "text");
    assert_eq!(rows.len(), 3);
    let rebuilt = rebuild(World::spec(&fixed), world.context()).await.unwrap();
    assert_eq!((rebuilt.rows, rebuilt.rejected), (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_csv_record_that_a_check_refuses_teaches_no_type() {
    let world = World::new().await;
    let pipeline = "pipeline: p\nsource: {file: {path: \"data/*\"}}\nextract: {csv: {}}\nschema: {columns: {n: {check: \"value < 50\"}}}\nload: {iceberg: {table: t.rows}}\n";
    world
        .folder
        .write("data/a.csv", "id,n,v\n1,1,\n2,60,text\n");
    world.run(pipeline).await.unwrap();
    assert_eq!(world.empty_columns().await, Vec::<String>::new());
    world.folder.write("data/b.csv", "id,n,v\n3,1,7\n");
    world.run(pipeline).await.unwrap();
    let fixed = pipeline.replace("value < 50", "value < 500");
    let done = world.replay(&fixed).await.unwrap();
    assert_eq!((done.landed, done.refused), (1, 0));
    let rows = world.rows("t.rows").await;
    let value = |id: i64| rows.iter().find(|row| row["id"] == id).unwrap();
    assert_eq!(value(3)["v"], 7);
    assert_eq!(value(2)["v__v_string"], "text");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_still_has_no_partition_stays_and_ends_no_replay() {
    let world = World::new().await;
    let pipeline = "pipeline: p\nsource: {file: {path: \"data/*\"}}\nextract: {json: {nested: tables}}\nschema: {columns: {s: {required: true}}}\nload: {iceberg: {table: t.rows, partition: [\"truncate(10, id)\"]}}\n";
    let least = i64::MIN;
    world.folder.write(
        "data/a.ndjson",
        format!(
            "{{\"id\":1,\"s\":\"a\"}}\n{{\"id\":{least},\"s\":\"b\",\"items\":[1]}}\n{{\"id\":3}}\n"
        ),
    );
    world.run(pipeline).await.unwrap();
    assert_eq!(world.open().await.len(), 2);
    let fixed = pipeline.replace("s: {required: true}", "s: {}");
    let done = world.replay(&fixed).await.unwrap();
    assert_eq!(
        (done.landed, done.rows, done.refused),
        (1, 1, 1),
        "{done:?}"
    );
    let open = world.open().await;
    assert_eq!(
        (open.len(), open[0].rejected.code.as_str()),
        (1, "no_partition")
    );
    assert_eq!(world.rows("t.rows").await.len(), 2);
    let again = world.replay(&fixed).await.unwrap();
    assert_eq!((again.landed, again.refused), (0, 1));
}

/// A run of the pipeline in the middle of somebody else's commit.
#[derive(Debug)]
struct RunMeanwhile {
    is_done: AtomicBool,
    world: Arc<World>,
    pipeline: String,
}

#[async_trait]
impl Failpoint for RunMeanwhile {
    async fn reach(&self, step: CommitStep) -> Result<()> {
        if step == CommitStep::FilesSealed && !self.is_done.swap(true, Ordering::SeqCst) {
            self.world.run(&self.pipeline).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_never_writes_over_what_a_run_has_learned_meanwhile() {
    let world = Arc::new(World::new().await);
    let pipeline = lines("p", "data", "limits: {depth: 2}, nested: keep", "t.rows");
    let data = "{\"id\":1}\n{\"id\":2,\"a\":{\"b\":{\"c\":1}}}\n";
    world.folder.write("data/a.ndjson", data);
    world.run(&pipeline).await.unwrap();
    let fixed = pipeline.replace("depth: 2", "depth: 20");
    // The replay has read the contract and written its rows by then; the run learns a column.
    world.folder.write(
        "data/b.ndjson",
        "{\"id\":3,\"amount\":1.5,\"w\":\"text\"}\n",
    );
    let meanwhile = RunMeanwhile {
        is_done: AtomicBool::new(false),
        world: world.clone(),
        pipeline: fixed.clone(),
    };
    let context = RunContext {
        failpoint: Some(Arc::new(meanwhile)),
        ..world.context()
    };
    let done = replay(World::spec(&fixed), context).await.unwrap();
    assert_eq!((done.landed, done.refused), (1, 0));
    assert_eq!(world.rows("t.rows").await.len(), 3);
    world
        .folder
        .write("data/c.ndjson", "{\"id\":4,\"amount\":2,\"w\":7}\n");
    world.run(&fixed).await.unwrap();
    let rows = world.rows("t.rows").await;
    let amount = |id: i64| {
        rows.iter()
            .find(|row| row["id"] == id)
            .map(|row| row["amount"].clone())
    };
    assert_eq!(amount(3), Some(1.5.into()));
    assert_eq!(amount(4), Some(2.0.into()));
}
