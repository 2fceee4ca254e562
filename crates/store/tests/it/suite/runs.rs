use forebay_core::{Ident, RefName, RunId, Timestamp};
use forebay_store::{RunRecord, RunStatus, StepRecord};

use super::*;

fn run(n: u128, pipeline: &str, started: i64) -> RunRecord {
    RunRecord {
        id: RunId::new(Timestamp(started), n),
        pipeline: pipeline.parse().unwrap(),
        branch: RefName::main(),
        status: RunStatus::Running,
        started_at: Timestamp(started),
        ended_at: None,
        error: None,
        steps: vec![],
    }
}

fn step(name: &str, rows: u64) -> StepRecord {
    let detail = serde_json::json!({ "requests": 3, "nested": ["a", null] });
    StepRecord {
        step: name.into(),
        rows,
        bytes: 10,
        cpu_us: 20,
        wall_us: 30,
        memory_bytes_max: 40,
        detail,
    }
}

#[tokio::test]
async fn a_run_is_replaced_as_it_goes_on() {
    let Some(world) = world().await else {
        return;
    };
    let mut record = run(1, "quakes", 5_000_000);
    record.steps = vec![step("source", 1), step("load", 1), step("raw", 1)];
    world.store.record_run(&record).await.unwrap();
    assert_eq!(
        world.store.run(record.id).await.unwrap(),
        Some(record.clone())
    );
    record.status = RunStatus::Failed;
    record.ended_at = Some(Timestamp(6_000_000));
    record.error = Some("it's gone".into());
    record.steps = vec![step("source", 9), step("load", u64::MAX >> 1)];
    world.store.record_run(&record).await.unwrap();
    assert_eq!(world.store.run(record.id).await.unwrap(), Some(record));
    assert_eq!(
        world.store.run(RunId::new(Timestamp(1), 99)).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn runs_are_listed_newest_first() {
    let Some(world) = world().await else {
        return;
    };
    for (n, pipeline, started) in [(1, "a", 30), (2, "b", 10), (3, "a", 20), (4, "a", 30)] {
        world
            .store
            .record_run(&run(n, pipeline, started * 1_000))
            .await
            .unwrap();
    }
    let listed = async |pipeline: Option<&str>, limit| {
        let pipeline: Option<Ident> = pipeline.map(|name| name.parse().unwrap());
        let runs = world.store.runs(pipeline.as_ref(), limit).await.unwrap();
        runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    let id = |n, started: i64| RunId::new(Timestamp(started * 1_000), n);
    assert_eq!(
        listed(None, 10).await,
        [id(4, 30), id(1, 30), id(3, 20), id(2, 10)]
    );
    assert_eq!(listed(Some("a"), 2).await, [id(4, 30), id(1, 30)]);
    assert_eq!(listed(Some("c"), 2).await, []);
}

#[tokio::test]
async fn a_run_that_died_is_found_by_the_next() {
    let Some(world) = world().await else {
        return;
    };
    let (dead, next, other) = (run(1, "a", 1_000), run(2, "a", 2_000), run(3, "b", 1_000));
    let ended = RunRecord {
        status: RunStatus::Succeeded,
        ..run(4, "a", 500)
    };
    let elsewhere = RunRecord {
        branch: branch("dev"),
        ..run(5, "a", 1_000)
    };
    for record in [&dead, &next, &other, &ended, &elsewhere] {
        world.store.record_run(record).await.unwrap();
    }
    world.clock.set(7_000_000);
    let pipeline = "a".parse().unwrap();
    let lost = world
        .store
        .mark_lost(&RefName::main(), &pipeline, next.id)
        .await
        .unwrap();
    assert_eq!(lost, [dead.id]);
    let found = world.store.run(dead.id).await.unwrap().unwrap();
    assert_eq!(
        (found.status, found.ended_at),
        (RunStatus::Lost, Some(Timestamp(7_000_000)))
    );
    assert!(found.error.is_some());
    for untouched in [next.clone(), other, ended, elsewhere] {
        assert_eq!(
            world.store.run(untouched.id).await.unwrap(),
            Some(untouched)
        );
    }
    assert_eq!(
        world
            .store
            .mark_lost(&RefName::main(), &pipeline, next.id)
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
async fn no_run_is_lost_while_another_owner_holds_a_split() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let (dead, next) = (run(1, "quakes", 1_000), run(2, "quakes", 2_000));
    for record in [&dead, &next] {
        world.store.record_run(record).await.unwrap();
    }
    let (theirs, mut ours) = (request(&main, "a"), request(&main, "b"));
    world.store.take_lease(&theirs, false).await.unwrap();
    ours.split = "other".parse().unwrap();
    world.store.take_lease(&ours, false).await.unwrap();
    let lost = async || {
        world
            .store
            .mark_lost_unless_held(&ours, next.id)
            .await
            .unwrap()
    };
    assert_eq!(lost().await, [], "they may be at work");
    world.clock.set(30_000_000);
    assert_eq!(lost().await, [dead.id], "their lease has ended");
}
