//! Random histories of tables against rows kept in memory: appends, new columns, branches, rollbacks, racing and dying
//! writers, expiry and deletion. Every state that is kept reads like the oracle's, and what is given up says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use forebay_core::{RefName, Timestamp};
use forebay_lake::{CompactionRules, Lake};
use forebay_store::{AsOf, Change, Commit, Committed, HeadChange};
use forebay_testkit::on_s3;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::clean::{asked, gone, objects};
use crate::compact::{asked as asked_compaction, compaction_rules};
use crate::crash::dying_append;
use crate::faulty::Death;
use crate::site::{LATER, Site, drafted_on, id_rows, ids_in, name, request};

const TABLES: [&str; 2] = ["a.t", "a.u"];
const BRANCHES: [&str; 2] = ["main", "side"];

#[derive(Debug, Clone)]
enum Step {
    /// So many commits of a row each, the last with a column that may be new.
    Append {
        branch: usize,
        tables: Vec<usize>,
        commits: usize,
        column: u8,
    },
    /// Writers that begin at one state.
    Race {
        branch: usize,
        writers: usize,
    },
    Dies {
        operations: i64,
    },
    Branch,
    /// The table as it was after an earlier commit of the branch that is still kept.
    Rollback {
        branch: usize,
        to: Index,
    },
    Clean {
        from: Index,
    },
    Compact {
        branch: usize,
        rules: CompactionRules,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let branch = || 0..BRANCHES.len();
    let tables = proptest::sample::subsequence(vec![0, 1], 1..=2);
    let append =
        (branch(), tables, 1_usize..24, 0_u8..3).prop_map(|(branch, tables, commits, column)| {
            Step::Append {
                branch,
                tables,
                commits,
                column,
            }
        });
    let index = any::<Index>;
    let step = prop_oneof![
        4 => append,
        1 => (branch(), 2_usize..4).prop_map(|(branch, writers)| Step::Race { branch, writers }),
        1 => (0_i64..10).prop_map(|operations| Step::Dies { operations }),
        1 => Just(Step::Branch),
        1 => (branch(), index()).prop_map(|(branch, to)| Step::Rollback { branch, to }),
        2 => index().prop_map(|from| Step::Clean { from }),
        2 => (branch(), compaction_rules()).prop_map(|(branch, rules)| Step::Compact { branch, rules }),
    ];
    proptest::collection::vec(step, 3..12)
}

/// The rows of each table.
type Rows = BTreeMap<&'static str, BTreeSet<i64>>;

#[derive(Debug, Clone)]
struct Entry {
    committed: Committed,
    branch: &'static str,
    rows: Rows,
}

struct Oracle {
    site: Site,
    /// Each branch's newest state.
    heads: BTreeMap<&'static str, Rows>,
    every: Vec<Entry>,
    kept_from: Timestamp,
    next: i64,
}

impl Oracle {
    async fn play(&mut self, step: Step) {
        match step {
            Step::Append {
                branch,
                tables,
                commits,
                column,
            } => {
                for n in 0..commits {
                    let column = if n + 1 == commits { column } else { 0 };
                    self.append(BRANCHES[branch], &tables, column).await;
                }
            }
            Step::Race { branch, writers } => self.race(BRANCHES[branch], writers).await,
            Step::Dies { operations } => self.die(operations).await,
            Step::Branch => self.branch().await,
            Step::Rollback { branch, to } => self.roll_back(BRANCHES[branch], to).await,
            Step::Clean { from } => self.clean(from).await,
            Step::Compact { branch, rules } => self.compact(BRANCHES[branch], rules).await,
        }
    }

