//! The file source over a real S3 server. Needs what `test.sh` installs.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_config::Document;
use forebay_connectors::source::{SourceContext, SplitReader};
use forebay_core::{Chunk, Compression, ErrorKind, Position, Result, SystemClock};
use forebay_formats::framing::Framing;
use forebay_testkit::{Reply, S3Server, StubHttp, gzip};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// A bucket of its own on the server that all tests share.
struct Bucket {
    server: &'static S3Server,
    name: String,
    objects: Arc<dyn ObjectStore>,
}

impl Bucket {
    fn new() -> Option<Self> {
        let server = S3Server::shared()?;
        let name = server.bucket();
        let objects = server.client(&name);
        Some(Self {
            server,
            name,
            objects,
        })
    }

    async fn put(&self, key: &str, content: impl Into<Bytes>) {
        let content: Bytes = content.into();
        self.objects
            .put(&Path::from(key), content.into())
            .await
            .unwrap();
    }

    fn context(&self, framing: Framing) -> SourceContext {
        let alone = SourceContext::alone(SystemClock::shared(), &std::env::temp_dir(), framing);
        SourceContext {
            aws: self.server.variables().into_iter().collect(),
            ..alone.unwrap()
        }
    }

    async fn open(
        &self,
        pattern: &str,
        position: Option<Position>,
        framing: Framing,
    ) -> Result<Box<dyn SplitReader>> {
        let config = format!("{{path: 's3://{}/{pattern}'}}", self.name);
        open(&config, position, self.context(framing)).await
    }

    /// Everything there is to take after `position`, and the position then.
    async fn run(&self, pattern: &str, position: &mut Option<Position>) -> Vec<Chunk> {
        let reader = self.open(pattern, position.clone(), Framing::Whole).await;
        let mut reader = reader.unwrap();
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            if chunk.position.is_some() {
                position.clone_from(&chunk.position);
            }
            chunks.push(chunk);
        }
        if let Some(end) = reader.end_position() {
            *position = Some(end);
        }
        chunks
    }

    async fn keys(&self, pattern: &str, position: &mut Option<Position>) -> Vec<String> {
        let root = format!("s3://{}/", self.name);
        let chunks = self.run(pattern, position).await;
        let last = chunks.iter().filter(|chunk| chunk.last);
        last.map(|chunk| chunk.head.name.strip_prefix(&root).unwrap().to_owned())
            .collect()
    }
}

async fn open(
    config: &str,
    position: Option<Position>,
    context: SourceContext,
) -> Result<Box<dyn SplitReader>> {
    let config = Document::from_yaml(config)?;
    let files = forebay_connectors::find_source("file")?.build(&config)?;
    let split = files.splits(&context).await?.remove(0);
    files.open(&split, position, context).await
}

#[tokio::test]
async fn each_object_is_taken_once_and_new_content_again() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    bucket.put("in/b.ndjson.gz", gzip(b"{}\n")).await;
    bucket.put("in/a.ndjson", "{\"a\":1}\n").await;
    bucket.put("in/deep/er/c.ndjson", "").await;
    bucket.put("in/other.csv", "x").await;
    bucket.put("in/.hidden.ndjson", "x").await;
    bucket.put("inner/d.ndjson", "d").await;
    let zstd = zstd::bulk::compress(b"{}\n", 1).unwrap();
    bucket.put("in/e.ndjson.zst", zstd.clone()).await;
    let mut position = None;
    let first = bucket.run("in/**/*.ndjson*", &mut position).await;
    let found: Vec<_> = first
        .iter()
        .map(|chunk| {
            (
                chunk.head.name.rsplit('/').next().unwrap(),
                chunk.head.compression,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a.ndjson", Compression::None),
            ("b.ndjson.gz", Compression::Gzip),
            ("c.ndjson", Compression::None),
            ("e.ndjson.zst", Compression::Zstd),
        ]
    );
    assert_eq!(first[3].bytes, zstd);
    assert_eq!(first[0].head.attributes["size"], "8");
    assert_eq!(bucket.keys("in/**/*.ndjson*", &mut position).await, [""; 0]);
    // New content under an old key; the same content put again, whose tag is the same and whose time is not, is no news.
    bucket.put("in/a.ndjson", "{\"a\":2}\n").await;
    bucket.put("in/b.ndjson.gz", gzip(b"{}\n")).await;
    assert_eq!(
        bucket.keys("in/**/*.ndjson*", &mut position).await,
        ["in/a.ndjson"]
    );
    bucket.put("in/a.ndjson", "{\"a\":1}\n").await;
    // What lay there before the other content is news again.
    assert_eq!(
        bucket.keys("in/*", &mut position).await,
        ["in/a.ndjson", "in/other.csv"]
    );
    assert_eq!(bucket.keys("in/", &mut position).await, [""; 0]);
    assert_eq!(
        bucket.keys("inner/d.ndjson", &mut position).await,
        ["inner/d.ndjson"]
    );
    assert_eq!(bucket.keys("", &mut position).await, [""; 0]);
    assert_eq!(bucket.keys("nothing/*", &mut position).await, [""; 0]);
}

