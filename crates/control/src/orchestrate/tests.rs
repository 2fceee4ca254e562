use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use forebay_config::Variables;
use forebay_core::{Clock, Error};
use forebay_pipeline::spec;
use forebay_testkit::{FakeClock, NoSql};

use super::*;

/// A project in memory.
#[derive(Default)]
struct Fake {
    files: Mutex<BTreeMap<PathBuf, String>>,
    /// Pipelines whose runs fail at once.
    failing: Mutex<Vec<String>>,
    /// Pipelines whose runs end at once; others work until they are stopped.
    ending: Mutex<Vec<String>>,
    /// Pipelines that do not stop when they are told to.
    deaf: Mutex<Vec<String>>,
    /// Name and address of the source of each run, as it began.
    begun: Mutex<Vec<String>>,
    /// The same of each run that was stopped.
    ended: Mutex<Vec<String>>,
    last: Mutex<Option<LastRun>>,
}

struct Nothing;

impl Variables for Nothing {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
    fn param(&self, _: &str) -> Option<String> {
        None
    }
}

#[async_trait]
impl Site for Fake {
    fn files(&self) -> Result<Vec<PathBuf>> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn stamp(&self, file: &Path) -> Result<String> {
        Ok(lock(&self.files).get(file).cloned().unwrap_or_default())
    }

    fn load(&self, file: &Path) -> Result<PipelineSpec> {
        let text = lock(&self.files).get(file).cloned().unwrap_or_default();
        spec::parse("a.yaml", &text, &Nothing, &NoSql::shared())
            .map_err(|wrong| Error::config("bad_pipeline", wrong.to_string()))
    }

    async fn last_run(&self, _: &Ident) -> Result<Option<LastRun>> {
        Ok(lock(&self.last).clone())
    }

