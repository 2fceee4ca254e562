//! Rows that replace rows: random histories of keyed commits against a map, of racing writers, of partitions and of files of any size.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use forebay_core::RefName;
use forebay_lake::{CompactionRules, Draft, Lake, Table, WriterOptions};
use forebay_testkit::on_s3;
use futures::future::join_all;
use object_store::ObjectStore;
use proptest::prelude::*;

use crate::compact::{compact_by, compaction_rules};
use crate::site::{Site, live_rows, name, request};

const TABLE: &str = "a.t";

/// A row: its key, its order if it has one, and a value that no other row has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    key: (i64, String),
    order: Option<i64>,
    value: i64,
}

/// The key of a row, and its order.
type KeyedRow = ((u8, u8), Option<u8>);

/// One commit: batches of rows, and how they are written.
#[derive(Debug, Clone)]
struct Keyed {
    batches: Vec<Vec<KeyedRow>>,
    /// A file for each batch.
    small_files: bool,
    /// Whether rows have the order column.
    is_ordered: bool,
}

fn keyed() -> impl Strategy<Value = Keyed> {
    let key = (0_u8..6, 0_u8..3);
    let order = prop::option::weighted(0.9, 0_u8..5);
    let batch = prop::collection::vec((key, order), 1..12);
    let batches = prop::collection::vec(batch, 1..4);
    (batches, any::<bool>(), prop::bool::weighted(0.8)).prop_map(
        |(batches, small_files, is_ordered)| Keyed {
            batches,
            small_files,
            is_ordered,
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Keyed),
    /// Both begin at one state; the second is rebased.
    Race(Keyed, Keyed),
    /// Rows without a key of the table: they only come in.
    Append(u8),
    Compact(CompactionRules),
    /// The commit begins before a compaction and ends after it.
    AroundCompaction(Keyed, CompactionRules),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => keyed().prop_map(Step::Commit),
        2 => (keyed(), keyed()).prop_map(|(a, b)| Step::Race(a, b)),
        1 => (0_u8..6).prop_map(Step::Append),
        2 => compaction_rules().prop_map(Step::Compact),
        2 => (keyed(), compaction_rules()).prop_map(|(keyed, rules)| Step::AroundCompaction(keyed, rules)),
    ];
    prop::collection::vec(step, 1..8)
}

/// The rows that a table has by key. Appended ones may be several.
#[derive(Debug, Default)]
struct Oracle {
    rows: BTreeMap<(i64, String), Vec<Row>>,
    next: i64,
}

impl Oracle {
    fn rows_of(&mut self, keyed: &Keyed) -> Vec<Vec<Row>> {
        let mut row = |((number, text), order): &KeyedRow| {
            self.next += 1;
            Row {
                key: (i64::from(*number), format!("k{text}")),
                order: order.filter(|_| keyed.is_ordered).map(i64::from),
                value: self.next,
            }
        };
        let batches = keyed.batches.iter();
        batches
            .map(|batch| batch.iter().map(&mut row).collect())
            .collect()
    }

    /// Of the rows of one commit the newest of each key comes; it is late when the table has a newer one.
    fn upsert(&mut self, batches: &[Vec<Row>]) {
        let mut newest: BTreeMap<(i64, String), Row> = BTreeMap::new();
        for row in batches.iter().flatten() {
            let known = newest.get(&row.key);
            if known.is_none_or(|known| row.order >= known.order) {
                newest.insert(row.key.clone(), row.clone());
            }
        }
        for (key, row) in newest {
            let held = self.rows.entry(key).or_default();
            if held.iter().all(|held| held.order <= row.order) {
                *held = vec![row];
            }
        }
    }

    fn all(&self) -> Vec<(i64, String, Option<i64>, i64)> {
        let mut all: Vec<_> = self
            .rows
            .values()
            .flatten()
            .map(|row| (row.key.0, row.key.1.clone(), row.order, row.value))
            .collect();
        all.sort();
        all
    }
}

fn batch(rows: &[Row], is_ordered: bool) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.key.0)));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &r.key.1)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.value)));
    let mut columns = vec![("n", numbers), ("t", texts), ("v", values)];
    if is_ordered {
        let orders: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.order)));
        columns.push(("o", orders));
    }
    let fields = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(
        schema,
        columns.into_iter().map(|(_, column)| column).collect(),
    )
    .unwrap()
}

async fn drafted(
    lake: &Lake,
    batches: &[Vec<Row>],
    keyed: &Keyed,
    partition: &str,
    is_keyed: bool,
) -> Draft {
    let mut draft = lake.draft(&RefName::main(), &name(TABLE)).await.unwrap();
    for rows in batches {
        let rows = batch(rows, keyed.is_ordered);
        let partition: Vec<_> = partition
            .split(';')
            .filter(|p| !p.is_empty())
            .map(|p| p.parse().unwrap())
            .collect();
        match draft.schema() {
            None => draft.create(&rows.schema(), &partition).unwrap(),
            Some(_) => drop(draft.evolve(&rows.schema()).unwrap()),
        }
        if is_keyed {
            draft
                .upsert_by(&["n".to_owned(), "t".to_owned()], Some("o"))
                .unwrap();
        }
        let options = WriterOptions {
            file_bytes_target: if keyed.small_files { 1 } else { 1 << 20 },
            ..WriterOptions::default()
        };
        let mut writer = draft.writer(options).unwrap();
        let written = tokio::task::spawn_blocking(move || {
            writer.write(&rows)?;
            writer.finish()
        });
        draft.append(written.await.unwrap().unwrap());
    }
    draft
}

