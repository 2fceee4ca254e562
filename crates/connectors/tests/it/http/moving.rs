//! Lists that move between any two requests, against a reader that is interrupted at any time: what a pass that ends has promised.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use forebay_core::Position;
use forebay_testkit::{Reply, Request, StubHttp};
use serde_json::{Value, json};

use super::{Bench, NEW_YEAR, all_records, param, records};

/// SplitMix64: a seed gives the same list again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// By the time of the last change; a change moves a record to the end.
    OldestFirst,
    /// A change moves a record to the beginning.
    NewestFirst,
    /// A change leaves a record where it is; others come and go anywhere.
    Fixed,
}

#[derive(Debug, Clone)]
struct Case {
    paginate: String,
    limit: usize,
    /// Records that the server gives at most.
    cap: usize,
    order: Order,
    concurrency: usize,
    fails: bool,
    /// Changes between one request and the next, in percent, and all together.
    churn: u64,
    changes: u64,
    deletes: bool,
}

#[derive(Debug, Clone)]
struct Row {
    id: u64,
    version: u64,
    changed: u64,
    /// The change that brought this version.
    born: u64,
}

struct World {
    case: Case,
    dice: Dice,
    rows: Vec<Row>,
    next_id: u64,
    /// Changes so far.
    events: u64,
    quiet: bool,
    /// The lists that the last requests found: one under way beside others is answered from any of them.
    recent: VecDeque<Vec<Row>>,
    log: Vec<String>,
}

impl World {
    fn new(case: Case, mut dice: Dice) -> Self {
        let count = dice.below(40);
        let mut world = Self {
            case,
            dice,
            rows: Vec::new(),
            next_id: 0,
            events: 0,
            quiet: false,
            recent: VecDeque::new(),
            log: Vec::new(),
        };
        (0..count).for_each(|_| world.insert());
        world
    }

    fn insert(&mut self) {
        self.events += 1;
        self.next_id += 1;
        let place = self.dice.below(self.rows.len() as u64 + 1) as usize;
        let row = Row {
            id: self.next_id,
            version: 0,
            changed: self.events,
            born: self.events,
        };
        self.rows.insert(place, row);
        self.sort();
    }

    fn update(&mut self, place: usize) {
        self.events += 1;
        let row = &mut self.rows[place];
        row.version += 1;
        row.born = self.events;
        row.changed = self.events;
        self.sort();
    }

    fn sort(&mut self) {
        match self.case.order {
            Order::OldestFirst => self.rows.sort_by_key(|row| (row.changed, row.id)),
            Order::NewestFirst => self
                .rows
                .sort_by_key(|row| std::cmp::Reverse((row.changed, row.id))),
            Order::Fixed => {}
        }
    }

