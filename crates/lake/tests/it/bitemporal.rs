//! Bitemporal tables: random histories of commits, races and rebuilt ones against the rules as they are written down.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Int64Type, Schema, TimestampMicrosecondType};
use forebay_core::{RefName, Timestamp};
use forebay_lake::bitemporal::{
    Bitemporal, END_OF_TIME, PeriodColumns, SYSTEM_FROM, SYSTEM_TO, Until, VALID_FROM, VALID_TO,
    refuse_periods, rows_with_periods, table_schema,
};
use forebay_lake::{CompactionRules, Draft, Lake, Table, WriterOptions};
use forebay_testkit::on_s3;
use futures::future::join_all;
use object_store::ObjectStore;
use proptest::prelude::*;

use crate::compact::{compact_by, compaction_rules};
use crate::site::{START, Site, live_rows, name, request};

const TABLE: &str = "a.t";
const DAY: i64 = 86_400_000_000;

#[derive(Debug, Clone)]
struct Record {
    key: i64,
    value: i64,
    order: Option<i64>,
    from: Option<i64>,
    to: Option<i64>,
    is_delete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    key: i64,
    from: i64,
    to: i64,
    value: i64,
    since: i64,
    until: i64,
}

/// Every row that was ever believed.
#[derive(Debug, Clone, Default)]
struct History(Vec<Row>);

impl History {
    fn commit(&mut self, records: &[Record], rules: &Bitemporal, at: i64) {
        let before = self.0.clone();
        let mut records = records.to_vec();
        records.sort_by_key(|record| record.order);
        for record in &records {
            self.apply(record, rules, at);
        }
        // What lived for no time was never there, and what was made again as it was is as it was.
        self.0.retain(|row| row.since != at || row.until != at);
        for old in before {
            let closed = Row { until: at, ..old };
            let made = Row { since: at, ..old };
            if old.until == END_OF_TIME && self.0.contains(&closed) && self.0.contains(&made) {
                self.0.retain(|row| *row != made && *row != closed);
                self.0.push(old);
            }
        }
        self.0.sort();
    }

    fn apply(&mut self, record: &Record, rules: &Bitemporal, at: i64) {
        let is_own = |row: &Row| row.key == record.key && row.until == END_OF_TIME;
        let from = record.from.unwrap_or(i64::MIN);
        let starts = self.0.iter().filter(|row| is_own(row)).map(|row| row.from);
        let next = starts.filter(|start| *start > from).min();
        let to = match (record.from, record.to, rules.until) {
            (Some(_), Some(to), _) => to,
            (Some(_), None, Until::Next) => next.unwrap_or(END_OF_TIME),
            _ => END_OF_TIME,
        };
        let mut made = Vec::new();
        for row in self.0.iter_mut().filter(|row| is_own(row)) {
            if row.from < to && from < row.to {
                row.until = at;
                let rest = Row {
                    since: at,
                    until: END_OF_TIME,
                    ..*row
                };
                made.push(Row {
                    to: rest.to.min(from),
                    ..rest
                });
                made.push(Row {
                    from: rest.from.max(to),
                    ..rest
                });
            }
        }
        made.retain(|row| row.from < row.to);
        self.0.extend(made);
        if record.is_delete {
            return;
        }
        let mut own = Row {
            key: record.key,
            from,
            to,
            value: record.value,
            since: at,
            until: END_OF_TIME,
        };
        if rules.coalesce {
            while let Some(other) = self.0.iter_mut().find(|row| {
                is_own(row) && row.value == own.value && (row.to == own.from || row.from == own.to)
            }) {
                own.from = own.from.min(other.from);
                own.to = own.to.max(other.to);
                other.until = at;
            }
        }
        self.0.push(own);
    }
}

