//! The table after (run, fix, replay) is the table after (fix, run).

use forebay_testkit::PostgresServer;

use super::documents::{Case, Shape};
use super::world::{Dice, World};

/// Cases of each shape; `FOREBAY_TEST_CASES` asks for more.
const CASES: u64 = 7;

/// Cases of each mode of a sink.
const SINK_CASES: u64 = 2;

#[expect(
    clippy::disallowed_methods,
    reason = "the time limit of a test is not a setting"
)]
fn cases() -> u64 {
    let asked = std::env::var("FOREBAY_TEST_CASES").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(CASES)
}

async fn fill(world: &World, case: &Case) {
    for (name, bytes) in &case.payloads {
        if case.tight.contains("push:") {
            world.push("p", bytes).await;
        } else {
            world.folder.write(name, bytes);
        }
    }
}

/// Open refusals, without what depends on the time of the run: where they begin and end. The reasons may differ, as one may
/// hide another.
async fn open(world: &World) -> Vec<(u64, u64)> {
    let events = world.open().await;
    let extents = events.iter().filter_map(|event| event.rejected.extent);
    let mut open: Vec<(u64, u64)> = extents.map(|extent| (extent.start, extent.end)).collect();
    open.sort_unstable();
    open
}

async fn fix_then_run(case: &Case) -> World {
    let world = World::new().await;
    fill(&world, case).await;
    world.run(&case.fixed).await.unwrap();
    world
}

async fn run_then_fix(case: &Case) -> World {
    let world = World::new().await;
    fill(&world, case).await;
    world.run(&case.tight).await.unwrap();
    world.replay(&case.fixed).await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lake_holds_the_same_whether_the_fix_came_before_the_run_or_after_it() {
    let load = "{iceberg: {table: t.rows}}";
    let mut landed = 0;
    let mut wrong = Vec::new();
    for seed in 0..cases() {
        for (n, shape) in Shape::ALL.into_iter().enumerate() {
            let case = Case::new(shape, load, &mut Dice::new(seed * 100 + n as u64));
            let wanted = fix_then_run(&case).await;
            let replayed = run_then_fix(&case).await;
            let label = format!("seed {seed}, {shape:?}: {}", case.show());
            let content = wanted.content().await;
            let after = replayed.content().await;
            if after != content {
                wrong.push(format!("{after:?}\n instead of {content:?}\n in {label}"));
            }
            let open_after = open(&replayed).await;
            let open_wanted = open(&wanted).await;
            if open_after != open_wanted {
                wrong.push(format!(
                    "open {open_after:?}\n instead of {open_wanted:?}\n in {label}"
                ));
            }
            let taught = replayed.empty_columns().await.into_iter();
            let taught: Vec<String> = taught.chain(wanted.empty_columns().await).collect();
            if taught.iter().any(|column| !case.declares(column)) {
                wrong.push(format!("no row has a value in {taught:?} in {label}"));
            }
            let again = replayed.replay(&case.fixed).await.unwrap();
            if again.landed > 0 || replayed.content().await != after {
                wrong.push(format!("a second replay landed {again:?} in {label}"));
            }
            landed += usize::from(!content.is_empty());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(landed > 10, "{landed} cases landed rows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_holds_the_same_whether_the_fix_came_before_the_run_or_after_it() {
    let Some(server) = PostgresServer::shared() else {
        return;
    };
    let rows = |schema: &str| {
        let exists = format!("SELECT to_regclass('{schema}.rows') IS NOT NULL");
        if server.sql(&exists) == "f" {
            return String::new();
        }
        server.sql(&format!(
            "SELECT jsonb_strip_nulls(to_jsonb(r)) FROM {schema}.rows r ORDER BY id"
        ))
    };
    for (mode, key) in [("append", ""), ("upsert", ", key: [id]")] {
        for seed in 0..SINK_CASES {
            for shape in [Shape::Lines, Shape::Document, Shape::Push] {
                let name = format!("{mode}_{seed}_{shape:?}").to_lowercase();
                let case = |side: &str| {
                    let schema = format!("{name}_{side}");
                    server.sql(&format!("CREATE SCHEMA {schema}"));
                    let load = format!(
                        "{{postgres: {{url: \"${{env:WAREHOUSE}}\", table: {schema}.rows, mode: {mode}{key}}}}}"
                    );
                    Case::new(shape, &load, &mut Dice::new(seed))
                };
                fix_then_run(&case("wanted")).await;
                let replayed = case("replayed");
                let world = run_then_fix(&replayed).await;
                let wanted = rows(&format!("{name}_wanted"));
                assert_eq!(
                    rows(&format!("{name}_replayed")),
                    wanted,
                    "{}",
                    replayed.show()
                );
                world.replay(&replayed.fixed).await.unwrap();
                assert_eq!(
                    rows(&format!("{name}_replayed")),
                    wanted,
                    "{}",
                    replayed.show()
                );
            }
        }
    }
}
