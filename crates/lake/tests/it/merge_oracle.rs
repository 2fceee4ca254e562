//! Random histories of branches against rows and events kept in memory.
//!
//! The oracle knows nothing of states that branches have in common: each change is an event, a branch has a set of events, and a merge adds
//! those of the source. Of each table it follows what a merge must make of it: nothing, what the source has, both, or a conflict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use forebay_store::{AsOf, Commit};
use forebay_testkit::on_s3;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use roaring::RoaringTreemap;

use crate::clean::asked;
use crate::compact::asked as asked_compaction;
use crate::merge::{branch, commit_on, fork, head_on, load_on, merge, position_on, upserted};
use crate::site::{LATER, Site, drafted_on, live_rows, name, request};

const BRANCHES: [&str; 3] = ["main", "x", "y"];
const ROWS: &str = "a.rows";
const KEYED: &str = "a.keyed";

#[derive(Debug, Clone)]
enum Step {
    /// A row, perhaps with a column that may be new, perhaps with a position.
    Append {
        on: usize,
        column: u8,
        moves: bool,
    },
    Upsert {
        on: usize,
        keys: Vec<i64>,
    },
    /// Of a row by its place.
    Delete {
        on: usize,
    },
    DropTable {
        on: usize,
        keyed: bool,
    },
    Fork {
        from: usize,
        to: usize,
    },
    DropBranch {
        name: usize,
    },
    Merge {
        from: usize,
        to: usize,
    },
    Compact {
        on: usize,
        keyed: bool,
    },
    Clean,
}

fn steps() -> impl Strategy<Value = (usize, Vec<Step>)> {
    (2..=BRANCHES.len()).prop_flat_map(|branches| {
        let on = move || 0..branches;
        let keys = proptest::collection::vec(0_i64..8, 1..3);
        let step = prop_oneof![
            5 => (on(), 0_u8..6, any::<bool>()).prop_map(|(on, column, moves)| Step::Append { on, column, moves }),
            4 => (on(), keys).prop_map(|(on, keys)| Step::Upsert { on, keys }),
            1 => on().prop_map(|on| Step::Delete { on }),
            1 => (on(), any::<bool>()).prop_map(|(on, keyed)| Step::DropTable { on, keyed }),
            3 => (on(), 1..branches).prop_map(|(from, to)| Step::Fork { from, to }),
            1 => (1..branches).prop_map(|name| Step::DropBranch { name }),
            6 => (on(), on()).prop_map(|(from, to)| Step::Merge { from, to }),
            1 => (on(), any::<bool>()).prop_map(|(on, keyed)| Step::Compact { on, keyed }),
            1 => Just(Step::Clean),
        ];
        let steps = proptest::collection::vec(step, 4..22);
        (Just(branches), steps)
    })
}

/// A change of one table, or of the position.
#[derive(Debug, Clone)]
enum Event {
    Create,
    /// Keys that were not there.
    Insert(Vec<i64>),
    /// Rows that were there were replaced or deleted; the keys that were written.
    Replace(Vec<i64>),
    Evolve,
    Drop,
    Move,
}

type Table = BTreeMap<i64, i64>;

#[derive(Debug, Clone, Default)]
struct State {
    /// By table, or `position`: number and kind.
    events: BTreeMap<&'static str, BTreeSet<usize>>,
    tables: BTreeMap<&'static str, Table>,
    columns: BTreeSet<u8>,
    position: Option<i64>,
    is_compacted: bool,
}

/// What a merge makes of a table.
#[derive(Debug, PartialEq)]
enum Wanted {
    Nothing,
    OfSource,
    Both,
    Conflict,
    /// Both added columns: it may be one.
    MayConflict,
}

struct Oracle {
    site: Site,
    events: Vec<Event>,
    states: BTreeMap<&'static str, State>,
    next: i64,
    /// More than two branches were there, or one was dropped: states in common may be many, or gone.
    is_loose: bool,
    merges: usize,
}

impl Oracle {
    async fn play(&mut self, step: Step) {
        match step {
            Step::Append { on, column, moves } => self.append(BRANCHES[on], column, moves).await,
            Step::Upsert { on, keys } => self.upsert(BRANCHES[on], keys).await,
            Step::Delete { on } => self.delete(BRANCHES[on]).await,
            Step::DropTable { on, keyed } => self.drop_table(BRANCHES[on], table(keyed)).await,
            Step::Fork { from, to } => self.fork(BRANCHES[from], BRANCHES[to]).await,
            Step::DropBranch { name } => self.drop_branch(BRANCHES[name]).await,
            Step::Merge { from, to } => self.merge(BRANCHES[from], BRANCHES[to]).await,
            Step::Compact { on, keyed } => self.compact(BRANCHES[on], table(keyed)).await,
            Step::Clean => {
                let cleaner = self.site.another_at(LATER).await;
                // Everything but the newest states, and what merges need.
                let now = self.site.lake.store().newest_time().await.unwrap();
                let mut asked = asked(LATER);
                asked.keep_from = now.unwrap_or(crate::site::START);
                let cleaned = cleaner.clean(&asked).await.unwrap();
                assert!(cleaned.tables.values().all(|table| table.problem.is_none()));
            }
        }
    }

