//! `forebay serve` under a steady load: what is acknowledged while it is killed, and what poison does to the others.
//!
//! Short by itself. `FOREBAY_TEST_LOAD_SECONDS` and `FOREBAY_TEST_LOAD_RATE` (pushes a second) ask for more,
//! `FOREBAY_TEST_POISON_EVERY` for less poison.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::flights::variable;
use crate::forebay::Project;
use crate::served::{PIPELINE, Server, assert_each_once, client, runtime};

const SECONDS: u64 = 6;

/// Pushes a second: what a build that is not optimised keeps up with beside other tests.
const RATE: u64 = 200;

/// Callers at once; each sends its next push when the last one is answered.
const CALLERS: u64 = 32;

/// One record in so many is poison.
const POISON_EVERY: u64 = 100;

/// How much the delay of the others may rise by poison, once there is enough to measure.
const RISE_MAX: f64 = 0.05;

fn asked(name: &str, default: u64) -> u64 {
    variable(name).map_or(default, |text| text.parse().unwrap())
}

/// A push that was acknowledged.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    id: u64,
    /// Its place in the journal.
    offset: u64,
    sent: Instant,
    answered: Instant,
}

/// Who pushes: `body` makes the record of a number. What is not answered is sent again under the same key.
#[derive(Clone)]
struct Load {
    url: String,
    rate: u64,
    begun: Instant,
    stop: Arc<AtomicBool>,
    body: fn(u64) -> Value,
}

