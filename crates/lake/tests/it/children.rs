//! Child rows go with the row of their parent: random histories of replaced, late and repeated records, beside races and compaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use forebay_core::RefName;
use forebay_lake::{CompactionRules, Draft, Lake, WriterOptions};
use forebay_testkit::on_s3;
use proptest::prelude::*;

use crate::compact::{compact_by, compaction_rules};
use crate::site::{Site, live_rows, name, request};

const PARENT: &str = "a.t";
const CHILD: &str = "a.t__items";

/// A record: its key, its order, its id, and how many child rows it has.
#[derive(Debug, Clone, Copy)]
struct Record {
    key: i64,
    order: i64,
    id: i64,
    items: usize,
}

/// A record that comes: a new one, or one that has come before.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    New { key: u8, order: u8, items: u8 },
    Repeated(prop::sample::Index),
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Vec<Arrival>>),
    /// Both begin at one state; the second is rebased.
    Race(Vec<Vec<Arrival>>, Vec<Vec<Arrival>>),
    Compact(CompactionRules),
}

fn arrivals() -> impl Strategy<Value = Vec<Vec<Arrival>>> {
    let new = (0_u8..5, 0_u8..4, 0_u8..4);
    let new = new.prop_map(|(key, order, items)| Arrival::New { key, order, items });
    let repeated = any::<prop::sample::Index>().prop_map(Arrival::Repeated);
    let batch = prop::collection::vec(prop_oneof![4 => new, 1 => repeated], 1..8);
    prop::collection::vec(batch, 1..3)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => arrivals().prop_map(Step::Commit),
        2 => (arrivals(), arrivals()).prop_map(|(a, b)| Step::Race(a, b)),
        1 => compaction_rules().prop_map(Step::Compact),
    ];
    prop::collection::vec(step, 1..8)
}

/// Every record that ever came, and the ones that stay.
#[derive(Debug, Default)]
struct Oracle {
    known: Vec<Record>,
    live: BTreeMap<i64, Record>,
}

impl Oracle {
    fn records(&mut self, batches: &[Vec<Arrival>]) -> Vec<Vec<Record>> {
        let mut record = |arrival: &Arrival| match arrival {
            Arrival::Repeated(index) if !self.known.is_empty() => *index.get(&self.known),
            Arrival::Repeated(_) => self.new_record(0, 0, 2),
            Arrival::New { key, order, items } => {
                self.new_record((*key).into(), (*order).into(), (*items).into())
            }
        };
        let batches = batches.iter();
        batches
            .map(|batch| batch.iter().map(&mut record).collect())
            .collect()
    }

    fn new_record(&mut self, key: i64, order: i64, items: usize) -> Record {
        let id = self.known.len() as i64;
        let record = Record {
            key,
            order,
            id,
            items,
        };
        self.known.push(record);
        record
    }

    fn commit(&mut self, batches: &[Vec<Record>]) {
        for record in batches.iter().flatten() {
            let held = self.live.get(&record.key);
            if held.is_none_or(|held| held.order <= record.order) {
                self.live.insert(record.key, *record);
            }
        }
    }

    /// Ids of the rows of the parent, and ids of the child rows with those of their parent.
    fn rows(&self) -> (Vec<String>, Vec<(String, String)>) {
        let mut parents: Vec<String> = self.live.values().map(|row| row_id(row.id)).collect();
        let mut children: Vec<_> = self.live.values().flat_map(items_of).collect();
        parents.sort();
        children.sort();
        (parents, children)
    }
}

fn row_id(id: i64) -> String {
    format!("row-{id}")
}

fn items_of(record: &Record) -> Vec<(String, String)> {
    let items = 0..record.items;
    items
        .map(|item| (row_id(record.id), format!("item-{}-{item}", record.id)))
        .collect()
}

