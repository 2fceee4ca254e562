use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use forebay_core::{Clock, SystemClock};
use tokio::sync::watch;

use super::*;
use crate::file::Diagnostic;
use crate::journal::{Head, Journal, Record};
use crate::source::Framing;

fn built(text: &str) -> Result<Box<dyn Source>> {
    Kind.build(&Document::from_yaml(text).expect("it is YAML"))
}

fn context(folder: &Path, follow: bool) -> SourceContext {
    SourceContext {
        follow,
        ..SourceContext::alone(SystemClock::shared(), folder, Framing::Whole).unwrap()
    }
}

fn journal(context: &SourceContext) -> Journal {
    let limits = PushConfig::default().limits();
    context.journals.of(&context.pipeline, limits).unwrap()
}

async fn push(journal: &Journal, body: &str) {
    let head = Head::new(SystemClock::new().now());
    let body = Bytes::copy_from_slice(body.as_bytes());
    journal.append(vec![Record { head, body }]).await.unwrap();
}

#[tokio::test]
async fn pushes_are_payloads_and_the_position_goes_on_after_them() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path(), false);
    let journal = journal(&context);
    for body in ["a", "b", "c"] {
        push(&journal, body).await;
    }
    let source = built("{}").unwrap();
    let split = source.splits(&context).await.unwrap().remove(0);
    let mut reader = source.open(&split, None, context.clone()).await.unwrap();
    let first = reader.next().await.unwrap().unwrap();
    assert_eq!(
        (first.head.ordinal, &first.bytes[..], first.last),
        (0, &b"a"[..], true)
    );
    let second = reader.next().await.unwrap().unwrap();
    assert_ne!(first.head.name, second.head.name);
    let mut again = source.open(&split, first.position, context).await.unwrap();
    let mut left = Vec::new();
    while let Some(chunk) = again.next().await.unwrap() {
        left.push(chunk.bytes);
    }
    assert_eq!(left, ["b", "c"]);
}

#[tokio::test]
async fn what_a_commit_has_made_safe_is_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let (commits, committed) = watch::channel(None);
    let context = SourceContext {
        committed,
        ..context(folder.path(), true)
    };
    let journal = journal(&context);
    push(&journal, "a").await;
    let source = built("{}").unwrap();
    let split = source.splits(&context).await.unwrap().remove(0);
    let mut reader = source.open(&split, None, context).await.unwrap();
    let chunk = reader.next().await.unwrap().unwrap();
    assert!(journal.backlog() > 0);
    let waiting = tokio::spawn(async move { reader.next().await });
    commits.send_replace(chunk.position);
    while journal.backlog() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    push(&journal, "b").await;
    assert_eq!(waiting.await.unwrap().unwrap().unwrap().bytes, "b");
}

#[tokio::test]
async fn a_run_on_another_branch_lets_go_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (commits, committed) = watch::channel(None);
    let context = SourceContext {
        branch: "trial".parse().unwrap(),
        committed,
        ..context(folder.path(), false)
    };
    let journal = journal(&context);
    push(&journal, "a").await;
    let source = built("{}").unwrap();
    let split = source.splits(&context).await.unwrap().remove(0);
    let mut reader = source.open(&split, None, context.clone()).await.unwrap();
    let position = reader.next().await.unwrap().unwrap().position;
    commits.send_replace(position.clone());
    assert!(reader.next().await.unwrap().is_none());
    source.open(&split, position, context).await.unwrap();
    assert!(journal.backlog() > 0, "`main` has not taken it yet");
}

#[test]
fn what_cannot_be_is_refused_at_its_place() {
    for (text, code, line) in [
        ("body: 65MiB\n", "bad_body", 1),
        ("backlog: 0B\n", "bad_backlog", 1),
        ("body: 1MiB\nkeep_keys: 8d\n", "bad_keep_keys", 2),
        ("auth: {}\n", "no_auth", 1),
    ] {
        let error = built(text).expect_err(text);
        let place = Diagnostic::of(&error).map(|at| at.place.line);
        assert_eq!((error.code(), place), (code, Some(line)), "{text}");
    }
}