    fn note(&mut self, on: &'static str, what: &'static str, event: Event) {
        let number = self.events.len();
        self.events.push(event);
        let state = self.states.get_mut(on).unwrap();
        state.events.entry(what).or_default().insert(number);
    }

    async fn append(&mut self, on: &'static str, column: u8, moves: bool) {
        if !self.states.contains_key(on) {
            return;
        }
        self.next += 1;
        let id = self.next;
        let lake = self.site.lake.clone();
        let rows = with_column(id, column);
        let draft = drafted_on(&lake, &branch(on), ROWS, rows).await.unwrap();
        match moves {
            true => load_on(&lake, on, vec![draft], id).await,
            false => drop(commit_on(&lake, on, vec![draft], Vec::new()).await),
        }
        let is_new = !self.states[on].tables.contains_key(ROWS);
        if is_new {
            self.note(on, ROWS, Event::Create);
        }
        let known = &mut self.states.get_mut(on).unwrap().columns;
        if column > 0 && known.insert(column) && !is_new {
            self.note(on, ROWS, Event::Evolve);
        }
        self.note(on, ROWS, Event::Insert(vec![id]));
        if moves {
            self.note(on, "position", Event::Move);
            self.states.get_mut(on).unwrap().position = Some(id);
        }
        let state = self.states.get_mut(on).unwrap();
        state.tables.entry(ROWS).or_default().insert(id, id);
    }

    async fn upsert(&mut self, on: &'static str, keys: Vec<i64>) {
        let Some(state) = self.states.get(on) else {
            return;
        };
        let keys: Vec<i64> = BTreeSet::from_iter(keys).into_iter().collect();
        self.next += 1;
        let value = self.next;
        let rows: Vec<(i64, i64)> = keys.iter().map(|key| (*key, value)).collect();
        let there = state.tables.get(KEYED).cloned();
        let draft = upserted(&self.site.lake, on, KEYED, &rows).await;
        commit_on(&self.site.lake, on, vec![draft], Vec::new()).await;
        if there.is_none() {
            self.note(on, KEYED, Event::Create);
        }
        let replaces = there.is_some_and(|there| keys.iter().any(|key| there.contains_key(key)));
        self.note(
            on,
            KEYED,
            match replaces {
                true => Event::Replace(keys),
                false => Event::Insert(keys),
            },
        );
        let state = self.states.get_mut(on).unwrap();
        state.tables.entry(KEYED).or_default().extend(rows);
    }

    async fn delete(&mut self, on: &'static str) {
        let there = self
            .states
            .get(on)
            .and_then(|state| state.tables.get(KEYED));
        if there.is_none_or(BTreeMap::is_empty) {
            return;
        }
        let lake = &self.site.lake;
        let found = lake
            .table(&AsOf::Head(branch(on)), &name(KEYED))
            .await
            .unwrap()
            .unwrap();
        let plan = found.scan(None).await.unwrap();
        let is_live = |file: &forebay_lake::scan::ScanFile, row: u64| {
            !file
                .deleted
                .as_ref()
                .is_some_and(|deleted| deleted.contains(row))
        };
        let mut places = plan
            .files
            .iter()
            .flat_map(|file| (0..file.rows).map(move |row| (file, row)));
        let (file, row) = places.find(|(file, row)| is_live(file, *row)).unwrap();
        let bytes = self
            .site
            .place
            .objects
            .get(&file.path)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap();
        let keys: Vec<i64> = reader
            .flat_map(|batch| {
                let batch = batch.unwrap();
                let keys = batch
                    .column_by_name("id")
                    .unwrap()
                    .as_primitive::<Int64Type>()
                    .clone();
                keys.values().to_vec()
            })
            .collect();
        let key = keys[usize::try_from(row).unwrap()];
        let mut draft = lake.draft_of(&found);
        draft.delete_rows(file, RoaringTreemap::from_iter([row]));
        commit_on(lake, on, vec![draft], Vec::new()).await;
        self.note(on, KEYED, Event::Replace(Vec::new()));
        let state = self.states.get_mut(on).unwrap();
        state.tables.get_mut(KEYED).unwrap().remove(&key).unwrap();
    }

