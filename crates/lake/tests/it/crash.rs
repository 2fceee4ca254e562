//! A process that dies at any moment of a commit leaves the table as it was, or as it should be.

use std::sync::Arc;

use forebay_lake::Lake;
use object_store::ObjectStore;

use crate::faulty::{Death, Faulty};
use crate::site::{Site, append, id_rows};

/// More operations than a commit takes; a test that gets here without a commit hangs for another reason.
const OPERATIONS_MAX: i64 = 60;

/// Tries to append a row to `a.t` with a store that dies after `operations`; whether it said that it did.
pub(crate) async fn dying_append(site: &Site, death: Death, operations: i64, id: i64) -> bool {
    let append = async move |lake: Lake| append(&lake, "a.t", id_rows([id])).await.is_ok();
    dying(site, death, operations, append).await
}

/// Works with a store that dies after `operations`; whether the work said that it was done.
pub(crate) async fn dying<W: Future<Output = bool> + Send + 'static>(
    site: &Site,
    death: Death,
    operations: i64,
    work: impl FnOnce(Lake) -> W,
) -> bool {
    let faulty = Faulty::new(site.place.objects.clone(), death, operations);
    let lake = site
        .another_on(faulty.clone() as Arc<dyn ObjectStore>)
        .await;
    let mut work = tokio::spawn(work(lake));
    let done = tokio::select! {
        done = &mut work => done.unwrap(),
        () = faulty.stopped() => {
            work.abort();
            // It may have got to the end before it was stopped; nobody heard of it.
            let _ = work.await;
            false
        }
    };
    faulty.release();
    done
}

/// Works with a store that stops after `operations`, and lets `other` happen meanwhile. Gives what the work gave, and whether it was stopped.
pub(crate) async fn interrupted<W>(
    site: &Site,
    operations: i64,
    work: impl FnOnce(Lake) -> W,
    other: impl Future<Output = ()>,
) -> (W::Output, bool)
where
    W: Future<Output: Send> + Send + 'static,
{
    let faulty = Faulty::new(site.place.objects.clone(), Death::Pause, operations);
    let lake = site
        .another_on(faulty.clone() as Arc<dyn ObjectStore>)
        .await;
    let mut work = tokio::spawn(work(lake));
    tokio::select! {
        done = &mut work => return (done.unwrap(), false),
        () = faulty.stopped() => {}
    }
    other.await;
    faulty.release();
    (work.await.unwrap(), true)
}

async fn dies_everywhere(death: Death) -> i64 {
    for operations in 0..OPERATIONS_MAX {
        let site = Site::new().await;
        append(&site.lake, "a.t", id_rows([1, 2, 3])).await.unwrap();
        let done = dying_append(&site, death, operations, 4).await;
        let expected: &[i64] = if done { &[1, 2, 3, 4] } else { &[1, 2, 3] };
        assert_eq!(
            site.ids("a.t").await,
            expected,
            "after {operations} operations"
        );
        // Whatever was left behind is in nobody's way.
        append(&site.another().await, "a.t", id_rows([5]))
            .await
            .unwrap();
        assert_eq!(
            site.ids("a.t").await,
            [expected, &[5]].concat(),
            "after {operations} operations"
        );
        if done {
            return operations;
        }
    }
    panic!("no commit within {OPERATIONS_MAX} operations");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_anywhere_leaves_the_old_table() {
    let operations = dies_everywhere(Death::Errors).await;
    assert!(
        operations >= 5,
        "data file, manifest, list, metadata are written: {operations}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_anywhere_before_the_store_commits_leaves_the_old_table() {
    let operations = dies_everywhere(Death::Silence).await;
    assert!(operations >= 5, "{operations}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_is_not_there_before_its_commit() {
    for operations in 0..4 {
        let site = Site::new().await;
        assert!(!dying_append(&site, Death::Silence, operations, 4).await);
        assert!(
            site.another()
                .await
                .tables(&crate::site::head())
                .await
                .unwrap()
                .is_empty()
        );
        append(&site.lake, "a.t", id_rows([1])).await.unwrap();
        assert_eq!(site.ids("a.t").await, [1]);
    }
}