    fn change(&mut self) {
        if self.quiet || self.case.changes == 0 || !self.dice.percent(self.case.churn) {
            return;
        }
        for _ in 0..=self.dice.below(self.case.limit as u64) {
            if self.case.changes == 0 {
                return;
            }
            self.case.changes -= 1;
            let place = self.dice.below(self.rows.len() as u64) as usize;
            match self.dice.below(10) {
                0..4 => self.insert(),
                _ if self.rows.is_empty() => {}
                4..7 => self.update(place),
                _ if self.case.deletes => {
                    self.events += 1;
                    self.rows.remove(place);
                }
                _ => self.update(place / 4),
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Reply {
        self.change();
        if !self.quiet && self.case.fails && self.dice.percent(8) {
            self.log.push(format!("{} fails", request.target()));
            return Reply::status(403);
        }
        self.recent.push_front(self.rows.clone());
        self.recent.truncate(self.case.concurrency);
        let list = self.dice.below(self.recent.len() as u64) as usize;
        let since = param(request, "since").saturating_sub(epoch());
        let start = match request.param("page") {
            Some(_) => (param(request, "page") as usize - 1) * self.case.limit,
            None => param(request, "offset") as usize,
        };
        let found = self.recent[list].iter().filter(|row| row.changed >= since);
        let rows: Vec<Row> = found.skip(start).take(self.case.cap).cloned().collect();
        let shown: Vec<_> = rows.iter().map(|row| (row.id, row.version)).collect();
        self.log.push(format!("{} {shown:?}", request.target()));
        let rows: Vec<Value> = rows
            .iter()
            .map(|row| json!({"id": row.id, "v": row.version, "u": epoch() + row.changed}))
            .collect();
        let next = self.next_of(request, list, start + rows.len(), since);
        let reply = Reply::json(&json!({ "rows": rows, "next": next }));
        match next.as_str() {
            Some(next) if self.case.paginate.contains("link_header") => {
                reply.header("link", format!("<{next}>; rel=\"next\""))
            }
            _ => reply,
        }
    }

    /// Where this page leads, for paginators that follow: to a page number or an offset, until nothing is behind it.
    fn next_of(&self, request: &Request, list: usize, end: usize, since: u64) -> Value {
        let found = self.recent[list].iter().filter(|row| row.changed >= since);
        if found.count() <= end {
            return Value::Null;
        }
        let since = request
            .param("since")
            .map_or_else(String::new, |since| format!("&since={since}"));
        let page = end / self.case.limit + 1;
        match self.case.paginate.as_str() {
            paginate if paginate.contains("param: page") => json!(page),
            paginate if paginate.contains("next") => json!(format!("?offset={end}{since}")),
            _ => json!(format!("?page={page}{since}")),
        }
    }

    /// Versions that were on the list since then.
    fn stayed_since(&self, event: u64) -> Vec<(u64, u64)> {
        let stayed = self.rows.iter().filter(|row| row.born <= event);
        stayed.map(|row| (row.id, row.version)).collect()
    }
}

/// Seconds of the first change, well in the past.
fn epoch() -> u64 {
    NEW_YEAR.micros().unsigned_abs() / 1_000_000 - 100_000
}

/// A list that is read by offset, whose pages overlap. Where records move to the front it is read again, as by page.
fn by_offset(dice: &mut Dice) -> Case {
    let limit = dice.pick(&[2, 3, 3, 5, 10]);
    let order = dice.pick(&[
        Order::OldestFirst,
        Order::OldestFirst,
        Order::NewestFirst,
        Order::Fixed,
    ]);
    let overlap = match limit > 3 && dice.percent(30) {
        true => ", overlap: 2",
        false => "",
    };
    Case {
        paginate: format!("{{offset: {{param: offset, limit: {limit}{overlap}}}}}"),
        limit,
        cap: limit - usize::from(limit > 3 && dice.percent(20)),
        order,
        concurrency: dice.pick(&[1, 1, 3]),
        fails: dice.percent(50),
        churn: dice.pick(&[10, 30, 60]),
        changes: match order {
            Order::NewestFirst => 2,
            _ => dice.pick(&[3, 10, 60]),
        },
        deletes: order == Order::Fixed,
    }
}

/// A list whose pages cannot overlap. What two readings show alike is believed: a list that moves twice in the same way, once in
/// each, is beyond that, so these move little.
fn by_page(dice: &mut Dice) -> Case {
    let limit = dice.pick(&[1, 2, 3, 5]);
    let order = dice.pick(&[Order::OldestFirst, Order::NewestFirst, Order::Fixed]);
    let paginates = [
        "{page: {param: page}}".to_owned(),
        format!("{{page: {{param: page, size: {limit}}}}}"),
        format!("{{offset: {{param: offset, limit: {limit}, overlap: 0}}}}"),
    ];
    Case {
        paginate: paginates[dice.below(3) as usize].clone(),
        limit,
        cap: limit,
        order,
        concurrency: dice.pick(&[1, 3]),
        fails: dice.percent(50),
        churn: 10,
        changes: 2,
        deletes: order == Order::Fixed,
    }
}

/// A list whose pages name the next one by its number or offset.
fn by_link(dice: &mut Dice) -> Case {
    let paginates = [
        "{link_header: {}}",
        "{next: {path: next}}",
        "{cursor: {path: next, param: page}}",
    ];
    Case {
        paginate: paginates[dice.below(3) as usize].to_owned(),
        concurrency: 1,
        ..by_page(dice)
    }
}

/// One run: up to so many pages. Whether the pass has ended, and where the next run begins.
async fn run(
    bench: &Bench,
    position: Option<Position>,
    pages: usize,
    landed: &mut BTreeMap<(u64, u64), u32>,
) -> (bool, Option<Position>) {
    let mut reader = bench.open(position.as_ref()).await.unwrap();
    let mut at = position;
    for _ in 0..pages {
        let chunk = match reader.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return (true, reader.end_position().or(at)),
            Err(error) => {
                let is_known = ["denied", "list_moves"].contains(&error.code());
                assert!(is_known || error.to_string().contains("403"), "{error:?}");
                return (false, at);
            }
        };
        for record in records(&chunk, "rows") {
            let version = (&record["id"], &record["v"]);
            let version = (version.0.as_u64().unwrap(), version.1.as_u64().unwrap());
            *landed.entry(version).or_default() += 1;
        }
        bench.raw.store(&chunk);
        at = chunk.position;
    }
    (false, at)
}

/// Reads a list that moves, pass by pass; what is missing or came twice.
async fn fault_of(seed: u64, kind: fn(&mut Dice) -> Case) -> Option<String> {
    let mut dice = Dice(seed);
    let case = kind(&mut dice);
    let mut cuts = Dice(seed ^ 0xff);
    let world = Arc::new(Mutex::new(World::new(case.clone(), dice)));
    let server = {
        let world = Arc::clone(&world);
        StubHttp::start(move |request| world.lock().unwrap().answer(request)).await
    };
    let has_cursor = case.order != Order::Fixed;
    let key = match has_cursor {
        true => "cursor: {field: u, param: since, format: epoch_seconds, key: id}",
        false => "key: id",
    };
    let config = format!(
        "records: rows\n{key}\nrate: {{requests: 1000000, per: 1s, concurrency: {}}}\npaginate: {}",
        case.concurrency, case.paginate
    );
    let bench = Bench::new(&server.url("/q"), &config);
    let (mut position, mut landed) = (None, BTreeMap::new());
    for pass in 0..if has_cursor { 4 } else { 1 } {
        world.lock().unwrap().quiet = has_cursor && pass == 3;
        let began = world.lock().unwrap().events;
        let mut ended = false;
        for attempt in 0..60 {
            let is_cut = case.fails && attempt < 20 && cuts.percent(50);
            world.lock().unwrap().case.fails &= attempt < 20;
            let pages = if is_cut {
                cuts.below(4) as usize
            } else {
                usize::MAX
            };
            world.lock().unwrap().recent.clear();
            (ended, position) = run(&bench, position, pages, &mut landed).await;
            world
                .lock()
                .unwrap()
                .log
                .push(format!("run ended: {ended}"));
            if ended {
                break;
            }
        }
        let world = world.lock().unwrap();
        let mut missing = world.stayed_since(began);
        missing.retain(|version| !landed.contains_key(version));
        let twice = landed.values().any(|count| *count > 1);
        if !ended || !missing.is_empty() || twice {
            let log = world.log.join("\n");
            return Some(format!(
                "seed {seed}, pass {pass}, ended {ended}: {missing:?} missing, twice {twice}\n{case:?}\n{log}"
            ));
        }
    }
    None
}

/// `FOREBAY_TEST_SEEDS` runs more of them.
fn no_seed_has_a_fault(kind: fn(&mut Dice) -> Case, name: &str) {
    let more = std::env::var_os("FOREBAY_TEST_SEEDS");
    let seeds = more
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(60);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let faults: Vec<String> = (0..seeds)
        .filter_map(|seed| runtime.block_on(fault_of(seed, kind)))
        .collect();
    let first = faults.iter().min_by_key(|fault| fault.len());
    assert!(
        faults.is_empty(),
        "{name}: {} of {seeds} seeds\n{}",
        faults.len(),
        first.unwrap()
    );
}

#[test]
fn a_list_that_moves_is_read_whole_by_offset() {
    no_seed_has_a_fault(by_offset, "offset");
}

#[test]
fn a_list_that_moves_is_read_whole_by_page() {
    no_seed_has_a_fault(by_page, "page");
}

#[test]
fn a_list_that_moves_is_read_whole_by_links_that_count() {
    no_seed_has_a_fault(by_link, "link");
}

/// Newest first, three a page: three records come while pages are under way side by side.
#[tokio::test]
async fn an_insertion_between_pages_that_are_read_side_by_side_loses_nothing() {
    for paginate in [
        "{page: {param: page, size: 3}}",
        "{offset: {param: offset, limit: 3, overlap: 0}}",
        "{offset: {param: offset, limit: 3}}",
    ] {
        let pages = Mutex::new(BTreeMap::<u64, u32>::new());
        let server = StubHttp::start(move |request| {
            let start = match request.param("page") {
                Some(_) => (param(request, "page") - 1) * 3,
                None => param(request, "offset"),
            };
            let mut pages = pages.lock().unwrap();
            let asked = pages.entry(start).or_default();
            *asked += 1;
            // The page behind the first is answered last.
            let has_grown = *asked > 1 || matches!(start, 2 | 3);
            let newest = if has_grown { 15 } else { 12 };
            let ids = (1..=newest).rev().skip(start as usize).take(3);
            let rows: Vec<Value> = ids.map(|id| json!({"id": id})).collect();
            Reply::json(&json!({ "rows": rows }))
        })
        .await;
        let config = format!(
            "records: rows\nkey: id\nrate: {{requests: 1000, per: 1s, concurrency: 3}}\npaginate: {paginate}"
        );
        let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
        let mut ids: Vec<_> = all_records(&pulled.chunks, "rows")
            .iter()
            .map(|row| row["id"].as_u64().unwrap())
            .collect();
        ids.sort_unstable();
        ids.retain(|id| *id <= 12);
        assert_eq!(ids, (1..=12).collect::<Vec<_>>(), "{paginate}");
    }
}

/// What is said not to move is read once, side by side also without a key.
#[tokio::test]
async fn a_stable_list_is_read_once() {
    for (paginate, key) in [
        ("{page: {param: page, stable: true}}", "key: id"),
        ("{page: {param: page, stable: true}}", ""),
        (
            "{offset: {param: offset, limit: 3, stable: true}}",
            "key: id",
        ),
    ] {
        let server = StubHttp::start(|request| {
            let start = match request.param("page") {
                Some(_) => (param(request, "page") - 1) * 3,
                None => param(request, "offset"),
            };
            let rows: Vec<Value> = (start..12).take(3).map(|id| json!({"id": id})).collect();
            Reply::json(&json!({ "rows": rows }))
        })
        .await;
        let config = format!("records: rows\n{key}\npaginate: {paginate}");
        let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
        assert_eq!(all_records(&pulled.chunks, "rows").len(), 12, "{paginate}");
        assert_eq!(server.requests().len(), 5, "{paginate}");
    }
}

/// Nine records, three a page; what the server does before the second request is told.
async fn read_moved(
    paginate: &str,
    change: impl Fn(&mut Vec<u64>) + Send + Sync + 'static,
) -> Vec<u64> {
    let list = Mutex::new(((1..=9).collect::<Vec<u64>>(), 0));
    let server = StubHttp::start(move |request| {
        let mut list = list.lock().unwrap();
        list.1 += 1;
        if list.1 == 2 {
            change(&mut list.0);
        }
        let start = match request.param("page") {
            Some(_) => (param(request, "page") - 1) * 3,
            None => param(request, "offset"),
        };
        let ids = list.0.iter().skip(start as usize).take(3);
        let rows: Vec<Value> = ids.map(|id| json!({"id": id})).collect();
        Reply::json(&json!({ "rows": rows }))
    })
    .await;
    let config = format!("records: rows\nkey: id\npaginate: {paginate}");
    let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
    let ids = all_records(&pulled.chunks, "rows");
    let mut ids: Vec<u64> = ids.iter().map(|row| row["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn a_record_that_moves_to_the_front_or_comes_there_is_loaded() {
    for paginate in [
        "{offset: {param: offset, limit: 3}}",
        "{page: {param: page}}",
    ] {
        let moved = read_moved(paginate, |list| {
            let record = list.remove(7);
            list.insert(0, record);
        });
        assert_eq!(moved.await, (1..=9).collect::<Vec<_>>(), "{paginate}");
        let moved = read_moved(paginate, |list| {
            let record = list.remove(8);
            list.insert(2, record);
        });
        assert_eq!(moved.await, (1..=9).collect::<Vec<_>>(), "{paginate}");
        let grown = read_moved(paginate, |list| list.insert(0, 10));
        assert_eq!(grown.await, (1..=10).collect::<Vec<_>>(), "{paginate}");
    }
}

/// New records at the front, one with every other request, are no reason to read for ever.
#[tokio::test]
async fn a_list_that_grows_at_its_front_is_read_to_an_end() {
    for paginate in [
        "{offset: {param: offset, limit: 3}}",
        "{page: {param: page}}",
    ] {
        let requests = Mutex::new(0_u64);
        let server = StubHttp::start(move |request| {
            let mut requests = requests.lock().unwrap();
            *requests += 1;
            let newest = 9 + *requests / 2;
            let start = match request.param("page") {
                Some(_) => (param(request, "page") - 1) * 3,
                None => param(request, "offset"),
            };
            let ids = (1..=newest).rev().skip(start as usize).take(3);
            let rows: Vec<Value> = ids.map(|id| json!({"id": id})).collect();
            Reply::json(&json!({ "rows": rows }))
        })
        .await;
        let config = format!("records: rows\nkey: id\npaginate: {paginate}");
        let pulled = Bench::new(&server.url("/q"), &config).take(None).await;
        let ids = all_records(&pulled.chunks, "rows");
        let mut ids: Vec<u64> = ids.iter().map(|row| row["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids.retain(|id| *id <= 9);
        assert_eq!(ids, (1..=9).collect::<Vec<_>>(), "{paginate}");
    }
}
