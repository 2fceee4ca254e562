//! Random histories against a store that keeps every state of every branch whole, in memory.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Gives up states of before one of the commits so far.
    Expire {
        nth: prop::sample::Index,
    },
    /// Deletes rows, and with `log` the records of commits of before one of them.
    Forget {
        log: Option<prop::sample::Index>,
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
        1 => any::<prop::sample::Index>().prop_map(|nth| Step::Expire { nth }),
        1 => prop::option::of(any::<prop::sample::Index>()).prop_map(|log| Step::Forget { log }),
    ];
    proptest::collection::vec(step, 1..40)
}

type State = BTreeMap<&'static str, String>;

#[derive(Debug, Clone)]
struct Entry {
    id: CommitId,
    at: Timestamp,
    state: State,
    /// The branch it was made on, counted as they were made.
    own: usize,
}

#[derive(Debug)]
struct Model {
    /// Each branch with its whole log, oldest first, that of its base included.
    branches: BTreeMap<&'static str, (usize, Vec<Entry>)>,
    dropped: BTreeSet<usize>,
    made: usize,
    /// States of before are given up; records of before may be deleted.
    horizon: Timestamp,
    log_from: Timestamp,
}

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
            let state = model.branches.get(name).map(|(_, log)| head(log));
            let state = state.unwrap_or_default();
            let (mut changes, after) = plan(&state, tables, n);
            let stale = *stale && !changes.is_empty();
            if stale {
                changes.last_mut().unwrap().expected = Some("never".into());
            }
            let result = world.commit(&branch(name), &changes).await;
            let Some((own, log)) = model.branches.get_mut(name) else {
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
                own: *own,
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
            let base = model.branches.get(from).cloned();
            match (model.branches.contains_key(name), base) {
                (true, _) => assert_eq!(result, Err("branch_exists")),
                (false, None) => assert_eq!(result, Err("no_such_branch")),
                (false, Some((_, log))) => {
                    assert_eq!(result.unwrap().head, log.last().map(|entry| entry.id));
                    model.made += 1;
                    model.branches.insert(name, (model.made, log));
                }
            }
        }
        Step::Drop { branch: index } => {
            let name = BRANCHES[*index];
            let result = world.store.drop_branch(&branch(name)).await;
            let dropped = match name {
                "main" => None,
                _ => model.branches.remove(name),
            };
            assert_eq!(result.is_ok(), dropped.is_some());
            model.dropped.extend(dropped.map(|(own, _)| own));
        }
        Step::Clock { micros } => world.clock.set(*micros),
        Step::Expire { nth } if !every.is_empty() => {
            let before = nth.get(every).at;
            let horizon = world.store.expire(before).await.unwrap();
            model.horizon = model.horizon.max(before);
            assert_eq!(horizon.at, model.horizon);
        }
        Step::Forget { log } => {
            let log = log
                .filter(|_| !every.is_empty())
                .map(|nth| nth.get(every).at);
            let from = log.unwrap_or(Timestamp(0));
            world.store.forget(from).await.unwrap();
            model.log_from = model.log_from.max(from.min(model.horizon));
        }
        Step::Expire { .. } => (),
    }
}

/// The tables of a state that may be given up, `None` when it is.
async fn tables(world: &World, as_of: &AsOf) -> Option<String> {
    match world.store.heads(as_of).await {
        Ok(_) => Some(world.tables(as_of).await),
        Err(error) => {
            assert!(
                ["expired", "no_such_commit"].contains(&error.code()),
                "{error}"
            );
            let one = world.store.head(as_of, &table(TABLES[0])).await;
            assert_eq!(one.unwrap_err().code(), error.code());
            None
        }
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
            .branches
            .keys()
            .map(|name| branch(name))
            .collect::<Vec<RefName>>()
    );
    for (name, (own, log)) in &model.branches {
        let name = branch(name);
        assert_eq!(world.now(&name).await, show(&head(log)));
        compare_log(world, model, &name, log).await;
        for instant in every
            .iter()
            .flat_map(|entry| [entry.at.0 - 1, entry.at.0])
            .map(Timestamp)
        {
            let last = log.iter().rev().find(|entry| entry.at <= instant);
            let expected = last.map(|entry| show(&entry.state)).unwrap_or_default();
            let expected = (instant >= model.horizon).then_some(expected);
            let found = tables(world, &AsOf::Time(name.clone(), instant)).await;
            assert_eq!(found, expected, "{name} at {instant}");
        }
        // The newest of a branch is read also when it is older than all that is kept.
        if let Some(newest) = log.last().filter(|newest| newest.own == *own) {
            let found = tables(world, &AsOf::Commit(newest.id)).await;
            assert_eq!(found, Some(show(&newest.state)));
        }
    }
    for entry in every {
        match tables(world, &AsOf::Commit(entry.id)).await {
            Some(found) => assert_eq!(found, show(&entry.state)),
            None => assert!(
                entry.at < model.horizon
                    || model.dropped.contains(&entry.own) && model.horizon > Timestamp(0),
                "{entry:?}"
            ),
        }
    }
    compare_places(world, model).await;
}

async fn compare_log(world: &World, model: &Model, name: &RefName, log: &[Entry]) {
    let logged = world.store.log(name, u32::MAX).await.unwrap();
    let logged: Vec<_> = logged.iter().map(|c| (c.id, c.at)).collect();
    let all: Vec<_> = log.iter().rev().map(|entry| (entry.id, entry.at)).collect();
    let of_those = all.iter().filter(|entry| logged.contains(entry));
    assert!(of_those.eq(&logged), "in order, and no others");
    let left_out = all.iter().filter(|entry| !logged.contains(entry));
    assert!(
        left_out.clone().all(|(_, at)| *at < model.log_from),
        "{left_out:?}"
    );
}

/// Whatever can be read is among the places, and nothing that never was.
async fn compare_places(world: &World, model: &Model) {
    let horizon = world.store.horizon_at(Timestamp(0)).await.unwrap();
    let found = world.store.places(horizon, None).await.unwrap();
    assert!(found.next.is_none(), "it is one page");
    let places = found.places.iter();
    let places: BTreeSet<_> = places
        .map(|p| (p.table.to_string(), &p.metadata_location))
        .collect();
    for (_, log) in model.branches.values() {
        let kept = log.iter().filter(|entry| entry.at >= model.horizon);
        let at_horizon = log.iter().rev().find(|entry| entry.at <= model.horizon);
        for entry in kept.chain(at_horizon).chain(log.last()) {
            for (table, location) in &entry.state {
                let place = ((*table).to_owned(), location);
                assert!(places.contains(&place), "{place:?} of {entry:?}");
            }
        }
    }
    let heads = found.places.iter().filter(|place| place.is_head);
    let heads: BTreeSet<_> = heads.map(|place| &place.metadata_location).collect();
    let (_, main) = &model.branches["main"];
    assert!(head(main).values().all(|location| heads.contains(location)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_like_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let Some(world) = world().await else { return; };
            let mut model = Model {
                branches: BTreeMap::from([("main", (0, Vec::new()))]),
                dropped: BTreeSet::new(),
                made: 0,
                horizon: Timestamp(0),
                log_from: Timestamp(0),
            };
            let mut every = Vec::new();
            for (n, step) in steps.iter().enumerate() {
                play(&world, &mut model, &mut every, n, step).await;
            }
            compare(&world, &model, &every).await;
            world.store.close().await;
        });
    }
}
