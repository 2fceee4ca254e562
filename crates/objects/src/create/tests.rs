//! Creating objects in a store that loses answers.

use forebay_testkit::{Fault, LossyStore};

use super::*;

#[tokio::test]
async fn an_object_that_was_made_after_all_is_ours() {
    for faults in [
        &[][..],
        &[Fault::Applied],
        &[Fault::Twice],
        &[Fault::Lost],
        &[Fault::Lost, Fault::Lost],
        &[Fault::Lost, Fault::Applied],
    ] {
        let objects = LossyStore::new(faults);
        let path = Path::from("a");
        let made = create(objects.as_ref(), &path, "1".into(), Medium::Remote).await;
        assert!(made.is_ok(), "{faults:?}: {made:?}");
        assert_eq!(objects.content(&path).await.unwrap(), "1", "{faults:?}");
    }
    let objects = LossyStore::new(&[Fault::Lost; 3]);
    let made = create(
        objects.as_ref(),
        &Path::from("a"),
        "1".into(),
        Medium::Remote,
    )
    .await;
    assert!(matches!(made, Err(Error::Generic { .. })));
}

#[tokio::test]
async fn another_object_is_never_written_over() {
    for fault in [Fault::Twice, Fault::Lost] {
        let objects = LossyStore::new(&[]);
        let path = Path::from("a");
        create(objects.as_ref(), &path, "theirs".into(), Medium::Remote)
            .await
            .unwrap();
        objects.will(&[fault]);
        // The same bytes do not make it ours.
        for ours in ["ours", "theirs"] {
            let made = create(objects.as_ref(), &path, ours.into(), Medium::Remote).await;
            assert!(made.is_err(), "{fault:?}");
        }
        assert_eq!(objects.content(&path).await.unwrap(), "theirs");
    }
}

#[tokio::test]
async fn a_call_that_is_made_again_finds_out_whose_the_object_is() {
    let objects = LossyStore::new(&[Fault::Lost; 3]);
    let path = Path::from("a");
    let make = |nonce| create_as(objects.as_ref(), &path, "1".into(), nonce);
    assert!(make("n").await.is_err(), "no answer came");
    assert_eq!(make("n").await.unwrap(), Created::Ours);
    assert_eq!(make("n").await.unwrap(), Created::Ours);
    assert_eq!(make("m").await.unwrap(), Created::Another);
}

async fn in_parts(objects: &Arc<LossyStore>) -> Result<()> {
    let objects: Arc<dyn ObjectStore> = objects.clone();
    let mut object = NewObject::new(objects, Path::from("big"), Medium::Remote);
    for part in [b'a', b'b', b'c'] {
        object.part(vec![part; PART_BYTES].into()).await?;
    }
    object.finish("end".into()).await
}

#[tokio::test]
async fn a_large_object_is_whole_or_not_there() {
    for (faults, whole) in [
        (&[][..], true),
        (&[Fault::Applied], true),
        (&[Fault::Lost], false),
    ] {
        let objects = LossyStore::new(faults);
        assert_eq!(in_parts(&objects).await.is_ok(), whole, "{faults:?}");
        let content = objects.content(&Path::from("big")).await;
        let length = content.map(|content| content.len());
        assert_eq!(length, whole.then_some(3 * PART_BYTES + 3));
        // A failed upload is aborted, in a task of its own.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(objects.aborted(), u32::from(!whole));
    }
}
