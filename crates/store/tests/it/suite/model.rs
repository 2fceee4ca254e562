//! Random histories against a store that keeps every state of every branch whole, in memory.

use std::collections::BTreeMap;

use forebay_core::{CommitId, RefName, Timestamp};
use forebay_store::{AsOf, HeadChange};
use proptest::prelude::*;

use super::*;

const BRANCHES: [&str; 4] = ["main", "b1", "b2", "b3"];
const TABLES: [&str; 4] = ["a.t", "a.u", "b.t", "b.v"];

#[derive(Debug, Clone)]
enum Step {
    /// Sets or drops some tables; with `stale` one of them against a state that never was.
    Commit {
        branch: usize,
        tables: Vec<(usize, bool)>,
        stale: bool,
    },
    Create {
        branch: usize,
        from: usize,
    },
    Drop {
        branch: usize,
    },
    Clock {
        micros: i64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let branch = || 0..BRANCHES.len();
    let tables = proptest::collection::vec((0..TABLES.len(), prop::bool::weighted(0.25)), 0..4);
    let commit =
        (branch(), tables, prop::bool::weighted(0.1)).prop_map(|(branch, tables, stale)| {
            Step::Commit {
                branch,
                tables,
                stale,
            }
        });
    let step = prop_oneof![
        8 => commit,
        3 => (branch(), branch()).prop_map(|(branch, from)| Step::Create { branch, from }),
        1 => branch().prop_map(|branch| Step::Drop { branch }),
        1 => (0_i64..5_000_000).prop_map(|micros| Step::Clock { micros }),
    ];
    proptest::collection::vec(step, 1..40)
}

type State = BTreeMap<&'static str, String>;

#[derive(Debug, Clone)]
struct Entry {
    id: CommitId,
    at: Timestamp,
    state: State,
}

/// Each branch with its whole log, oldest first, that of its base included.
type Model = BTreeMap<&'static str, Vec<Entry>>;

fn head(log: &[Entry]) -> State {
    log.last()
        .map(|entry| entry.state.clone())
        .unwrap_or_default()
}

fn show(state: &State) -> String {
    state
        .iter()
        .map(|(table, location)| format!("{table}={location}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What the step asks for, upon the model's state; `None` when two changes are of one table or one drops nothing.
fn plan(state: &State, tables: &[(usize, bool)], n: usize) -> (Vec<HeadChange>, State) {
    let (mut changes, mut after) = (Vec::<HeadChange>::new(), state.clone());
    for (index, drops) in tables {
        let name = TABLES[*index];
        let expected = state.get(name).map(String::as_str);
        if changes.iter().any(|change| change.table == table(name))
            || (*drops && expected.is_none())
        {
            continue;
        }
        if *drops {
            changes.push(drop_table(name, expected.unwrap()));
            after.remove(name);
        } else {
            changes.push(set(name, expected, &format!("m{n}")));
            after.insert(name, format!("m{n}"));
        }
    }
    (changes, after)
}

async fn play(world: &World, model: &mut Model, every: &mut Vec<Entry>, n: usize, step: &Step) {
    match step {
        Step::Commit {
            branch: index,
            tables,
            stale,
        } => {
            let name = BRANCHES[*index];
            let state = model.get(name).map(|log| head(log)).unwrap_or_default();
            let (mut changes, after) = plan(&state, tables, n);
            let stale = *stale && !changes.is_empty();
            if stale {
                changes.last_mut().unwrap().expected = Some("never".into());
            }
            let result = world.commit(&branch(name), &changes).await;
            let Some(log) = model.get_mut(name) else {
                return assert_eq!(result.unwrap_err().code(), "no_such_branch");
            };
            if stale {
                return assert_eq!(result.unwrap_err().code(), "stale_head");
            }
            let committed = result.unwrap();
            assert!(every.last().is_none_or(|last| last.at < committed.at));
            let entry = Entry {
                id: committed.id,
                at: committed.at,
                state: after,
            };
            log.push(entry.clone());
            every.push(entry);
        }
        Step::Create {
            branch: index,
            from,
        } => {
            let (name, from) = (BRANCHES[*index], BRANCHES[*from]);
            let result = world
                .store
                .create_branch(&branch(name), &branch(from))
                .await
                .map_err(|e| e.code());
            match (model.contains_key(name), model.get(from).cloned()) {
                (true, _) => assert_eq!(result, Err("branch_exists")),
                (false, None) => assert_eq!(result, Err("no_such_branch")),
                (false, Some(log)) => {
                    assert_eq!(result.unwrap().head, log.last().map(|entry| entry.id));
                    model.insert(name, log);
                }
            }
        }
        Step::Drop { branch: index } => {
            let name = BRANCHES[*index];
            let result = world.store.drop_branch(&branch(name)).await;
            let dropped = name != "main" && model.remove(name).is_some();
            assert_eq!(result.is_ok(), dropped);
        }
        Step::Clock { micros } => world.clock.set(*micros),
    }
}

async fn compare(world: &World, model: &Model, every: &[Entry]) {
    let names: Vec<_> = world
        .store
        .branches()
        .await
        .unwrap()
        .into_iter()
        .map(|b| b.name)
        .collect();
    assert_eq!(
        names,
        model
            .keys()
            .map(|name| branch(name))
            .collect::<Vec<RefName>>()
    );
    for (name, log) in model {
        let name = branch(name);
        assert_eq!(world.now(&name).await, show(&head(log)));
        let logged = world.store.log(&name, u32::MAX).await.unwrap();
        let expected: Vec<_> = log.iter().rev().map(|entry| (entry.id, entry.at)).collect();
        assert_eq!(
            logged.iter().map(|c| (c.id, c.at)).collect::<Vec<_>>(),
            expected
        );
        for instant in every
            .iter()
            .flat_map(|entry| [entry.at.0 - 1, entry.at.0])
            .map(Timestamp)
        {
            let last = log.iter().rev().find(|entry| entry.at <= instant);
            let expected = last.map(|entry| show(&entry.state)).unwrap_or_default();
            assert_eq!(
                world.tables(&AsOf::Time(name.clone(), instant)).await,
                expected,
                "{name} at {instant}"
            );
        }
    }
    for entry in every {
        assert_eq!(
            world.tables(&AsOf::Commit(entry.id)).await,
            show(&entry.state),
            "commits of dropped branches too"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_like_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Some(world) = world().await else { return; };
            let mut model = Model::from([("main", Vec::new())]);
            let mut every = Vec::new();
            for (n, step) in steps.iter().enumerate() {
                play(&world, &mut model, &mut every, n, step).await;
            }
            compare(&world, &model, &every).await;
            world.store.close().await;
        });
    }
}