    async fn drop_table(&mut self, on: &'static str, table: &'static str) {
        let Some(head) = (match self.states.contains_key(on) {
            true => head_on(&self.site.lake, on, table).await,
            false => None,
        }) else {
            return;
        };
        let commit = Commit::of_heads(
            request(Vec::new(), Vec::new()).id,
            branch(on),
            "test".to_owned(),
            "drop".to_owned(),
            vec![head.into_drop()],
        );
        self.site.lake.store().commit(commit).await.unwrap();
        self.note(on, table, Event::Drop);
        let state = self.states.get_mut(on).unwrap();
        state.tables.remove(table);
        if table == ROWS {
            state.columns.clear();
        }
    }

    async fn fork(&mut self, from: &'static str, to: &'static str) {
        if from == to || !self.states.contains_key(from) || self.states.contains_key(to) {
            return;
        }
        fork(&self.site.lake, to, from).await;
        self.states.insert(to, self.states[from].clone());
        self.is_loose |= self.states.len() > 2;
    }

    async fn drop_branch(&mut self, name: &'static str) {
        if self.states.remove(name).is_some() {
            self.site
                .lake
                .store()
                .drop_branch(&branch(name))
                .await
                .unwrap();
            self.is_loose = true;
        }
    }

    async fn compact(&mut self, on: &'static str, table: &'static str) {
        let Some(state) = self
            .states
            .get_mut(on)
            .filter(|state| state.tables.contains_key(table))
        else {
            return;
        };
        state.is_compacted = true;
        let mut asked = asked_compaction(table);
        asked.branch = branch(on);
        let done = self.site.lake.compact(&asked).await.unwrap();
        assert!(done.problems.is_empty(), "{done:?}");
    }