fn lines(count: u32) -> Vec<u8> {
    (0..count)
        .flat_map(|n| format!("{{\"n\": {n}}}\n").into_bytes())
        .collect()
}

/// Reads a large object of lines and stops at every position in turn.
#[tokio::test]
async fn a_large_object_of_lines_goes_on_in_its_middle() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    let content = lines(1_500_000);
    bucket.put("big.ndjson", content.clone()).await;
    let (mut position, mut taken, mut runs) = (None, Vec::new(), 0);
    loop {
        let reader = bucket.open("*.ndjson", position.clone(), Framing::Lines);
        let mut reader = reader.await.unwrap();
        let done = loop {
            let Some(chunk) = reader.next().await.unwrap() else {
                break true;
            };
            taken.extend_from_slice(&chunk.bytes);
            if chunk.position.is_some() {
                position = chunk.position;
                break false;
            }
        };
        runs += 1;
        if done {
            break;
        }
    }
    assert!(
        taken == content,
        "{} of {} bytes",
        taken.len(),
        content.len()
    );
    assert!(runs >= 4, "{runs} runs");
}

/// A reader at the first position inside of a large object, and that position.
async fn begun(bucket: &Bucket) -> (Box<dyn SplitReader>, Position) {
    let reader = bucket.open("big", None, Framing::Lines);
    let mut reader = reader.await.unwrap();
    loop {
        if let Some(position) = reader.next().await.unwrap().unwrap().position {
            return (reader, position);
        }
    }
}

#[tokio::test]
async fn an_object_that_changes_under_the_reader_is_never_mixed() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    let content = lines(2_000_000);
    bucket.put("big", content.clone()).await;
    let (mut reader, position) = begun(&bucket).await;
    let mut other = content.clone();
    other[content.len() - 9] = b'9';
    bucket.put("big", other.clone()).await;
    let error = loop {
        match reader.next().await {
            Ok(chunk) => assert!(!chunk.unwrap().last, "the old content cannot be complete"),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Data, "file_changed")
    );

    // What was taken is the same, so the next run goes on; it is not when a byte of it is another.
    let reader = bucket.open("big", Some(position.clone()), Framing::Lines);
    let mut reader = reader.await.unwrap();
    let mut rest = Vec::new();
    let mut offset = None;
    while let Some(chunk) = reader.next().await.unwrap() {
        offset = offset.or_else(|| chunk.head.attributes.get("offset")?.parse::<usize>().ok());
        rest.extend_from_slice(&chunk.bytes);
    }
    assert!(rest == other[offset.unwrap()..]);
    other[7] = b'9';
    bucket.put("big", other).await;
    let reader = bucket.open("big", Some(position), Framing::Lines);
    let error = reader.await.unwrap().next().await.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "file_changed");
}

#[tokio::test]
async fn an_object_that_changes_before_it_is_read_is_left_and_taken_later() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    for key in ["a", "b", "c"] {
        bucket.put(key, "old").await;
    }
    let reader = bucket.open("*", None, Framing::Whole).await;
    let mut reader = reader.unwrap();
    bucket.put("a", "new").await;
    bucket.objects.delete(&Path::from("c")).await.unwrap();
    let chunk = reader.next().await.unwrap().unwrap();
    assert!(chunk.head.name.ends_with("/b"));
    assert!(reader.next().await.unwrap().is_none());
    let mut position = reader.end_position().or(chunk.position);
    assert_eq!(bucket.keys("*", &mut position).await, ["a"]);
}