fn record() -> impl Strategy<Value = Record> {
    let from = 0_i64..15;
    let length = prop::option::weighted(0.5, 1_i64..6);
    let kind =
        prop_oneof![6 => Just((false, false)), 2 => Just((true, false)), 1 => Just((true, true))];
    let order = prop::option::of(0_i64..4);
    ((0_i64..4, 0_i64..3), order, from, length, kind).prop_map(
        |((key, value), order, from, length, (is_delete, is_all))| Record {
            key,
            value,
            order,
            from: (!is_all).then_some(from * DAY),
            to: length
                .filter(|_| !is_all)
                .map(|length| (from + length) * DAY),
            is_delete,
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Record>),
    /// Both begin at one state; the second is put on top of the first.
    Race(Vec<Record>, Vec<Record>),
    /// The commit begins before a compaction and ends after it; without records there is only the compaction.
    AroundCompaction(Vec<Record>, CompactionRules),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let records = || prop::collection::vec(record(), 1..6);
    let step = prop_oneof![
        4 => records().prop_map(Step::Commit),
        1 => (records(), records()).prop_map(|(a, b)| Step::Race(a, b)),
        2 => (prop::collection::vec(record(), 0..6), compaction_rules()).prop_map(|(a, b)| Step::AroundCompaction(a, b)),
    ];
    prop::collection::vec(step, 1..8)
}

fn rules(until: Until, coalesce: bool) -> Bitemporal {
    Bitemporal {
        key: vec!["k".to_owned()],
        order: Some("o".to_owned()),
        until,
        coalesce,
    }
}

fn batch(records: &[Record]) -> RecordBatch {
    let numbers = |of: &dyn Fn(&Record) -> Option<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter(records.iter().map(of)))
    };
    let times = |of: &dyn Fn(&Record) -> Option<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter(records.iter().map(of)).with_timezone("UTC"))
    };
    let operations = records
        .iter()
        .map(|record| record.is_delete.then_some("delete"));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("k", numbers(&|record| Some(record.key))),
        ("v", numbers(&|record| Some(record.value))),
        ("o", numbers(&|record| record.order)),
        ("start", times(&|record| record.from)),
        ("end", times(&|record| record.to)),
        ("op", Arc::new(StringArray::from_iter(operations))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let periods = PeriodColumns {
        valid_from: "start".to_owned(),
        valid_to: "end".to_owned(),
        operation: Some("op".to_owned()),
    };
    let refused = refuse_periods(&rows, &periods).unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    rows_with_periods(&rows, &periods).unwrap()
}

/// A draft with records, those of several commits when they have times.
async fn drafted(
    lake: &Lake,
    commits: &[(Option<i64>, Vec<Record>)],
    rules: &Bitemporal,
    partition: &[&str],
) -> Draft {
    let mut draft = lake.draft(&RefName::main(), &name(TABLE)).await.unwrap();
    for (at, records) in commits {
        // Two batches, so that the order of arrival is more than that of one.
        let (first, second) = records.split_at(records.len() / 2);
        for records in [first, second] {
            let rows = batch(records);
            let schema = table_schema(&rows.schema());
            match draft.schema() {
                None => {
                    let partition: Vec<_> = partition
                        .iter()
                        .map(|field| field.parse().unwrap())
                        .collect();
                    draft.create(&schema, &partition).unwrap();
                }
                Some(_) => drop(draft.evolve(&schema).unwrap()),
            }
            draft.bitemporal_by(rules).unwrap();
            if let Some(at) = at {
                draft.set_system_time(Timestamp(*at));
            }
            let mut writer = draft.writer(WriterOptions::default()).unwrap();
            writer.write(&rows).unwrap();
            assert!(writer.finish().unwrap().is_empty());
        }
    }
    draft
}

async fn rows_in(objects: &Arc<dyn ObjectStore>, table: &Table) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in live_rows(objects, table).await {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let number = |name: &str| column(name).as_primitive::<Int64Type>();
        let time = |name: &str| column(name).as_primitive::<TimestampMicrosecondType>();
        let (key, value) = (number("k"), number("v"));
        let periods = [VALID_FROM, VALID_TO, SYSTEM_FROM, SYSTEM_TO].map(time);
        for row in 0..batch.num_rows() {
            let [from, to, since, until] = periods.map(|times| times.value(row));
            rows.push(Row {
                key: key.value(row),
                from,
                to,
                value: value.value(row),
                since,
                until,
            });
        }
    }
    rows.sort();
    rows
}

async fn play(steps: Vec<Step>, rules: Bitemporal, partition: &[&str]) {
    let site = Site::new().await;
    let mut history = History::default();
    let mut commits: Vec<(Option<i64>, Vec<Record>)> = Vec::new();
    for step in steps {
        match step {
            Step::Commit(records) => {
                let draft =
                    drafted(&site.lake, &[(None, records.clone())], &rules, partition).await;
                let at = site.commit(draft).await.committed.at.micros();
                history.commit(&records, &rules, at);
                commits.push((Some(at), records));
            }
            Step::Race(first, second) => {
                if commits.is_empty() {
                    continue;
                }
                let elsewhere = site.another().await;
                let one = drafted(&site.lake, &[(None, first.clone())], &rules, partition).await;
                let other = drafted(&elsewhere, &[(None, second.clone())], &rules, partition).await;
                let at = site.commit(one).await.committed.at.micros();
                history.commit(&first, &rules, at);
                commits.push((Some(at), first));
                let at = elsewhere
                    .commit(request(vec![other], Vec::new()))
                    .await
                    .unwrap();
                let at = at.committed.at.micros();
                history.commit(&second, &rules, at);
                commits.push((Some(at), second));
            }
            Step::AroundCompaction(records, chosen) => {
                if commits.is_empty() {
                    continue;
                }
                let elsewhere = site.another().await;
                let one = drafted(&site.lake, &[(None, records.clone())], &rules, partition).await;
                compact_by(&elsewhere, TABLE, chosen).await;
                if !records.is_empty() {
                    let at = site.commit(one).await.committed.at.micros();
                    history.commit(&records, &rules, at);
                    commits.push((Some(at), records));
                }
            }
        }
        let table = site.table_elsewhere(TABLE).await;
        assert_eq!(rows_in(&site.place.objects, &table).await, history.0);
    }
    if commits.is_empty() {
        return;
    }
    // Made again from what it was made of, in one commit or in two.
    let half = commits.len() / 2;
    for parts in [vec![&commits[..]], vec![&commits[..half], &commits[half..]]] {
        let again = Site::new().await;
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            again
                .commit(drafted(&again.lake, part, &rules, partition).await)
                .await;
        }
        let table = again.table_elsewhere(TABLE).await;
        assert_eq!(rows_in(&again.place.objects, &table).await, history.0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if on_s3() { 4 } else { 100 }))]

    #[test]
    fn every_state_is_as_the_rules_say(
        steps in steps(),
        until_next in any::<bool>(),
        coalesce in prop::bool::weighted(0.8),
        partition in prop::sample::select(vec![vec![], vec!["month(system_to)"], vec!["bucket(2, k)", "day(valid_from)"]]),
    ) {
        let until = if until_next { Until::Next } else { Until::End };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(play(steps, rules(until, coalesce), &partition));
    }
}

