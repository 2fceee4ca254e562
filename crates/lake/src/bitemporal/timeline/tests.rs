//! Against the rules as they are written down: a list of rows, searched from end to end for each record.

use proptest::prelude::*;

use super::*;

/// A row of the whole history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    from: i64,
    to: i64,
    digest: Digest,
    since: i64,
    until: i64,
}

/// Every row that was ever believed. The last commit's rows are made with `since` of that commit.
#[derive(Debug, Default)]
struct History(Vec<Row>);

impl History {
    fn apply(&mut self, change: &Change, rules: Rules, at: i64) {
        let from = change.from.unwrap_or(i64::MIN);
        let believed = |row: &&Row| row.until == END_OF_TIME;
        let next = self
            .0
            .iter()
            .filter(believed)
            .map(|row| row.from)
            .filter(|start| *start > from)
            .min();
        let to = match (change.from, change.to, rules.until) {
            (None, _, _) => END_OF_TIME,
            (_, Some(to), _) => to,
            (_, None, Until::Next) => next.unwrap_or(END_OF_TIME),
            (_, None, Until::End) => END_OF_TIME,
        };
        let mut made = Vec::new();
        for row in self.0.iter_mut().filter(|row| row.until == END_OF_TIME) {
            if row.from < to && from < row.to {
                row.until = at;
                made.push(Row {
                    to: row.to.min(from),
                    since: at,
                    until: END_OF_TIME,
                    ..*row
                });
                made.push(Row {
                    from: row.from.max(to),
                    since: at,
                    until: END_OF_TIME,
                    ..*row
                });
            }
        }
        if !change.is_delete {
            made.push(Row {
                from,
                to,
                digest: change.digest,
                since: at,
                until: END_OF_TIME,
            });
        }
        self.0
            .extend(made.into_iter().filter(|row| row.from < row.to));
        if rules.coalesce && !change.is_delete {
            self.join(from, at);
        }
    }

    /// Joins what touches the row that a record has made.
    fn join(&mut self, from: i64, at: i64) {
        let find = |rows: &[Row], wanted: &dyn Fn(&Row) -> bool| {
            rows.iter()
                .position(|row| row.until == END_OF_TIME && wanted(row))
        };
        let Some(mut own) = find(&self.0, &|row| row.from == from) else {
            return;
        };
        for is_left in [true, false] {
            let row = self.0[own];
            let touches = |other: &Row| match is_left {
                true => other.to == row.from,
                false => other.from == row.to,
            };
            if let Some(other) = find(&self.0, &|other| {
                touches(other) && other.digest == row.digest
            }) {
                let joined = Row {
                    from: row.from.min(self.0[other].from),
                    to: row.to.max(self.0[other].to),
                    digest: row.digest,
                    since: at,
                    until: END_OF_TIME,
                };
                self.0[own].until = at;
                self.0[other].until = at;
                self.0.push(joined);
                own = self.0.len() - 1;
            }
        }
    }

    /// Leaves out what lived for no time, and what was closed and made again.
    fn end_commit(&mut self, at: i64) {
        self.0.retain(|row| row.since != at || row.until != at);
        let remade: Vec<Row> = self
            .0
            .iter()
            .copied()
            .filter(|row| row.since == at)
            .collect();
        for row in remade {
            let same = |other: &Row| {
                other.until == at
                    && (other.from, other.to, other.digest) == (row.from, row.to, row.digest)
            };
            if let Some(old) = self.0.iter().position(same) {
                self.0[old].until = END_OF_TIME;
                self.0.retain(|other| *other != row);
            }
        }
        self.0.sort();
    }
}

fn change() -> impl Strategy<Value = Change> {
    let from = 0_i64..20;
    let length = prop::option::weighted(0.5, 1_i64..8);
    let kind =
        prop_oneof![6 => Just((false, false)), 2 => Just((true, false)), 1 => Just((true, true))];
    (from, length, kind, 0_u128..3).prop_map(|(from, length, (is_delete, is_all), digest)| Change {
        from: (!is_all).then_some(from),
        to: length.filter(|_| !is_all).map(|length| from + length),
        is_delete,
        digest,
        source: RowSource { batch: 0, row: 0 },
    })
}

fn since(origin: Origin) -> i64 {
    match origin {
        Origin::Table { since, .. } | Origin::Draft { since } => since,
        Origin::Fresh => panic!("a row of no commit"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn every_history_is_as_the_rules_say(
        commits in prop::collection::vec(prop::collection::vec(change(), 1..5), 1..7),
        until_next in any::<bool>(),
        coalesce in any::<bool>(),
    ) {
        let until = if until_next { Until::Next } else { Until::End };
        let rules = Rules { until, coalesce };
        let (mut timeline, mut expected, mut closed) = (Timeline::default(), History::default(), Vec::new());
        for (at, commit) in (100..).zip(&commits) {
            for change in commit {
                timeline.apply(change, rules);
                expected.apply(change, rules, at);
            }
            timeline.end_commit(at, |segment| closed.push((segment, at)));
            expected.end_commit(at);
            let row = |segment: &Segment, until: i64| Row {
                from: segment.from,
                to: segment.to,
                digest: segment.digest,
                since: since(segment.origin),
                until,
            };
            let believed = timeline.segments().map(|segment| row(segment, END_OF_TIME));
            let mut rows: Vec<Row> = believed.chain(closed.iter().map(|(segment, at)| row(segment, *at))).collect();
            rows.sort();
            prop_assert_eq!(&rows, &expected.0);
            let ends: Vec<(i64, i64)> = timeline.segments().map(|segment| (segment.from, segment.to)).collect();
            prop_assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", ends);
        }
    }
}

#[test]
fn the_worked_example() {
    let [jan, mid_feb, march] = [1, 45, 60];
    let source = RowSource { batch: 0, row: 0 };
    let change = |from, to, digest| Change {
        from: Some(from),
        to,
        is_delete: false,
        digest,
        source,
    };
    let rules = Rules {
        until: Until::Next,
        coalesce: true,
    };
    let mut timeline = Timeline::default();
    let mut closed = Vec::new();
    for (at, change) in [
        (1, change(jan, None, 30)),
        (2, change(march, None, 35)),
        (3, change(jan, Some(mid_feb), 29)),
    ] {
        timeline.apply(&change, rules);
        timeline.end_commit(at, |segment| {
            closed.push((segment.from, segment.to, segment.digest, at));
        });
    }
    let believed: Vec<_> = timeline
        .segments()
        .map(|segment| {
            (
                segment.from,
                segment.to,
                segment.digest,
                since(segment.origin),
            )
        })
        .collect();
    assert_eq!(closed, [(jan, END_OF_TIME, 30, 2), (jan, march, 30, 3)]);
    assert_eq!(
        believed,
        [
            (jan, mid_feb, 29, 3),
            (mid_feb, march, 30, 3),
            (march, END_OF_TIME, 35, 2)
        ]
    );
}