    async fn merge(&mut self, from: &'static str, to: &'static str) {
        if from == to || !self.states.contains_key(from) || !self.states.contains_key(to) {
            return;
        }
        let wanted: Vec<(&'static str, Wanted)> = [ROWS, KEYED, "position"]
            .into_iter()
            .map(|what| (what, self.wanted(from, to, what)))
            .collect();
        let must = wanted.iter().any(|(_, wanted)| *wanted == Wanted::Conflict);
        let may = wanted
            .iter()
            .any(|(_, wanted)| *wanted == Wanted::MayConflict)
            || self.states[from].is_compacted
            || self.states[to].is_compacted
            || self.is_loose;
        match merge(&self.site.lake, from, to).await {
            Ok(_) => {
                assert!(!must, "{from} into {to}: {wanted:?}");
                self.take_over(from, to, &wanted);
                self.merges += 1;
            }
            Err(error) if error.code() == "merge_base_expired" => assert!(self.is_loose, "{error}"),
            Err(error) => {
                assert_eq!(error.code(), "merge_conflict", "{error}");
                assert!(must || may, "{from} into {to}: {error}: {wanted:?}");
            }
        }
    }

    fn wanted(&self, from: &str, to: &str, what: &'static str) -> Wanted {
        let [ours, theirs] = [from, to].map(|on| {
            let of = self.states[on].events.get(what).cloned();
            of.unwrap_or_default()
        });
        let only = |a: &BTreeSet<usize>, b: &BTreeSet<usize>| -> Vec<&Event> {
            a.difference(b)
                .map(|number| &self.events[*number])
                .collect()
        };
        let (mine, others) = (only(&ours, &theirs), only(&theirs, &ours));
        match (mine.is_empty(), others.is_empty()) {
            (true, _) => return Wanted::Nothing,
            (false, true) => return Wanted::OfSource,
            (false, false) => {}
        }
        // Created and dropped again is as it was.
        let common = ours
            .intersection(&theirs)
            .map(|number| &self.events[*number]);
        let [mut created, mut dropped] = [0, 0];
        for event in common {
            created += u32::from(matches!(event, Event::Create));
            dropped += u32::from(matches!(event, Event::Drop));
        }
        let [a, b] = [from, to].map(|on| self.states[on].tables.contains_key(what));
        if what != "position" && created == dropped {
            match (a, b) {
                (false, _) => return Wanted::Nothing,
                (true, false) => return Wanted::OfSource,
                (true, true) => {}
            }
        }
        let is_whole = |event: &&&Event| matches!(event, Event::Create | Event::Drop | Event::Move);
        let is_replace = |event: &&&Event| matches!(event, Event::Replace(_));
        if mine.iter().chain(&others).any(|event| is_whole(&event))
            || mine.iter().any(|event| is_replace(&event))
        {
            // Both may have dropped it.
            return match what != "position" && !a && !b {
                true => Wanted::Nothing,
                false => Wanted::Conflict,
            };
        }
        let keys = |events: &[&Event]| -> BTreeSet<i64> {
            let keys = events.iter().map(|event| match event {
                Event::Insert(keys) | Event::Replace(keys) => keys.clone(),
                _ => Vec::new(),
            });
            keys.flatten().collect()
        };
        if what == KEYED && !keys(&mine).is_disjoint(&keys(&others)) {
            return Wanted::Conflict;
        }
        let evolves = |events: &[&Event]| events.iter().any(|event| matches!(event, Event::Evolve));
        match evolves(&mine) && evolves(&others) {
            true => Wanted::MayConflict,
            false => Wanted::Both,
        }
    }

    fn take_over(&mut self, from: &str, to: &str, wanted: &[(&'static str, Wanted)]) {
        let source = self.states[from].clone();
        let before = self.states[to].clone();
        let added = |what: &str| -> Vec<i64> {
            let none = BTreeSet::new();
            let theirs = before.events.get(what).unwrap_or(&none);
            let ours = source.events.get(what).unwrap_or(&none).difference(theirs);
            let keys = ours.map(|number| match &self.events[*number] {
                Event::Insert(keys) => keys.clone(),
                _ => Vec::new(),
            });
            keys.flatten().collect()
        };
        let added = BTreeMap::from([ROWS, KEYED].map(|what| (what, added(what))));
        let target = self.states.get_mut(to).unwrap();
        for (what, wanted) in wanted {
            match wanted {
                Wanted::Nothing => {}
                Wanted::OfSource if *what == "position" => target.position = source.position,
                Wanted::OfSource => {
                    match source.tables.get(what) {
                        Some(rows) => drop(target.tables.insert(what, rows.clone())),
                        None => drop(target.tables.remove(what)),
                    }
                    if *what == ROWS {
                        target.columns.clone_from(&source.columns);
                    }
                    // Which files it has may be the source's now.
                    target.is_compacted |= source.is_compacted;
                }
                _ => {
                    let rows = target.tables.get_mut(what).unwrap();
                    // What both had before stays as the target has it.
                    for key in &added[what] {
                        rows.insert(*key, source.tables[what][key]);
                    }
                    if *what == ROWS {
                        target.columns.extend(&source.columns);
                    }
                }
            }
            let events = source.events.get(what).cloned().unwrap_or_default();
            target.events.entry(what).or_default().extend(events);
        }
    }

    async fn compare(&self) {
        let lake = self.site.another().await;
        for (on, state) in &self.states {
            for table in [ROWS, KEYED] {
                let found = lake
                    .table(&AsOf::Head(branch(on)), &name(table))
                    .await
                    .unwrap();
                assert_eq!(
                    found.is_some(),
                    state.tables.contains_key(table),
                    "{table} on {on}"
                );
                let Some(found) = found else { continue };
                let rows = rows_of(&self.site, &found).await;
                assert_eq!(&rows, &state.tables[table], "{table} on {on}");
            }
            let position = position_on(&lake, on).await.map(|(_, at)| at);
            assert_eq!(position, state.position, "position on {on}");
        }
        assert_eq!(lake.store().verify().await.unwrap(), Vec::<String>::new());
    }
}

fn table(keyed: bool) -> &'static str {
    if keyed { KEYED } else { ROWS }
}

async fn rows_of(site: &Site, table: &forebay_lake::Table) -> Table {
    let mut rows = Table::new();
    for batch in live_rows(&site.place.objects, table).await {
        let numbers = |name: &str| {
            let column = batch.column_by_name(name)?;
            Some(column.as_primitive::<Int64Type>().clone())
        };
        let keys = numbers("id").unwrap();
        let values = numbers("v").unwrap_or_else(|| keys.clone());
        for (key, value) in keys.values().iter().zip(values.values()) {
            assert_eq!(rows.insert(*key, *value), None, "{key} comes twice");
        }
    }
    rows
}

fn with_column(id: i64, column: u8) -> RecordBatch {
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    if column > 0 {
        fields.push(Field::new(format!("extra_{column}"), DataType::Int64, true));
    }
    let values: ArrayRef = Arc::new(Int64Array::from(vec![id]));
    let columns = fields.iter().map(|_| values.clone()).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn play_all(site: Site, steps: Vec<Step>) {
    let mut oracle = Oracle {
        site,
        events: Vec::new(),
        states: BTreeMap::from([("main", State::default())]),
        next: 100,
        is_loose: false,
        merges: 0,
    };
    for step in steps {
        let is_merge = matches!(step, Step::Merge { .. } | Step::Clean);
        oracle.play(step).await;
        if is_merge {
            oracle.compare().await;
        }
    }
    oracle.compare().await;
}

fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if on_s3() { 3 } else { 300 }, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_branches_reads_like_the_oracle((_, steps) in steps()) {
        run(async { play_all(Site::new().await, steps).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if on_s3() { 1 } else { 20 }, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn so_it_does_with_a_catalog_on_postgres((_, steps) in steps()) {
        run(async {
            if let Some(site) = Site::on_postgres().await {
                play_all(site, steps).await;
            }
        });
    }
}