fn value(key: i64, value: i64, day: i64) -> Record {
    Record {
        key,
        value,
        order: None,
        from: Some(day * DAY),
        to: None,
        is_delete: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_catalog_name_the_same_time_beside_other_writers() {
    let site = Site::new().await;
    let rules = rules(Until::Next, true);
    site.commit(drafted(&site.lake, &[(None, vec![value(0, 0, 0)])], &rules, &[]).await)
        .await;
    let writer = async |number: i64| {
        let lake = site.another_in_real_time().await;
        let mut times = Vec::new();
        for commit in 0..8 {
            let records = (0..20)
                .map(|key| value(key, number * 100 + commit, commit * 10 + number))
                .collect();
            let draft = drafted(&lake, &[(None, records)], &rules, &[]).await;
            times.push(
                lake.commit(request(vec![draft], Vec::new()))
                    .await
                    .unwrap()
                    .committed
                    .at
                    .micros(),
            );
        }
        times
    };
    let other = async |number: i64| {
        let lake = site.another_in_real_time().await;
        for commit in 0..30 {
            let table = format!("b.t{number}");
            let rows = crate::site::id_rows([commit]);
            let draft = crate::site::drafted(&lake, &table, rows).await.unwrap();
            lake.commit(request(vec![draft], Vec::new())).await.unwrap();
        }
        Vec::new()
    };
    let writers =
        (0..3).map(|number| Box::pin(writer(number)) as futures::future::BoxFuture<'_, Vec<i64>>);
    let others =
        (0..2).map(|number| Box::pin(other(number)) as futures::future::BoxFuture<'_, Vec<i64>>);
    let mut times: Vec<i64> = join_all(writers.chain(others)).await.concat();
    times.push(START.micros());
    times.sort_unstable();
    let table = site.table_elsewhere(TABLE).await;
    let rows = rows_in(&site.place.objects, &table).await;
    let mut named: Vec<i64> = rows.iter().flat_map(|row| [row.since, row.until]).collect();
    named.sort_unstable();
    named.dedup();
    named.retain(|at| *at != END_OF_TIME);
    assert!(
        named
            .iter()
            .skip(1)
            .all(|at| times.binary_search(at).is_ok()),
        "{named:?} {times:?}"
    );
    for key in 0..20 {
        let believed: Vec<&Row> = rows
            .iter()
            .filter(|row| row.key == key && row.until == END_OF_TIME)
            .collect();
        assert!(
            believed.windows(2).all(|pair| pair[0].to <= pair[1].from),
            "{believed:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_keeps_its_key_and_its_kind() {
    let site = Site::new().await;
    let rules = rules(Until::Next, true);
    site.commit(drafted(&site.lake, &[(None, vec![value(0, 0, 0)])], &rules, &[]).await)
        .await;
    let mut draft = site.draft(TABLE).await;
    let other = Bitemporal {
        key: vec!["v".to_owned()],
        ..rules.clone()
    };
    assert_eq!(
        draft.bitemporal_by(&other).unwrap_err().code(),
        "key_changed"
    );
    let plain = crate::site::drafted(&site.lake, "a.plain", crate::site::id_rows([1]))
        .await
        .unwrap();
    site.commit(plain).await;
    let mut draft = site.draft("a.plain").await;
    let own = Bitemporal {
        key: vec!["id".to_owned()],
        order: None,
        ..rules
    };
    assert_eq!(
        draft.bitemporal_by(&own).unwrap_err().code(),
        "not_bitemporal"
    );
}
