//! Seeded schedules: processes that run one pipeline fail, die and stand still anywhere, and each record lands once.
//!
//! A schedule has up to four processes, each with a fate that strikes at one of its events: a request to the object store or
//! to the target, or a step of the commit. A process that stands still goes on later, when another one has taken its lease.
//! Then a healthy process finishes. The seed of a schedule that fails is in the message; [`one_schedule_again`] repeats it.

mod clock;
mod fate;
mod objects;
mod source;
mod target;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_core::{Clock, Ident, RefName, TableName};
use forebay_lake::Lake;
use forebay_store::Store;
use forebay_testkit::Workspace;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::task::JoinHandle;

use self::clock::ScheduleClock;
use self::fate::{Fate, Life};
use self::objects::SeenObjects;
use self::source::KnownSource;
use self::target::{Content, MemoryTarget, Mistake};
use super::world::{self, Dice};
use crate::engine::{Ids, RunContext, RunReport, run};
use crate::spec::PipelineSpec;
use crate::spec::components::{ConfiguredSource, ConfiguredTarget};

const LEASE: Duration = Duration::from_secs(60);

/// Healthy runs until everything has landed.
const HEALTHY_RUNS_MAX: u32 = 4;

/// Where the rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    Lake,
    /// The lake, one row for each key.
    Upsert,
    Target(Mistake),
}

struct Schedule {
    folder: Workspace,
    dice: Dice,
    load: Load,
    store: Store,
    objects: Arc<dyn ObjectStore>,
    clock: Arc<ScheduleClock>,
    source: KnownSource,
    content: Arc<Mutex<Content>>,
    processes: u64,
    /// Processes that stand still.
    paused: Vec<(Arc<Life>, JoinHandle<forebay_core::Result<RunReport>>)>,
    killed: Vec<Arc<Life>>,
    /// What happened, for the message.
    log: Vec<String>,
}

impl Schedule {
    async fn new(seed: u64, load: Load) -> Self {
        let mut dice = Dice::new(seed);
        let folder = Workspace::new();
        let clock = ScheduleClock::new();
        let store = Store::open(&folder.path().join("store.db"), clock.clone()).await;
        Self {
            folder,
            source: KnownSource::new(&mut dice),
            dice,
            load,
            store: store.unwrap(),
            objects: Arc::new(InMemory::new()),
            clock,
            content: Arc::default(),
            processes: 0,
            paused: Vec::new(),
            killed: Vec::new(),
            log: Vec::new(),
        }
    }

    fn lake(&self, objects: Arc<dyn ObjectStore>) -> Lake {
        let clock = self.clock.clone() as Arc<dyn Clock>;
        Lake::new(self.store.clone(), objects, "memory://".to_owned(), clock)
    }

    fn target(&self, life: &Arc<Life>, mistake: Mistake) -> MemoryTarget {
        MemoryTarget {
            content: self.content.clone(),
            mistake,
            life: life.clone(),
        }
    }

    fn spec(&mut self, life: &Arc<Life>) -> Arc<PipelineSpec> {
        let rows = 1 + self.dice.below(6);
        let mode = match self.load {
            Load::Upsert => ", mode: upsert, key: [k]",
            _ => "",
        };
        let text = format!(
            "pipeline: p\nsource: {{push: {{}}}}\nextract: {{json: {{lines: true}}}}\nload: {{iceberg: {{table: t.rows{mode}}}}}\nbuffer: {{rows: {rows}}}\n"
        );
        let mut spec = world::parsed(&text);
        spec.source = ConfiguredSource::Connector(Box::new(self.source.clone()));
        if let Load::Target(mistake) = self.load {
            spec.load = ConfiguredTarget::Sink(Box::new(self.target(life, mistake)));
        }
        Arc::new(spec)
    }

    fn context(&mut self, life: &Arc<Life>) -> RunContext {
        self.processes += 1;
        let objects = Arc::new(SeenObjects {
            inner: self.objects.clone(),
            life: life.clone(),
        });
        let lake = self.lake(objects);
        RunContext {
            ids: Ids::new(self.dice.below(u64::MAX)),
            owner: format!("process {}", self.processes),
            lease: LEASE,
            exclusive: false,
            payload_attempts: 0,
            failpoint: Some(life.clone()),
            ..world::context_in(&self.folder, lake, self.clock.clone())
        }
    }

    /// A process until it ends, dies or stands still.
    async fn process(&mut self, fate: Fate, after: u64) -> bool {
        let life = Life::new(fate, after);
        let spec = self.spec(&life);
        let context = self.context(&life);
        let mut task = tokio::spawn(run(spec, context));
        let ended = tokio::select! {
            ended = &mut task => Some(ended),
            () = life.stands_still() => None,
        };
        let done = match ended {
            Some(ended) => {
                let ended = ended.unwrap();
                self.log.push(format!(
                    "{fate:?} after {after}: {:?}",
                    ended.as_ref().err().map(ToString::to_string)
                ));
                ended.is_ok()
            }
            None => {
                self.log.push(format!("{fate:?} after {after}"));
                self.stopped(fate, life, task).await;
                false
            }
        };
        self.clock.advance(LEASE * 2);
        done
    }