#[tokio::test]
async fn who_may_not_read_or_names_nothing_is_told_so() {
    let Some(bucket) = Bucket::new() else {
        return;
    };
    bucket.put("a", "1").await;
    let endpoint = bucket.server.endpoint();
    let context = || bucket.context(Framing::Whole);
    let name = &bucket.name;
    let access = |key: &str, secret: &str| {
        format!(
            "s3: {{endpoint: '{endpoint}', allow_http: true, access_key_id: {key}, secret_access_key: {secret}}}"
        )
    };
    let good = access(S3Server::ACCESS_KEY, S3Server::SECRET_KEY);
    let mut clean = context();
    clean.aws = Default::default();
    assert!(
        open(&format!("{{path: 's3://{name}/*', {good}}}"), None, clean)
            .await
            .is_ok()
    );
    for (path, access, kind, code) in [
        (
            format!("{name}/*"),
            access("forebay", "hunter2"),
            ErrorKind::Denied,
            "object_denied",
        ),
        (
            format!("{name}/a"),
            access("forebay", "hunter2"),
            ErrorKind::Denied,
            "object_denied",
        ),
        (
            "no-such-bucket/*".to_owned(),
            good.clone(),
            ErrorKind::NotFound,
            "no_such_bucket",
        ),
        (
            "no-such-bucket/a".to_owned(),
            good.clone(),
            ErrorKind::NotFound,
            "no_such_bucket",
        ),
        (
            format!("{name}/b"),
            good.clone(),
            ErrorKind::NotFound,
            "no_such_file",
        ),
    ] {
        let config = format!("{{path: 's3://{path}', {access}}}");
        let error = open(&config, None, context())
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (kind, code),
            "{path}: {error}"
        );
        let said = format!("{error} {error:?}");
        let bucket = path.split('/').next().unwrap();
        assert!(said.contains(bucket) && error.hint().is_some(), "{said}");
        assert!(
            !said.contains("hunter2") && !said.contains(S3Server::SECRET_KEY),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable() {
    let Some(mut server) = S3Server::start() else {
        return;
    };
    server.stop();
    let config = format!(
        "{{path: 's3://b/*', s3: {{endpoint: '{}', allow_http: true, access_key_id: a, secret_access_key: b}}}}",
        server.endpoint()
    );
    let shared = Bucket::new().unwrap();
    forebay_testkit::install_crypto();
    let opened = open(&config, None, shared.context(Framing::Whole));
    // The client tries again for half a minute first.
    let error = tokio::time::timeout(Duration::from_secs(90), opened).await;
    let error = error.unwrap().map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

/// What a store tells of the version of an object, in a listing and with its content.
#[derive(Debug, Clone, Copy)]
struct Versions {
    listed_tag: &'static str,
    tag: &'static str,
    time: &'static str,
}

const NEW_YEAR: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// A store with the one object `a.ndjson`.
async fn store_with(versions: Versions) -> StubHttp {
    StubHttp::start(move |request| {
        let Versions {
            listed_tag,
            tag,
            time,
        } = versions;
        if !request.path.ends_with(".ndjson") {
            let tag = match listed_tag {
                "" => String::new(),
                tag => format!("<ETag>{tag}</ETag>"),
            };
            return Reply::status(200).body(format!(
                "<ListBucketResult><Name>b</Name><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents><Key>a.ndjson</Key>\
                 <LastModified>2026-01-01T00:00:00.000Z</LastModified>{tag}<Size>8</Size></Contents></ListBucketResult>"
            ));
        }
        let content = Reply::status(206).header("content-range", "bytes 0-7/8");
        let sent = [("etag", tag), ("last-modified", time)];
        let sent = sent.into_iter().filter(|(_, value)| !value.is_empty());
        sent.fold(content, |reply, (name, value)| reply.header(name, value))
            .body("{\"a\":1}\n")
    })
    .await
}

#[tokio::test]
async fn an_object_without_an_entity_tag_is_identified_by_time_and_size() {
    let versions = |listed_tag, tag, time| Versions {
        listed_tag,
        tag,
        time,
    };
    for (versions, expected) in [
        (versions("", "", NEW_YEAR), Ok(1)),
        (versions("\"x\"", "", NEW_YEAR), Ok(1)),
        (versions("", "\"x\"", NEW_YEAR), Ok(1)),
        (versions("\"x\"", "W/\"x\"", NEW_YEAR), Ok(1)),
        (versions("\"x\"", "\"x\"", ""), Ok(1)),
        (versions("\"x\"", "\"y\"", NEW_YEAR), Ok(0)),
        (versions("", "", "Thu, 01 Jan 2026 00:00:01 GMT"), Ok(0)),
        (versions("\"x\"", "", ""), Err("object_unversioned")),
    ] {
        let server = store_with(versions).await;
        let config = format!(
            "{{path: 's3://b/*', s3: {{endpoint: '{}', allow_http: true, access_key_id: a, secret_access_key: b}}}}",
            server.url("")
        );
        let context = || {
            let clock = SystemClock::shared();
            SourceContext::alone(clock, &std::env::temp_dir(), Framing::Whole).unwrap()
        };
        let mut reader = open(&config, None, context()).await.unwrap();
        let first = reader.next().await.map_err(|error| error.code());
        assert_eq!(
            first.as_ref().map(|chunk| usize::from(chunk.is_some())),
            expected.as_ref().map(|n| *n),
            "{versions:?}"
        );
        let Ok(Some(chunk)) = first else {
            continue;
        };
        assert!(reader.next().await.unwrap().is_none());
        let position = reader.end_position().or(chunk.position);
        let mut again = open(&config, position, context()).await.unwrap();
        assert!(again.next().await.unwrap().is_none(), "{versions:?}");
    }
}