fn texts(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn parent_rows(records: &[Record]) -> RecordBatch {
    let number = |of: fn(&Record) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(records.iter().map(of)))
    };
    let ids = records.iter().map(|record| row_id(record.id)).collect();
    let columns = [
        ("_fb_id", texts(ids)),
        ("key", number(|record| record.key)),
        ("order", number(|record| record.order)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn child_rows(records: &[Record]) -> RecordBatch {
    let (roots, ids) = records.iter().flat_map(items_of).unzip();
    let columns = [("_fb_root_id", texts(roots)), ("_fb_id", texts(ids))];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn write(draft: &mut Draft, rows: RecordBatch) {
    match draft.schema() {
        None => draft.create(&rows.schema(), &[]).unwrap(),
        Some(_) => drop(draft.evolve(&rows.schema()).unwrap()),
    }
    let is_parent = rows.column_by_name("key").is_some();
    if is_parent {
        draft.upsert_by(&["key".to_owned()], Some("order")).unwrap();
    }
    let mut writer = draft.writer(WriterOptions::default()).unwrap();
    let written = tokio::task::spawn_blocking(move || {
        writer.write(&rows)?;
        writer.finish()
    });
    draft.append(written.await.unwrap().unwrap());
}

/// Drafts of both tables; the child's follows also when no child row comes.
async fn drafts(lake: &Lake, batches: &[Vec<Record>]) -> Vec<Draft> {
    let mut parent = lake.draft(&RefName::main(), &name(PARENT)).await.unwrap();
    let mut child = lake.draft(&RefName::main(), &name(CHILD)).await.unwrap();
    parent.identify_rows("_fb_id");
    child
        .follow_rows(&name(PARENT), "_fb_root_id", "_fb_id")
        .unwrap();
    for records in batches {
        write(&mut parent, parent_rows(records)).await;
        let rows = child_rows(records);
        if rows.num_rows() > 0 || child.schema().is_none() {
            write(&mut child, rows).await;
        }
    }
    vec![child, parent]
}

async fn texts_in(site: &Site, table: &str, column: &str) -> Vec<String> {
    let table = site.table_elsewhere(table).await;
    let mut found = Vec::new();
    for batch in live_rows(&site.place.objects, &table).await {
        let column = batch.column_by_name(column).unwrap().as_string::<i32>();
        found.extend(column.iter().flatten().map(str::to_owned));
    }
    found
}

async fn rows_in(site: &Site) -> (Vec<String>, Vec<(String, String)>) {
    let mut parents = texts_in(site, PARENT, "_fb_id").await;
    let roots = texts_in(site, CHILD, "_fb_root_id").await;
    let ids = texts_in(site, CHILD, "_fb_id").await;
    let mut children: Vec<_> = roots.into_iter().zip(ids).collect();
    parents.sort();
    children.sort();
    (parents, children)
}

async fn play(steps: Vec<Step>) {
    let site = Site::new().await;
    let mut oracle = Oracle::default();
    let commit = async |lake: &Lake, drafts| lake.commit(request(drafts, Vec::new())).await;
    for step in steps {
        match step {
            Step::Commit(batches) => {
                let batches = oracle.records(&batches);
                let drafts = drafts(&site.lake, &batches).await;
                commit(&site.lake, drafts).await.unwrap();
                oracle.commit(&batches);
            }
            Step::Race(first, second) => {
                if oracle.known.is_empty() {
                    continue;
                }
                let (first, second) = (oracle.records(&first), oracle.records(&second));
                let elsewhere = site.another().await;
                let one = drafts(&site.lake, &first).await;
                let other = drafts(&elsewhere, &second).await;
                commit(&site.lake, one).await.unwrap();
                commit(&elsewhere, other).await.unwrap();
                oracle.commit(&first);
                oracle.commit(&second);
            }
            Step::Compact(rules) => {
                if oracle.known.is_empty() {
                    continue;
                }
                let lake = site.another().await;
                for table in [PARENT, CHILD] {
                    compact_by(&lake, table, rules.clone()).await;
                }
            }
        }
        if !oracle.known.is_empty() {
            assert_eq!(rows_in(&site).await, oracle.rows());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if on_s3() { 4 } else { 100 }))]

    #[test]
    fn child_rows_are_those_of_the_rows_that_stay(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_table_of_which_no_row_goes_has_no_new_state() {
    let site = Site::new().await;
    let record = |key, items| Record {
        key,
        order: 0,
        id: key,
        items,
    };
    let first = drafts(&site.lake, &[vec![record(1, 2)]]).await;
    site.lake.commit(request(first, Vec::new())).await.unwrap();
    let before = site.table_elsewhere(CHILD).await;
    let second = drafts(&site.lake, &[vec![record(2, 0)]]).await;
    site.lake.commit(request(second, Vec::new())).await.unwrap();
    let after = site.table_elsewhere(CHILD).await;
    assert_eq!(after.metadata_location(), before.metadata_location());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_ids_are_an_error_before_anything_changes() {
    let site = Site::new().await;
    let mut draft = site.draft(PARENT).await;
    draft.identify_rows("_fb_id");
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let orders = Arc::clone(&keys);
    let rows = RecordBatch::try_from_iter([("key", keys), ("order", orders)]).unwrap();
    write(&mut draft, rows).await;
    let refused = site.lake.commit(request(vec![draft], Vec::new())).await;
    assert_eq!(refused.unwrap_err().code(), "no_row_ids");
}