impl Load {
    /// One of the callers; its pushes are due at fixed times, so that one that was late catches up.
    async fn caller(self, caller: u64) -> Vec<Acknowledged> {
        let client = client();
        let mut acknowledged = Vec::new();
        for id in (caller..).step_by(usize::try_from(CALLERS).unwrap()) {
            let due = self.begun + Duration::from_micros(id * 1_000_000 / self.rate);
            tokio::time::sleep_until(due).await;
            let sent = Instant::now();
            loop {
                if self.stop.load(Ordering::Relaxed) {
                    return acknowledged;
                }
                let push = client
                    .post(&self.url)
                    .header("idempotency-key", id.to_string())
                    .body((self.body)(id).to_string());
                if let Some(offset) = offset_of(push).await {
                    let answered = Instant::now();
                    acknowledged.push(Acknowledged {
                        id,
                        offset,
                        sent,
                        answered,
                    });
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        acknowledged
    }

    fn start(
        self,
        runtime: &tokio::runtime::Runtime,
    ) -> Vec<tokio::task::JoinHandle<Vec<Acknowledged>>> {
        (0..CALLERS)
            .map(|caller| runtime.spawn(self.clone().caller(caller)))
            .collect()
    }
}

/// Sends a push; its place when it was acknowledged.
async fn offset_of(push: reqwest::RequestBuilder) -> Option<u64> {
    let answer = push.send().await.ok()?;
    if answer.status() != 200 {
        return None;
    }
    let receipt: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    receipt["offset"].as_u64()
}

fn ended(
    runtime: &tokio::runtime::Runtime,
    callers: Vec<tokio::task::JoinHandle<Vec<Acknowledged>>>,
) -> Vec<Acknowledged> {
    let all = callers
        .into_iter()
        .map(|caller| runtime.block_on(caller).unwrap());
    all.flatten().collect()
}

fn percentile(delays: &mut [Duration], share: f64) -> Duration {
    delays.sort_unstable();
    let last = delays.len() - 1;
    delays[(last as f64 * share).round() as usize]
}

#[test]
fn a_steady_load_with_kills_lands_each_acknowledged_push_once() {
    let seconds = asked("FOREBAY_TEST_LOAD_SECONDS", SECONDS);
    let project = Project::new();
    project.write("pipelines/events.yaml", PIPELINE);
    let mut server = Server::start(&project, "127.0.0.1:0");
    let runtime = runtime();
    let load = Load {
        url: server.url("/v1/ingest/events"),
        rate: asked("FOREBAY_TEST_LOAD_RATE", RATE),
        begun: Instant::now(),
        stop: Arc::default(),
        body: |id| json!({"id": id, "text": "x".repeat(150)}),
    };
    let (begun, stop) = (load.begun, load.stop.clone());
    let callers = load.start(&runtime);
    let (mut kills, mut slowest) = (0_u64, Duration::ZERO);
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(1000 + kills * 271 % 2000));
        let address = server.kill();
        let killed = Instant::now();
        server = Server::start(&project, &address);
        slowest = slowest.max(killed.elapsed());
        kills += 1;
    }
    std::thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let pushed = ended(&runtime, callers);
    let mut delays: Vec<Duration> = pushed.iter().map(|one| one.answered - one.sent).collect();
    println!(
        "{} pushes acknowledged over {kills} kills in {:?}; answers p50 {:?}, p99 {:?}; slowest start {slowest:?}",
        pushed.len(),
        begun.elapsed(),
        percentile(&mut delays, 0.5),
        percentile(&mut delays, 0.99),
    );
    assert_eq!(server.stop(), Some(0));
    project.ok(&["run", "--quiet"]);
    assert_each_once(&project, "push.events", pushed.iter().map(|one| one.id));
    assert!(pushed.len() > 100, "too few pushes to say anything");
}

/// A pipeline that refuses what is over a billion.
fn pipeline(name: &str, check: &str) -> String {
    format!(
        "pipeline: {name}\nsource: {{push: {{}}}}\nextract: {{json: {{lines: true}}}}\nschema: {{columns: {{id: {{type: long}}, n: {{type: long{check}}}}}}}\nbuffer: {{time: 100ms}}\nload: {{iceberg: {{table: push.{name}}}}}\n"
    )
}

const CHECK: &str = ", check: \"value < 1000000000\"";

fn is_poison(id: u64) -> bool {
    static EVERY: LazyLock<u64> =
        LazyLock::new(|| asked("FOREBAY_TEST_POISON_EVERY", POISON_EVERY));
    id % *EVERY == 7
}

fn clean(id: u64) -> Value {
    json!({"id": id, "n": id})
}

fn poisoned(id: u64) -> Value {
    let n = if is_poison(id) {
        1_000_000_000 + id
    } else {
        id
    };
    json!({"id": id, "n": n})
}

/// Looks at how many rows the pipelines have committed, again and again.
async fn watch(urls: [String; 2], stop: Arc<AtomicBool>) -> [Vec<(Instant, u64)>; 2] {
    let client = client();
    let mut seen = [Vec::new(), Vec::new()];
    while !stop.load(Ordering::Relaxed) {
        for (url, seen) in urls.iter().zip(&mut seen) {
            let answer = client.get(url).send().await.unwrap();
            let status: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            seen.push((Instant::now(), status["rows_committed"].as_u64().unwrap()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    seen
}

/// From sending a record to its commit, for all records but poison; rows are committed in the order of the journal.
fn delays(pushed: &[Acknowledged], seen: &[(Instant, u64)], poison: bool) -> Vec<Duration> {
    let mut good: Vec<&Acknowledged> = pushed
        .iter()
        .filter(|one| !(poison && is_poison(one.id)))
        .collect();
    good.sort_by_key(|one| one.offset);
    let visible = |rank: usize| {
        let at = seen.partition_point(|(_, rows)| *rows <= rank as u64);
        seen.get(at).map(|(at, _)| *at)
    };
    let delays = good.iter().enumerate();
    delays
        .filter_map(|(rank, one)| Some(visible(rank)?.duration_since(one.sent)))
        .collect()
}

#[test]
fn poison_delays_nobody_waits_in_quarantine_and_lands_once_by_a_replay() {
    let seconds = asked("FOREBAY_TEST_LOAD_SECONDS", SECONDS);
    let rate = asked("FOREBAY_TEST_LOAD_RATE", RATE) / 2;
    let project = Project::new();
    project.write("pipelines/clean.yaml", &pipeline("clean", CHECK));
    project.write("pipelines/poisoned.yaml", &pipeline("poisoned", CHECK));
    let server = Server::start(&project, "127.0.0.1:0");
    let runtime = runtime();
    let (begun, stop): (_, Arc<AtomicBool>) = (Instant::now(), Arc::default());
    let load = |name: &str, body| Load {
        url: server.url(&format!("/v1/ingest/{name}")),
        rate,
        begun,
        stop: stop.clone(),
        body,
    };
    let urls = ["clean", "poisoned"].map(|name| server.url(&format!("/v1/pipelines/{name}")));
    let watched: Arc<AtomicBool> = Arc::default();
    let watching = runtime.spawn(watch(urls, watched.clone()));
    let callers = [
        load("clean", clean as fn(u64) -> Value),
        load("poisoned", poisoned),
    ]
    .map(|load| load.start(&runtime));
    std::thread::sleep(Duration::from_secs(seconds));
    stop.store(true, Ordering::Relaxed);
    let [clean, poisoned] = callers.map(|callers| ended(&runtime, callers));
    std::thread::sleep(Duration::from_secs(2));
    watched.store(true, Ordering::Relaxed);
    let seen = runtime.block_on(watching).unwrap();
    assert_eq!(server.stop(), Some(0));

    let mut of_clean = delays(&clean, &seen[0], false);
    let mut of_others = delays(&poisoned, &seen[1], true);
    assert!(of_clean.len() > 100 && of_others.len() > 100);
    let (without, with) = (
        percentile(&mut of_clean, 0.99),
        percentile(&mut of_others, 0.99),
    );
    let rise = with.as_secs_f64() / without.as_secs_f64() - 1.0;
    println!(
        "push to commit without poison p50 {:?} p99 {without:?}, beside poison p50 {:?} p99 {with:?}: {:+.1} %",
        percentile(&mut of_clean, 0.5),
        percentile(&mut of_others, 0.5),
        rise * 100.0
    );
    // A few seconds beside other tests say only whether poison blocks.
    let may = if seconds >= 60 { RISE_MAX } else { 2.0 };
    assert!(rise < may, "poison delays the others by {rise}");

    let ids = poisoned.iter().map(|one| one.id);
    let poison: Vec<u64> = ids.clone().filter(|id| is_poison(*id)).collect();
    let waiting = project
        .ok(&[
            "sql",
            "SELECT record FROM quarantine.poisoned",
            "--format",
            "ndjson",
        ])
        .out;
    assert_eq!(waiting.lines().count(), poison.len());
    let good = ids.clone().filter(|id| !is_poison(*id));
    assert_each_once(&project, "push.poisoned", good);
    assert_each_once(&project, "push.clean", clean.iter().map(|one| one.id));
    project.write("pipelines/poisoned.yaml", &pipeline("poisoned", ""));
    for _ in 0..2 {
        project.ok(&["quarantine", "replay", "poisoned"]);
        assert_each_once(&project, "push.poisoned", ids.clone());
    }
}
