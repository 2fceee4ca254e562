//! Making objects in a real S3 server. Needs what `test.sh` installs.

use std::sync::Arc;

use bytes::Bytes;
use forebay_objects::{Medium, NewObject, PART_BYTES};
use forebay_testkit::S3Server;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt};

fn new(objects: &Arc<dyn ObjectStore>, path: &str) -> NewObject {
    NewObject::new(objects.clone(), Path::from(path), Medium::Remote)
}

async fn content(objects: &Arc<dyn ObjectStore>, path: &str) -> Bytes {
    let got = objects.get(&Path::from(path)).await.unwrap();
    got.bytes().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_makers_of_one_object_one_wins() {
    let Some(server) = S3Server::shared() else {
        return;
    };
    let objects = server.client(&server.bucket());
    for round in 0..5 {
        let path = format!("a/{round}");
        let mut makers = tokio::task::JoinSet::new();
        for maker in 0..16 {
            let object = new(&objects, &path);
            makers.spawn(async move {
                let text = format!("maker {maker}");
                let made = object.finish(text.clone().into()).await;
                made.map(|()| text)
            });
        }
        let made = makers.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{won:?}");
        let refused = |made: &Result<_, _>| matches!(made, Err(Error::AlreadyExists { .. }));
        assert!(lost.iter().all(refused), "{lost:?}");
        let won = won.into_iter().next().unwrap().unwrap();
        assert_eq!(content(&objects, &path).await, won);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_object_comes_back_and_one_that_is_given_up_leaves_nothing() {
    let Some(server) = S3Server::shared() else {
        return;
    };
    let bucket = server.bucket();
    let objects = server.client(&bucket);
    let parts: Vec<Bytes> = (0..6).map(|n| vec![n; PART_BYTES].into()).collect();
    for (path, given_up) in [("whole", false), ("torn", true)] {
        let mut object = new(&objects, path);
        for part in &parts {
            object.part(part.clone()).await.unwrap();
        }
        if given_up {
            drop(object);
        } else {
            object.finish("end".into()).await.unwrap();
        }
    }
    assert!(content(&objects, "whole").await == [parts.concat(), b"end".to_vec()].concat());
    // The upload is aborted in a task of its own.
    let uploads = server.files(&bucket).join(".sgwtmp/multipart");
    for _ in 0..200 {
        let left = std::fs::read_dir(&uploads).map_or(0, Iterator::count);
        if left == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let left = std::fs::read_dir(&uploads).map_or(0, Iterator::count);
    assert_eq!(left, 0, "parts of the torn upload stay");
    let torn = objects.head(&Path::from("torn")).await;
    assert!(matches!(torn, Err(Error::NotFound { .. })));
}
