//! A writer killed at any moment: whatever it was told is there, and nothing is there twice.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use forebay_core::{CommitId, Ident, RefName, SystemClock};
use forebay_store::Commit;

use super::*;

const KILLS: u64 = 12;
const STORE: &str = "FOREBAY_TEST_STORE";

/// Not a test by itself: the process that [`acknowledged_commits_survive_kill`] kills.
#[tokio::test]
async fn writer_that_is_killed() {
    let Some(url) = std::env::var_os(STORE) else {
        return;
    };
    let main = RefName::main();
    let store = open(url.to_str().unwrap(), SystemClock::shared()).await;
    let lease = store
        .take_lease(&request(&main, &std::process::id().to_string()), true)
        .await
        .unwrap();
    for done in 0.. {
        let sequence = lease.sequence + done;
        let location = |n: i64| format!("t{n}");
        let expected = (sequence > 0).then(|| location(sequence));
        let heads = vec![set("a.t", expected.as_deref(), &location(sequence + 1))];
        let committed = store
            .commit(Commit {
                heads,
                ..step(&main, &lease, done, sequence + 1)
            })
            .await
            .unwrap();
        println!("ack {}", committed.id);
    }
}

fn spawn(url: &str) -> Child {
    let (_crate, this) = module_path!().split_once("::").unwrap();
    let writer = format!("{this}::writer_that_is_killed");
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &writer, "--nocapture"])
        .env(STORE, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn acknowledged_commits_survive_kill() {
    let Some(world) = world().await else {
        return;
    };
    let main = RefName::main();
    let mut acknowledged: Vec<CommitId> = Vec::new();
    for kill in 0..KILLS {
        let mut child = spawn(&world.url);
        // From before the store is opened until well into its commits.
        tokio::time::sleep(Duration::from_millis(20 + kill * 37 % 250)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        acknowledged.extend(
            lines
                .map_while(Result::ok)
                .filter_map(|line| line.split_once("ack ")?.1.parse::<CommitId>().ok()),
        );
    }
    assert!(
        acknowledged.len() > 10,
        "only {} commits in {KILLS} lives",
        acknowledged.len()
    );
    for id in &acknowledged {
        assert!(
            world.store.find_commit(*id).await.unwrap().is_some(),
            "{id} was acknowledged and is gone"
        );
    }
    let logged = world.store.log(&main, u32::MAX).await.unwrap().len();
    assert!(
        logged >= acknowledged.len()
            && logged <= acknowledged.len() + usize::try_from(KILLS).unwrap()
    );
    let pipeline: Ident = "quakes".parse().unwrap();
    let positions = world.store.positions(&main, &pipeline).await.unwrap();
    assert_eq!(
        positions[0].1,
        i64::try_from(logged).unwrap(),
        "one step a commit"
    );
    assert_eq!(world.now(&main).await, format!("a.t=t{logged}"));
}