    fn fresh(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn note(&mut self, branch: &'static str, committed: Committed, rows: Rows) {
        self.heads.insert(branch, rows.clone());
        self.every.push(Entry {
            committed,
            branch,
            rows,
        });
    }

    async fn append(&mut self, branch: &'static str, tables: &[usize], column: u8) {
        let Some(mut rows) = self.heads.get(branch).cloned() else {
            return;
        };
        let on: RefName = branch.parse().unwrap();
        let mut drafts = Vec::new();
        for table in tables.iter().map(|table| TABLES[*table]) {
            let id = self.fresh();
            drafts.push(
                drafted_on(&self.site.lake, &on, table, with_column(id, column))
                    .await
                    .unwrap(),
            );
            rows.entry(table).or_default().insert(id);
        }
        let mut change = request(drafts, Vec::new());
        change.branch = on;
        let done = self.site.lake.commit(change).await.unwrap();
        self.note(branch, done.committed, rows);
    }

    async fn race(&mut self, branch: &'static str, writers: usize) {
        let Some(mut rows) = self
            .heads
            .get(branch)
            .cloned()
            .filter(|rows| rows.contains_key("a.t"))
        else {
            return;
        };
        let on: RefName = branch.parse().unwrap();
        let mut racing = tokio::task::JoinSet::new();
        for _ in 0..writers {
            let (id, lake, on) = (self.fresh(), self.site.another().await, on.clone());
            racing.spawn(async move { (id, race_in(&lake, &on, id).await) });
        }
        let mut done = racing.join_all().await;
        done.sort_by_key(|(_, committed)| committed.at);
        for (id, committed) in done {
            rows.entry("a.t").or_default().insert(id);
            self.note(branch, committed, rows.clone());
        }
    }

    async fn die(&mut self, operations: i64) {
        let mut rows = self.heads["main"].clone();
        let Some(there) = rows.get_mut("a.t") else {
            return;
        };
        let id = self.fresh();
        let store = self.site.lake.store().clone();
        let newest = async || store.log(&RefName::main(), 1).await.unwrap().remove(0);
        let before = newest().await.id;
        let said = dying_append(&self.site, Death::Silence, operations, id).await;
        let after = newest().await;
        // It may have got to the end before it died, and nobody heard of it.
        assert!(!said || after.id != before);
        if after.id != before {
            there.insert(id);
            let (id, at) = (after.id, after.at);
            self.note("main", Committed { id, at }, rows);
        }
    }

    async fn branch(&mut self) {
        let (main, side) = (RefName::main(), BRANCHES[1].parse().unwrap());
        if self.heads.remove(BRANCHES[1]).is_some() {
            self.site.lake.store().drop_branch(&side).await.unwrap();
        } else {
            self.site
                .lake
                .store()
                .create_branch(&side, &main)
                .await
                .unwrap();
            self.heads.insert(BRANCHES[1], self.heads["main"].clone());
        }
    }

    async fn roll_back(&mut self, branch: &'static str, to: Index) {
        let on: RefName = branch.parse().unwrap();
        let kept = |entry: &&Entry| {
            entry.branch == branch
                && entry.committed.at >= self.kept_from
                && entry.rows.contains_key("a.t")
        };
        let of: Vec<Entry> = self.every.iter().filter(kept).cloned().collect();
        let (false, Some(mut rows)) = (of.is_empty(), self.heads.get(branch).cloned()) else {
            return;
        };
        let to = to.get(&of);
        let store = self.site.lake.store();
        let Ok(Some(then)) = store
            .head(&AsOf::Commit(to.committed.id), &name("a.t"))
            .await
        else {
            return; // of a branch that was dropped
        };
        let Some(now) = store
            .head(&AsOf::Head(on.clone()), &name("a.t"))
            .await
            .unwrap()
        else {
            return;
        };
        let change = request(Vec::new(), Vec::new());
        let commit = Commit {
            id: change.id,
            branch: on,
            author: "test".to_owned(),
            message: "back".to_owned(),
            run: None,
            at: None,
            heads: vec![HeadChange {
                table: name("a.t"),
                uuid: then.uuid,
                expected: Some(now.metadata_location),
                change: Change::Set(then.metadata_location),
            }],
            positions: Vec::new(),
        };
        let committed = store.commit(commit).await.unwrap();
        rows.insert("a.t", to.rows["a.t"].clone());
        self.note(branch, committed, rows);
    }

    async fn compact(&mut self, branch: &'static str, rules: CompactionRules) {
        let Some(rows) = self.heads.get(branch).cloned() else {
            return;
        };
        let mut request = asked_compaction("a.t");
        (request.branch, request.rules) = (branch.parse().unwrap(), rules);
        if !rows.contains_key("a.t") {
            return;
        }
        let done = self.site.lake.compact(&request).await.unwrap();
        assert_eq!((&done.problems, done.outdated), (&Vec::new(), 0));
        for newest in self.log(&request.branch, done.commits).await {
            self.note(branch, newest, rows.clone());
        }
    }

    /// The newest commits of a branch, oldest first.
    async fn log(&self, branch: &RefName, commits: u32) -> Vec<Committed> {
        let store = self.site.lake.store();
        let log = store.log(branch, commits).await.unwrap();
        let newest = log.into_iter().map(|entry| Committed {
            id: entry.id,
            at: entry.at,
        });
        let mut newest: Vec<Committed> = newest.collect();
        newest.reverse();
        newest
    }

    async fn clean(&mut self, from: Index) {
        if self.every.is_empty() {
            return;
        }
        let from = from.get(&self.every).committed.at;
        self.kept_from = self.kept_from.max(from);
        let cleaner = self.site.another_at(LATER).await;
        let before = objects(&self.site).await;
        let cleaned = cleaner.clean(&asked(from)).await.unwrap();
        assert!(
            cleaned.tables.values().all(|table| table.problem.is_none()),
            "{cleaned:?}"
        );
        assert_eq!(
            before.len() as u64 - objects(&self.site).await.len() as u64,
            gone(&cleaned)
        );
        let again = cleaner.clean(&asked(from)).await.unwrap();
        assert_eq!((gone(&again), again.forgotten.log_rows), (0, 0));
        self.compare().await;
    }

    /// Every state, read by a process that has read nothing yet.
    async fn compare(&self) {
        let lake = self.site.another().await;
        for (branch, rows) in &self.heads {
            let as_of = AsOf::Head(branch.parse().unwrap());
            assert_eq!(&self.read(&lake, &as_of).await.unwrap(), rows, "{branch}");
        }
        for entry in &self.every {
            let found = self.read(&lake, &AsOf::Commit(entry.committed.id)).await;
            match found {
                Ok(rows) => assert_eq!(rows, entry.rows, "{entry:?}"),
                Err(code) => {
                    assert_eq!(code, "expired");
                    let may = entry.committed.at < self.kept_from || entry.branch != "main";
                    assert!(may, "{entry:?}, kept from {}", self.kept_from);
                }
            }
        }
    }

    async fn read(&self, lake: &Lake, as_of: &AsOf) -> Result<Rows, &'static str> {
        let mut rows = Rows::new();
        for table in TABLES {
            let found = lake
                .table(as_of, &name(table))
                .await
                .map_err(|error| error.code())?;
            let Some(found) = found else { continue };
            let ids = ids_in(&self.site.place.objects, &found).await;
            let distinct: BTreeSet<i64> = ids.iter().copied().collect();
            assert_eq!(ids.len(), distinct.len(), "nothing twice: {ids:?}");
            rows.insert(table, distinct);
            let plan = found.scan(None).await.unwrap();
            assert!(
                plan.manifests_total <= 48,
                "{} manifests",
                plan.manifests_total
            );
        }
        Ok(rows)
    }
}

/// Appends a row beside others. Who comes second with a change of the schema begins again: a column that a row lacks becomes
/// optional.
async fn race_in(lake: &Lake, on: &RefName, id: i64) -> Committed {
    loop {
        let draft = drafted_on(lake, on, "a.t", id_rows([id])).await.unwrap();
        let mut change = request(vec![draft], Vec::new());
        change.branch = on.clone();
        match lake.commit(change).await {
            Ok(done) => return done.committed,
            Err(error) => assert_eq!(error.code(), "schema_moved"),
        }
    }
}

fn with_column(id: i64, column: u8) -> RecordBatch {
    if column == 0 {
        return id_rows([id]);
    }
    let values = || -> ArrayRef { Arc::new(Int64Array::from(vec![id])) };
    let extra = format!("extra_{column}");
    RecordBatch::try_from_iter([("id", values()), (extra.as_str(), values())]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if on_s3() { 2 } else { 12 }, max_shrink_iters: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_like_the_oracle(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut oracle = Oracle {
                site: Site::new().await,
                heads: BTreeMap::from([("main", Rows::new())]),
                every: Vec::new(),
                kept_from: Timestamp(0),
                next: 1_000,
            };
            for step in steps {
                oracle.play(step).await;
            }
            oracle.compare().await;
        });
    }
}
