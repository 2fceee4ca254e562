use std::path::Path;

use bytes::Bytes;
use forebay_core::{Clock, Compression, SystemClock};
use tokio::sync::watch;

use super::*;
use forebay_config::Diagnostic;
use forebay_connectors::source::SourceContext;
use forebay_formats::framing::Framing;
use forebay_journal::{Head, Journal, Record};

fn built(text: &str) -> Result<Box<dyn PlatformSource>> {
    Kind.build(
        &Document::from_yaml(text).expect("it is YAML"),
        &forebay_testkit::NoSql::shared(),
    )
}

fn context(folder: &Path, follow: bool) -> PlatformContext {
    let alone = SourceContext::alone(SystemClock::shared(), folder, Framing::Whole);
    PlatformContext::alone(alone.unwrap()).following(follow)
}

async fn journal(context: &PlatformContext) -> Journal {
    let config = PushConfig::default();
    let journal = context
        .journals
        .of(&context.pipeline, config.journal, config.limits());
    journal.await.unwrap()
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
    let journal = journal(&context).await;
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
    let mut context = context(folder.path(), true);
    context.source.committed = committed;
    let journal = journal(&context).await;
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
async fn pushes_that_were_read_together_are_released_with_each_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (commits, committed) = watch::channel(None);
    let mut context = context(folder.path(), true);
    context.source.committed = committed;
    let journal = journal(&context).await;
    for body in ["a", "b", "c"] {
        push(&journal, body).await;
    }
    let source = built("{}").unwrap();
    let split = source.splits(&context).await.unwrap().remove(0);
    let mut reader = source.open(&split, None, context).await.unwrap();
    let mut left = journal.backlog();
    for body in ["a", "b"] {
        let chunk = reader.next().await.unwrap().unwrap();
        assert_eq!(
            (&chunk.bytes[..], journal.backlog()),
            (body.as_bytes(), left)
        );
        commits.send_replace(chunk.position);
        left -= left / if body == "a" { 3 } else { 2 };
    }
    assert_eq!(reader.next().await.unwrap().unwrap().bytes, "c");
    assert_eq!(journal.backlog(), left);
}

#[tokio::test]
async fn a_run_on_another_branch_lets_go_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (commits, committed) = watch::channel(None);
    let mut context = context(folder.path(), false);
    context.branch = "trial".parse().unwrap();
    context.source.committed = committed;
    let journal = journal(&context).await;
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

/// Appends a push with a content type, a compression and a header.
async fn push_as(journal: &Journal, body: &str, kind: &str, compression: Compression) -> u64 {
    let mut head = Head::new(SystemClock::new().now());
    head.content_type = Some(kind.to_owned());
    head.compression = compression;
    let device = format!("of {}", &body[..body.len().min(10)]);
    head.attributes.insert("x-device".to_owned(), device);
    let body = Bytes::copy_from_slice(body.as_bytes());
    journal.append(vec![Record { head, body }]).await.unwrap()[0].offset
}

#[tokio::test]
async fn small_pushes_that_wait_are_one_payload_and_each_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut context = context(folder.path(), false);
    context.source.packs = true;
    let journal = journal(&context).await;
    let json = "application/json";
    let other = "text/plain";
    let large = "l".repeat(70_000);
    let mut offsets = Vec::new();
    for (body, kind, compression) in [
        ("a", json, Compression::None),
        ("bb", json, Compression::None),
        ("", json, Compression::None),
        ("packed", json, Compression::Gzip),
        ("c", json, Compression::None),
        ("d", other, Compression::None),
        (&large, other, Compression::None),
        ("e", other, Compression::None),
        ("f", other, Compression::None),
    ] {
        offsets.push(push_as(&journal, body, kind, compression).await);
    }
    let source = built("{}").unwrap();
    let split = source.splits(&context).await.unwrap().remove(0);
    let mut reader = source.open(&split, None, context.clone()).await.unwrap();
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        chunks.push(chunk);
    }
    let bodies: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk.bytes[..]).collect();
    let expected: [&[u8]; 6] = [b"abb", b"packed", b"c", b"d", large.as_bytes(), b"ef"];
    assert_eq!(bodies, expected);
    let packed: Vec<usize> = chunks
        .iter()
        .map(|chunk| {
            chunk
                .head
                .messages
                .as_ref()
                .map_or(1, |messages| messages.len())
        })
        .collect();
    assert_eq!(packed, [3, 1, 1, 1, 1, 2]);
    let messages = chunks[0].head.messages.as_ref().unwrap();
    let places: Vec<i64> = (0..3).map(|n| messages.place(n).1).collect();
    assert_eq!(places, [0, 1, 2].map(|n: usize| offsets[n].cast_signed()));
    assert_eq!(
        [0, 1, 2].map(|n| messages.value(n)),
        [Some(0..1), Some(1..3), Some(3..3)]
    );
    let headers = format!("{:?}", messages.column("headers").unwrap());
    assert!(headers.contains("x-device"), "{headers}");
    assert!(chunks[0].head.attributes.is_empty());
    assert_eq!(chunks[2].head.attributes["x-device"], "of c");
    let names: std::collections::BTreeSet<_> =
        chunks.iter().map(|chunk| chunk.head.name.clone()).collect();
    assert_eq!(names.len(), chunks.len());

    // A reader that resumes after the first payload begins with the next push, wherever it was packed.
    let position = chunks[0].position.clone();
    let mut again = source.open(&split, position, context).await.unwrap();
    assert_eq!(again.next().await.unwrap().unwrap().bytes, "packed");
}

#[test]
fn what_cannot_be_is_refused_at_its_place() {
    for (text, code, line) in [
        ("body: 65MiB\n", "bad_body", 1),
        ("backlog: 0B\n", "bad_backlog", 1),
        ("body: 1MiB\nkeep_keys: 8d\n", "bad_keep_keys", 2),
        ("journal: storage\nlinger: 6s\n", "bad_linger", 2),
        ("auth: {}\n", "no_auth", 1),
    ] {
        let error = built(text).expect_err(text);
        let place = Diagnostic::of(&error).map(|at| at.place.line);
        assert_eq!((error.code(), place), (code, Some(line)), "{text}");
    }
}

#[tokio::test]
async fn a_run_that_ends_takes_what_was_acknowledged_before() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path(), true);
    let journal = journal(&context).await;
    push(&journal, "a").await;
    let source = built("{}").unwrap();
    let split = source.splits(&context).await.unwrap().remove(0);
    let mut reader = source.open(&split, None, context).await.unwrap();
    assert!(reader.drain());
    push(&journal, "later").await;
    let mut taken = Vec::new();
    while let Some(chunk) = reader.next().await.unwrap() {
        taken.push(chunk.bytes);
    }
    assert_eq!(taken.first().map(|bytes| &bytes[..1]), Some(&b"a"[..]));
}