    async fn run(
        &self,
        spec: Arc<PipelineSpec>,
        figures: Arc<Figures>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let name = spec.name.to_string();
        let version = format!("{name} {}", spec.buffer.rows);
        lock(&self.begun).push(version.clone());
        Figures::count(&figures.commits, 1);
        if lock(&self.failing).contains(&name) {
            return Err(Error::unavailable("down", "the source is down"));
        }
        if lock(&self.ending).contains(&name) {
            return Ok(());
        }
        cancel.cancelled().await;
        if lock(&self.deaf).contains(&name) {
            std::future::pending::<()>().await;
        }
        lock(&self.ended).push(version);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

/// A continuous pipeline; `rows` distinguishes its versions.
fn pushed(name: &str, rows: u32) -> String {
    format!(
        "pipeline: {name}\nsource: {{push: {{}}}}\nextract: {{json: {{}}}}\nbuffer: {{rows: {rows}}}\nload: {{iceberg: {{table: a.{name}}}}}\n"
    )
}

fn scheduled(name: &str, every: &str) -> String {
    format!("schedule: {{every: {every}}}\n{}", pushed(name, 1))
        .replace("push: {}", "file: {path: a}")
}

struct World {
    site: Arc<Fake>,
    clock: Arc<FakeClock>,
    registry: Registry,
    stop: CancellationToken,
    supervisor: Supervisor<Fake>,
}

impl World {
    fn new(files: &[(&str, String)]) -> Self {
        let site = Arc::new(Fake::default());
        let clock = FakeClock::manual(Timestamp(1_000_000_000));
        let registry = Registry::default();
        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(
            site.clone(),
            clock.clone() as Arc<dyn Clock>,
            registry.clone(),
            stop.clone(),
        );
        let world = Self {
            site,
            clock,
            registry,
            stop,
            supervisor,
        };
        for (name, text) in files {
            world.write(name, text);
        }
        world
    }

    fn write(&self, name: &str, text: &str) {
        lock(&self.site.files).insert(PathBuf::from(name), text.to_owned());
    }

    async fn look(&mut self) {
        self.supervisor.look().await;
        settle().await;
    }

    /// Advances time for current sleepers.
    async fn pass(&self, time: Duration) {
        settle().await;
        self.clock.advance(time);
        settle().await;
    }

    fn begun(&self) -> Vec<String> {
        lock(&self.site.begun).clone()
    }

    fn status(&self, name: &str) -> Status {
        let all = self.registry.all();
        all.into_iter()
            .find(|status| status.pipeline.as_str() == name)
            .unwrap()
    }
}

/// Runs every task that can make progress.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_broken_one_leaves_the_old_version_at_work() {
    let mut world = World::new(&[("a.yaml", pushed("a", 1)), ("b.yaml", pushed("b", 1))]);
    world.look().await;
    assert_eq!(world.begun(), ["a 1", "b 1"]);
    world.write("a.yaml", "pipeline: a\nsource: nothing\n");
    world.look().await;
    let status = world.status("a");
    assert_eq!(status.phase, Phase::Running);
    assert!(status.broken.unwrap().contains("source"));
    assert!(lock(&world.site.ended).is_empty());
    world.write("a.yaml", &pushed("a", 2));
    world.look().await;
    assert_eq!(world.begun(), ["a 1", "b 1", "a 2"]);
    assert_eq!(*lock(&world.site.ended), ["a 1"]);
    let status = world.status("a");
    assert_eq!(
        (status.broken, status.changes, status.spec.buffer.rows),
        (None, 1, 2)
    );
}

#[tokio::test]
async fn a_file_that_never_checked_runs_once_it_does() {
    let mut world = World::new(&[("a.yaml", "pipeline: a\n".to_owned())]);
    world.look().await;
    assert!(world.begun().is_empty());
    assert_eq!(world.registry.broken()[0].0, "a.yaml");
    world.write("a.yaml", &pushed("a", 1));
    world.look().await;
    assert_eq!(world.begun(), ["a 1"]);
    assert!(world.registry.broken().is_empty());
}

#[tokio::test]
async fn a_failing_pipeline_is_tried_again_with_growing_pauses_and_stops_nobody() {
    let mut world = World::new(&[("a.yaml", pushed("a", 1)), ("b.yaml", pushed("b", 1))]);
    lock(&world.site.failing).push("a".to_owned());
    world.look().await;
    assert_eq!(world.begun(), ["a 1", "b 1"]);
    assert_eq!(world.status("a").phase, Phase::Failed);
    for pause in [1, 2, 4] {
        let before = world.begun().len();
        world.pass(Duration::from_millis(pause * 1000 - 1)).await;
        assert_eq!(world.begun().len(), before, "too early after {pause} s");
        world.pass(Duration::from_millis(1)).await;
        assert_eq!(world.begun().len(), before + 1, "not after {pause} s");
    }
    lock(&world.site.failing).clear();
    world.pass(Duration::from_secs(8)).await;
    let status = world.status("a");
    assert_eq!((status.phase, status.failures), (Phase::Running, 4));
    assert_eq!(world.status("b").phase, Phase::Running);
}

#[tokio::test]
async fn a_scheduled_pipeline_runs_when_it_is_due_also_after_a_restart() {
    let mut world = World::new(&[("a.yaml", scheduled("a", "15m"))]);
    lock(&world.site.ending).push("a".to_owned());
    // Another process ran it five minutes ago.
    *lock(&world.site.last) = Some(LastRun {
        begun: Timestamp(world.clock.now().0 - 300_000_000),
        digest: None,
    });
    world.look().await;
    assert!(world.begun().is_empty());
    assert_eq!(world.status("a").phase, Phase::Waiting);
    world.pass(Duration::from_secs(600)).await;
    assert_eq!(world.begun().len(), 1);
    world.pass(Duration::from_secs(899)).await;
    assert_eq!(world.begun().len(), 1);
    world.pass(Duration::from_secs(1)).await;
    assert_eq!(world.begun().len(), 2);
}

#[tokio::test]
async fn a_file_that_was_changed_while_no_process_ran_is_applied_at_once() {
    for (digest, runs) in [("another", 1), ("", 0)] {
        let mut world = World::new(&[("a.yaml", scheduled("a", "15m"))]);
        let own = world.site.load(Path::new("a.yaml")).unwrap().digest;
        *lock(&world.site.last) = Some(LastRun {
            begun: Timestamp(world.clock.now().0 - 300_000_000),
            digest: Some(if digest.is_empty() {
                own
            } else {
                digest.to_owned()
            }),
        });
        world.look().await;
        assert_eq!(world.begun().len(), runs, "{digest}");
    }
}

/// A pipeline that copies one table into another.
fn copied(name: &str, from: &str, to: &str) -> String {
    format!(
        "pipeline: {name}\nsource: {{table: {{name: {from}}}}}\nextract: {{table: {{}}}}\nload: {{iceberg: {{table: {to}}}}}\n"
    )
}

#[tokio::test]
async fn pipelines_in_a_cycle_are_not_run_until_it_is_gone() {
    let mut world = World::new(&[
        ("a.yaml", copied("a", "s.c", "s.a")),
        ("b.yaml", copied("b", "s.a", "s.b")),
        ("c.yaml", copied("c", "s.b", "s.c")),
    ]);
    world.look().await;
    assert_eq!(world.begun(), ["a 2000000", "b 2000000"]);
    let broken = world.registry.broken();
    assert_eq!(broken[0].0, "c.yaml");
    assert!(broken[0].1.contains("a reads s.c"), "{}", broken[0].1);
    assert!(broken[0].1.contains("b reads s.a"), "{}", broken[0].1);
    assert!(broken[0].1.contains("c reads s.b"), "{}", broken[0].1);
    world.write("a.yaml", &copied("a", "s.other", "s.a"));
    world.look().await;
    assert!(world.registry.broken().is_empty());
    assert_eq!(world.begun().len(), 4, "a again, and c");
}

#[tokio::test]
async fn a_pipeline_without_schedule_waits_to_be_asked() {
    let file = scheduled("a", "1s").replace("schedule: {every: 1s}\n", "");
    let mut world = World::new(&[("a.yaml", file)]);
    world.look().await;
    assert!(world.begun().is_empty());
    assert_eq!(world.status("a").phase, Phase::Manual);
    world.write("a.yaml", &pushed("a", 1));
    world.look().await;
    assert_eq!(world.begun(), ["a 1"]);
}

#[tokio::test]
async fn a_file_that_is_gone_or_renames_its_pipeline_ends_the_old_one() {
    let mut world = World::new(&[("a.yaml", pushed("a", 1)), ("b.yaml", pushed("b", 1))]);
    world.look().await;
    lock(&world.site.files).remove(Path::new("a.yaml"));
    world.write("b.yaml", &pushed("c", 1));
    world.look().await;
    assert_eq!(*lock(&world.site.ended), ["a 1", "b 1"]);
    assert_eq!(world.begun(), ["a 1", "b 1", "c 1"]);
    let left: Vec<String> = world
        .registry
        .all()
        .iter()
        .map(|s| s.pipeline.to_string())
        .collect();
    assert_eq!(left, ["c"]);
}

#[tokio::test]
async fn two_files_of_one_name_do_not_run_at_once() {
    let mut world = World::new(&[("a.yaml", pushed("a", 1)), ("b.yaml", pushed("a", 2))]);
    world.look().await;
    assert_eq!(world.begun(), ["a 1"]);
    assert!(world.registry.broken()[0].1.contains("a.yaml"));
}

#[tokio::test]
async fn the_end_waits_for_every_pipeline() {
    let world = World::new(&[("a.yaml", pushed("a", 1)), ("b.yaml", pushed("b", 1))]);
    let site = world.site.clone();
    let running = tokio::spawn(world.supervisor.run());
    settle().await;
    assert_eq!(lock(&site.begun).len(), 2);
    world.stop.cancel();
    assert_eq!(running.await.unwrap(), []);
    assert_eq!(lock(&site.ended).len(), 2);
}

#[tokio::test]
async fn the_end_waits_only_so_long_for_a_pipeline_that_does_not_stop() {
    let world = World::new(&[("a.yaml", pushed("a", 1)), ("b.yaml", pushed("b", 1))]);
    lock(&world.site.deaf).push("b".to_owned());
    let (site, clock) = (world.site.clone(), world.clock.clone());
    let running = tokio::spawn(world.supervisor.run());
    settle().await;
    world.stop.cancel();
    settle().await;
    assert_eq!(*lock(&site.ended), ["a 1"]);
    assert!(!running.is_finished());
    clock.advance(Duration::from_secs(20));
    let unfinished = running.await.unwrap();
    assert_eq!(unfinished, ["b".parse().unwrap()]);
}
