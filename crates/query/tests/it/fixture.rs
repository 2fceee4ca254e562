//! A lake in a temporary folder, and short words for what tests do with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use forebay_core::{CommitId, Error, RefName, Result, TableName, Timestamp};
use forebay_lake::{CommitRequest, Lake, WriterOptions};
use forebay_query::{ChangeOptions, ChangeSession, Query, QueryOptions};
use forebay_store::Store;
use forebay_testkit::{FakeClock, Workspace};
use object_store::local::LocalFileSystem;

/// 2026-01-01T00:00:00Z.
pub(crate) const START: Timestamp = Timestamp(1_767_225_600_000_000);

pub(crate) struct Fixture {
    pub(crate) lake: Lake,
    pub(crate) clock: Arc<FakeClock>,
    commits: AtomicU64,
    workspace: Arc<Workspace>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::at(Arc::new(Workspace::new())).await
    }

    /// The same lake as another process has it.
    pub(crate) async fn another(&self) -> Self {
        Self::at(Arc::clone(&self.workspace)).await
    }

    async fn at(workspace: Arc<Workspace>) -> Self {
        let folder = workspace.path().canonicalize().unwrap();
        let clock = FakeClock::auto(START);
        let store = Store::open(&folder.join("store.db"), clock.clone())
            .await
            .unwrap();
        let objects = Arc::new(LocalFileSystem::new_with_prefix(&folder).unwrap());
        let lake = Lake::new(
            store,
            objects,
            format!("file://{}", folder.display()),
            clock.clone(),
        );
        Self {
            lake,
            clock,
            commits: AtomicU64::new(1),
            workspace,
        }
    }

    /// Appends rows to tables of `main` in one commit, making or growing them as needed, one second later than the last.
    pub(crate) async fn append(&self, tables: &[(&str, &[&str], RecordBatch)]) -> CommitId {
        self.append_on(&RefName::main(), tables).await
    }

    pub(crate) async fn append_on(
        &self,
        branch: &RefName,
        tables: &[(&str, &[&str], RecordBatch)],
    ) -> CommitId {
        let mut drafts = Vec::new();
        for (name, partition, batch) in tables {
            let name: TableName = name.parse().unwrap();
            let mut draft = self.lake.draft(branch, &name).await.unwrap();
            if draft.exists() {
                draft.evolve(&batch.schema()).unwrap();
            } else {
                let partition: Vec<_> = partition
                    .iter()
                    .map(|field| field.parse().unwrap())
                    .collect();
                draft.create(&batch.schema(), &partition).unwrap();
            }
            let options = WriterOptions {
                row_group_rows_max: 16,
                ..WriterOptions::default()
            };
            let mut writer = draft.writer(options).unwrap();
            let batch = batch.clone();
            let files = tokio::task::spawn_blocking(move || {
                writer.write(&batch)?;
                writer.finish()
            });
            draft.append(files.await.unwrap().unwrap());
            drafts.push(draft);
        }
        self.clock.advance(Duration::from_secs(1));
        let random = u128::from(self.commits.fetch_add(1, Ordering::Relaxed));
        let id = CommitId::new(START, random);
        let request = CommitRequest {
            id,
            branch: branch.clone(),
            author: "tester".to_owned(),
            message: format!("commit {random}"),
            run: None,
            drafts,
            positions: Vec::new(),
        };
        self.lake.commit(request).await.unwrap();
        id
    }

    /// A session that may change tables, but none that has the property `owned`.
    pub(crate) fn changes(&self) -> ChangeSession {
        let numbers = Arc::new(AtomicU64::new(rand_seed()));
        let options = ChangeOptions {
            query: QueryOptions {
                threads: 2,
                ..QueryOptions::default()
            },
            author: "tester".to_owned(),
            commit_id: Arc::new(move || {
                CommitId::new(START, u128::from(numbers.fetch_add(1, Ordering::Relaxed)))
            }),
            is_forced: false,
        };
        ChangeSession::new(self.lake.clone(), options)
    }

    pub(crate) fn query(&self) -> Query {
        self.query_with(QueryOptions {
            threads: 2,
            ..QueryOptions::default()
        })
    }

    pub(crate) fn query_with(&self, options: QueryOptions) -> Query {
        Query::new(self.lake.clone(), options)
    }

    /// The answer as a text table without its frame: one line a row, cells joined by ` | `.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        rows(&self.query(), sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error} ({:?})", error.hint()))
    }

    /// Compares the rows of statements, and reports every one that is wrong.
    pub(crate) async fn check(&self, cases: &[(&str, &[&str])]) {
        let mut wrong = Vec::new();
        for (sql, expected) in cases {
            let found = rows(&self.query(), sql).await;
            if !found.as_ref().is_ok_and(|rows| rows == expected) {
                wrong.push(format!("{sql}\n  {found:?}, not {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    pub(crate) async fn failure(&self, sql: &str) -> Error {
        rows(&self.query(), sql).await.expect_err(sql)
    }
}

/// A first number for ids that no other session of the test has.
fn rand_seed() -> u64 {
    static SESSIONS: AtomicU64 = AtomicU64::new(1);
    SESSIONS.fetch_add(1, Ordering::Relaxed) << 32
}

/// Compares the rows of statements over an empty lake.
pub(crate) async fn check(cases: &[(&str, &[&str])]) {
    Fixture::new().await.check(cases).await;
}

/// Compares the codes of statements that fail over an empty lake.
pub(crate) async fn check_refused(cases: &[(&str, &str)]) {
    let fixture = Fixture::new().await;
    for (sql, code) in cases {
        let error = fixture.failure(sql).await;
        assert_eq!(error.code(), *code, "{sql}: {error}");
    }
}

pub(crate) async fn rows(query: &Query, sql: &str) -> Result<Vec<String>> {
    let answer = query.execute(sql).await?;
    let schema = answer.schema.clone();
    let batches = answer.collect().await?;
    assert!(
        batches.iter().all(|batch| batch.schema() == schema),
        "{sql}"
    );
    Ok(shown(&batches))
}

/// Rows of batches as text.
pub(crate) fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let table = pretty_format_batches(batches).unwrap().to_string();
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
    lines
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" | ")
                .trim_end()
                .to_owned()
        })
        .collect()
}