async fn rows_in(
    objects: &Arc<dyn ObjectStore>,
    table: &Table,
) -> Vec<(i64, String, Option<i64>, i64)> {
    let mut rows = Vec::new();
    for batch in live_rows(objects, table).await {
        let number = |name: &str| {
            let column = batch.column_by_name(name);
            column.map(|column| column.as_primitive::<Int64Type>())
        };
        let (n, v, o) = (number("n").unwrap(), number("v").unwrap(), number("o"));
        let t = batch.column_by_name("t").unwrap().as_string::<i32>();
        for row in 0..batch.num_rows() {
            let order = o.filter(|o| o.is_valid(row)).map(|o| o.value(row));
            rows.push((n.value(row), t.value(row).to_owned(), order, v.value(row)));
        }
    }
    rows.sort();
    rows
}

async fn play(steps: Vec<Step>, partition: &str) {
    let site = Site::new().await;
    let mut oracle = Oracle::default();
    for step in steps {
        match step {
            Step::Commit(keyed) => {
                let batches = oracle.rows_of(&keyed);
                let draft = drafted(&site.lake, &batches, &keyed, partition, true).await;
                site.commit(draft).await;
                oracle.upsert(&batches);
            }
            Step::Race(first, second) => {
                if oracle.rows.is_empty() || !(first.is_ordered && second.is_ordered) {
                    continue;
                }
                let (a, b) = (oracle.rows_of(&first), oracle.rows_of(&second));
                let elsewhere = site.another().await;
                let (one, other) = (
                    drafted(&site.lake, &a, &first, partition, true).await,
                    drafted(&elsewhere, &b, &second, partition, true).await,
                );
                site.commit(one).await;
                if elsewhere
                    .commit(request(vec![other], Vec::new()))
                    .await
                    .is_ok()
                {
                    oracle.upsert(&a);
                    oracle.upsert(&b);
                } else {
                    // Both have added the order column.
                    oracle.upsert(&a);
                }
            }
            Step::Compact(rules) => {
                if oracle.rows.is_empty() {
                    continue;
                }
                compact_by(&site.another().await, TABLE, rules).await;
            }
            Step::AroundCompaction(keyed, rules) => {
                if oracle.rows.is_empty() {
                    continue;
                }
                let batches = oracle.rows_of(&keyed);
                let draft = drafted(&site.lake, &batches, &keyed, partition, true).await;
                compact_by(&site.another().await, TABLE, rules).await;
                site.commit(draft).await;
                oracle.upsert(&batches);
            }
            Step::Append(number) => {
                let keyed = Keyed {
                    batches: vec![vec![((number, 0), None)]],
                    small_files: false,
                    is_ordered: false,
                };
                let batches = oracle.rows_of(&keyed);
                let draft = drafted(&site.lake, &batches, &keyed, partition, false).await;
                site.commit(draft).await;
                for row in batches.into_iter().flatten() {
                    oracle.rows.entry(row.key.clone()).or_default().push(row);
                }
            }
        }
        let table = site.table_elsewhere(TABLE).await;
        assert_eq!(rows_in(&site.place.objects, &table).await, oracle.all());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if on_s3() { 4 } else { 100 }))]

    #[test]
    fn every_state_has_the_newest_row_of_each_key(
        steps in steps(),
        partition in prop::sample::select(vec!["", "v", "bucket(2, n)", "t;bucket(3, v)"]),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(steps, partition));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_the_same_keys_all_land() {
    let site = Site::new().await;
    let keyed = Keyed {
        batches: Vec::new(),
        small_files: false,
        is_ordered: true,
    };
    let row = |writer: i64, commit: i64, key: i64| Row {
        key: (key, "k".to_owned()),
        order: Some(commit * 100 + writer),
        value: writer * 1_000 + commit,
    };
    let first: Vec<Row> = (0..20).map(|key| row(0, 0, key)).collect();
    site.commit(drafted(&site.lake, &[first], &keyed, "", true).await)
        .await;
    let writer = async |writer: i64| {
        let lake = site.another_in_real_time().await;
        for commit in 1..6 {
            let rows: Vec<Row> = (0..20).map(|key| row(writer, commit, key)).collect();
            let draft = drafted(&lake, &[rows], &keyed, "", true).await;
            lake.commit(request(vec![draft], Vec::new())).await.unwrap();
        }
    };
    join_all((1..7).map(writer)).await;
    let table = site.table_elsewhere(TABLE).await;
    let rows = rows_in(&site.place.objects, &table).await;
    let expected: Vec<_> = (0..20)
        .map(|key| (key, "k".to_owned(), Some(506), 6_005))
        .collect();
    assert_eq!(rows, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_type_that_is_equal_or_not() {
    let site = Site::new().await;
    let mut draft = site.draft(TABLE).await;
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let schema = Arc::new(Schema::new(vec![
        field("id", DataType::Int32),
        field("ratio", DataType::Float64),
        field("tags", DataType::new_list(DataType::Utf8, true)),
    ]));
    draft.create(&schema, &[]).unwrap();
    let code = |draft: &mut Draft, key: &str, order: &str| {
        let set = draft.upsert_by(&[key.to_owned()], Some(order));
        set.map_err(|error| error.code()).err()
    };
    assert_eq!(code(&mut draft, "tags", "id"), Some("bad_key_type"));
    assert_eq!(code(&mut draft, "id", "tags"), Some("bad_key_type"));
    assert_eq!(code(&mut draft, "none", "id"), Some("no_key_column"));
    assert_eq!(code(&mut draft, "id", "ratio"), None);
    // A key stays a whole number: 1 and 1.5 would be compared as doubles.
    let doubles = Arc::new(Schema::new(vec![field("id", DataType::Float64)]));
    let obstacle = draft.widening_obstacle(&doubles).await.unwrap();
    assert!(obstacle.unwrap().reason.contains("`id` is part of the key"));
}
