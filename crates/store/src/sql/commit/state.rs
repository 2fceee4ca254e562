//! The current state of everything that some commits touch, in one statement.

use serde_json::json;

use crate::Commit;
use crate::database::{Sql, query, rows_of};

/// Before the commits are made.
pub(super) struct State {
    pub(super) end: End,
    /// In the order of the commits.
    pub(super) commits: Vec<At>,
}

/// The end of the log: sequence number and time of the newest commit of all branches, `None` while there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    pub(super) seq: Option<i64>,
    pub(super) at: Option<i64>,
}

/// The state that one commit is applied to.
pub(super) struct At {
    /// It is in the log already, since then.
    pub(super) made_at: Option<i64>,
    /// `None`: the branch does not exist.
    pub(super) branch: Option<Branch>,
    /// Of each head that it changes: the location on this very branch (`None` when dropped), or that the branch has
    /// not touched the table.
    pub(super) heads: Vec<Option<Option<String>>>,
    /// Of each split that it moves: epoch and sequence; `None` when it was never taken.
    pub(super) splits: Vec<Option<(i64, i64)>>,
}

pub(super) struct Branch {
    pub(super) id: i64,
    pub(super) head: Option<i64>,
    pub(super) base: Option<i64>,
    pub(super) is_tag: bool,
}

/// A branch is found by its name before its rows are, so that each database goes by the whole key.
macro_rules! asked {
    ($parameter:literal) => {
        concat!(
            "(SELECT value, (SELECT id FROM branches WHERE name = value->>'branch' AND dropped_at IS NULL) AS branch
              FROM json_each(",
            $parameter,
            ")) asked"
        )
    };
}

/// Rows of five kinds, each with its commit and the number of the head or split. CROSS JOIN: SQLite must
/// join from the few requested rows to the many stored ones.
pub(crate) const READ: &str = concat!(
    "SELECT 'end' AS kind, CAST(0 AS BIGINT) AS n, CAST(0 AS BIGINT) AS k,
        (SELECT max(seq) FROM commits) AS a, (SELECT max(at) FROM commits) AS b,
        CAST(NULL AS BIGINT) AS c, CAST(NULL AS TEXT) AS location
    UNION ALL
    SELECT 'made', CAST(asked.value->>'n' AS BIGINT), 0, made.at, NULL, NULL, NULL
    FROM json_each($1) asked CROSS JOIN commits made WHERE made.id = asked.value->>'id'
    UNION ALL
    SELECT 'branch', CAST(asked.value->>'n' AS BIGINT), 0, b.id, b.head_seq, b.base, CASE WHEN b.is_tag <> 0 THEN 'tag' END
    FROM ",
    asked!("$1"),
    " CROSS JOIN branches b WHERE b.id = asked.branch
    UNION ALL
    SELECT 'head', CAST(asked.value->>'n' AS BIGINT), CAST(asked.value->>'k' AS BIGINT),
        NULL, NULL, NULL, h.metadata_location
    FROM ",
    asked!("$2"),
    " CROSS JOIN heads h
    WHERE h.branch = asked.branch AND h.namespace = asked.value->>'namespace' AND h.name = asked.value->>'name'
    UNION ALL
    SELECT 'split', CAST(asked.value->>'n' AS BIGINT), CAST(asked.value->>'k' AS BIGINT),
        p.epoch, p.sequence, NULL, NULL
    FROM ",
    asked!("$3"),
    " CROSS JOIN positions p
    WHERE p.branch = asked.branch AND p.pipeline = asked.value->>'pipeline' AND p.split = asked.value->>'split'"
);

#[derive(sqlx::FromRow)]
struct Row {
    kind: String,
    n: i64,
    k: i64,
    a: Option<i64>,
    b: Option<i64>,
    c: Option<i64>,
    location: Option<String>,
}

impl State {
    pub(super) async fn read(commits: &[&Commit], sql: &mut Sql<'_>) -> Result<Self, sqlx::Error> {
        let mut asked = Vec::new();
        let mut tables = Vec::new();
        let mut splits = Vec::new();
        for (n, commit) in commits.iter().enumerate() {
            let branch = commit.branch.as_str();
            asked.push(json!({ "n": n, "id": commit.id.to_string(), "branch": branch }));
            for (k, head) in commit.heads.iter().enumerate() {
                let namespace = head.table.namespace.as_str();
                let name = head.table.name.as_str();
                tables.push(json!({ "n": n, "k": k, "branch": branch, "namespace": namespace, "name": name }));
            }
            for (k, moved) in commit.positions.iter().enumerate() {
                let pipeline = moved.pipeline.as_str();
                let split = moved.split.as_str();
                splits.push(json!({ "n": n, "k": k, "branch": branch, "pipeline": pipeline, "split": split }));
            }
        }
        let rows: Vec<Row> = query(READ)
            .bind(rows_of(asked))
            .bind(rows_of(tables))
            .bind(rows_of(splits))
            .fetch_all(sql)
            .await?;
        let mut state = Self::unknown(commits);
        for row in rows {
            state.learn(row);
        }
        Ok(state)
    }

    fn unknown(commits: &[&Commit]) -> Self {
        let at = |commit: &&Commit| At {
            made_at: None,
            branch: None,
            heads: vec![None; commit.heads.len()],
            splits: vec![None; commit.positions.len()],
        };
        Self {
            end: End::default(),
            commits: commits.iter().map(at).collect(),
        }
    }

    fn learn(&mut self, row: Row) {
        if row.kind == "end" {
            (self.end.seq, self.end.at) = (row.a, row.b);
            return;
        }
        let index = |n: i64| usize::try_from(n).expect("the statement gives back our own numbers");
        let at = &mut self.commits[index(row.n)];
        let k = index(row.k);
        match (row.kind.as_str(), row.a, row.b) {
            ("made", made_at, _) => at.made_at = made_at,
            ("branch", Some(id), head) => {
                let base = row.c;
                at.branch = Some(Branch {
                    id,
                    head,
                    base,
                    is_tag: row.location.is_some(),
                });
            }
            ("head", ..) => at.heads[k] = Some(row.location),
            ("split", Some(epoch), Some(sequence)) => at.splits[k] = Some((epoch, sequence)),
            _ => (),
        }
    }
}