    async fn stopped(
        &mut self,
        fate: Fate,
        life: Arc<Life>,
        task: JoinHandle<forebay_core::Result<RunReport>>,
    ) {
        if fate == Fate::Pause {
            self.paused.push((life, task));
            return;
        }
        task.abort();
        drop(task.await);
        self.killed.push(life);
    }

    /// The processes that stand still go on, now that others have their leases.
    async fn go_on(&mut self) {
        for (life, task) in std::mem::take(&mut self.paused) {
            life.release();
            let ended = task.await.unwrap();
            self.log.push(format!(
                "gone on: {:?}",
                ended.err().map(|error| error.to_string())
            ));
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.dice.below(3) {
            let fates = [
                Fate::None,
                Fate::Fail,
                Fate::FailOnce,
                Fate::Kill,
                Fate::Kill,
                Fate::Pause,
                Fate::Pause,
            ];
            let fate = fates[usize::try_from(self.dice.below(7)).unwrap()];
            let events = if self.dice.is(50) { 25 } else { 120 };
            let after = 1 + self.dice.below(events);
            self.process(fate, after).await;
            if self.dice.is(50) {
                self.go_on().await;
            }
        }
        self.go_on().await;
        for _ in 0..HEALTHY_RUNS_MAX {
            if self.process(Fate::None, 1).await {
                return self.check().await;
            }
        }
        Err("the pipeline does not get to its end".to_owned())
    }

    async fn check(&self) -> Result<(), String> {
        let pipeline: Ident = "p".parse().unwrap();
        let wanted = match self.load {
            Load::Upsert => self.source.last_of_each_key(),
            _ => self.source.good.clone(),
        };
        let mut rows = match self.load {
            Load::Lake | Load::Upsert => self.numbers("t.rows", "id").await,
            Load::Target(_) => self.content.lock().unwrap().rows.clone(),
        };
        rows.sort_unstable();
        equal("rows", &rows, &wanted)?;
        let refused = self.values("quarantine.p", "id").await;
        equal("refused records", &refused.len(), &self.source.bad)?;
        let names: Vec<String> = (0..self.source.payloads())
            .map(|n| format!("\"payload-{n}\""))
            .collect();
        equal("payloads", &self.values("raw.p", "name").await, &names)?;
        let positions = self.store.positions(&RefName::main(), &pipeline).await;
        let read = positions
            .unwrap()
            .pop()
            .map(|(.., position)| position.0["read"].clone());
        equal("position", &read, &Some(self.source.payloads().into()))
    }

    async fn values(&self, table: &str, column: &str) -> Vec<String> {
        let table: TableName = table.parse().unwrap();
        let rows = world::rows_in(&self.lake(self.objects.clone()), &table).await;
        rows.iter()
            .map(|row| row.get(column).unwrap().to_string())
            .collect()
    }

    async fn numbers(&self, table: &str, column: &str) -> Vec<u64> {
        let values = self.values(table, column).await;
        values.iter().map(|value| value.parse().unwrap()).collect()
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Result<(), String> {
    match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, not {wanted:?}")),
    }
}

/// Runs a schedule; the error says what happened.
async fn play(seed: u64, load: Load) -> Result<(), String> {
    let mut schedule = Schedule::new(seed, load).await;
    let outcome = schedule.run().await;
    for life in &schedule.killed {
        life.release();
    }
    outcome.map_err(|what| format!("seed {seed}, {load:?}: {what}\n{}", schedule.log.join("\n")))
}

/// Runs schedules of many seeds; returns the failures.
async fn play_all(seeds: std::ops::Range<u64>, load: Load) -> Vec<String> {
    let mut failures = Vec::new();
    for seed in seeds {
        failures.extend(play(seed, load).await.err());
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_lands_once_in_the_lake_whatever_happens_to_processes() {
    let failures = play_all(0..1_000, Load::Lake).await;
    assert!(
        failures.is_empty(),
        "{} failures: {}",
        failures.len(),
        failures[0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_record_of_each_key_stays_whatever_happens_to_processes() {
    let failures = play_all(6_000..6_250, Load::Upsert).await;
    assert!(
        failures.is_empty(),
        "{} failures: {}",
        failures.len(),
        failures[0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_lands_once_in_a_target_whatever_happens_to_processes() {
    let failures = play_all(2_000..3_000, Load::Target(Mistake::None)).await;
    assert!(
        failures.is_empty(),
        "{} failures: {}",
        failures.len(),
        failures[0]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_broken_target_is_found() {
    for mistake in [
        Mistake::NoFence,
        Mistake::LatePosition,
        Mistake::EarlyPosition,
        Mistake::NoOutbox,
    ] {
        let mut seeds = 4_000..4_200;
        let found = loop {
            match seeds.next() {
                Some(seed) if play(seed, Load::Target(mistake)).await.is_err() => break true,
                Some(_) => {}
                None => break false,
            }
        };
        assert!(found, "{mistake:?}");
    }
}

/// Repeats the schedule of `FOREBAY_SCHEDULE` (`lake:17`, `target:1017`), to look into a failure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_schedule_again() {
    let Some(text) = forebay_testkit::variable("FOREBAY_SCHEDULE") else {
        return;
    };
    let (load, seed) = text.split_once(':').unwrap();
    let load = match load {
        "lake" => Load::Lake,
        "upsert" => Load::Upsert,
        _ => Load::Target(Mistake::None),
    };
    play(seed.parse().unwrap(), load)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
}
