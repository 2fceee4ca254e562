//! The file source against folders that change under it.
#![expect(clippy::disallowed_methods, reason = "test files need not be durable")]

mod compressed;
mod grown;
mod links;
mod many;
mod returned;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use forebay_core::{Chunk, Compression, ErrorKind, SystemClock, Timestamp};
use tempfile::TempDir;

use super::*;
use forebay_formats::framing::Framing;

fn context(project: &Path, framing: Framing) -> SourceContext {
    SourceContext::alone(SystemClock::shared(), project, framing).unwrap()
}

fn source(path: &str) -> Files {
    let config = FileConfig {
        path: path.to_owned(),
        s3: None,
        settle: no_time(),
        order: Order::Name,
        follow: None,
        identity: FileIdentity::Auto,
        columns: FileColumns::default(),
        hive: false,
    };
    Files {
        place: Place::of(path).unwrap(),
        config,
        rules: FileRules::default(),
    }
}

struct Project(TempDir);

impl Project {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn append(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
    }

    async fn open(
        &self,
        source: &Files,
        position: Option<Position>,
        framing: Framing,
    ) -> Result<Box<dyn SplitReader>> {
        let split = source
            .splits(&context(self.0.path(), framing))
            .await?
            .remove(0);
        source
            .open(&split, position, context(self.0.path(), framing))
            .await
    }

    /// Everything to load after `position`, and the final position.
    async fn run(&self, path: &str, position: &mut Option<Position>) -> Result<Vec<Chunk>> {
        let mut reader = self
            .open(&source(path), position.clone(), Framing::Whole)
            .await?;
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next().await? {
            if chunk.position.is_some() {
                position.clone_from(&chunk.position);
            }
            chunks.push(chunk);
        }
        if let Some(end) = reader.end_position() {
            *position = Some(end);
        }
        Ok(chunks)
    }

    async fn names(&self, path: &str, position: &mut Option<Position>) -> Vec<String> {
        let chunks = self.run(path, position).await.unwrap();
        chunks
            .iter()
            .filter(|chunk| chunk.last)
            .map(|chunk| chunk.head.name.clone())
            .collect()
    }
}

#[tokio::test]
async fn each_file_is_taken_once_and_new_content_again() {
    let project = Project::new();
    let mut position = None;
    project.write("in/b.json", b"2");
    project.write("in/a.json", b"1");
    project.write("in/.hidden.json", b"x");
    project.write("in/other.txt", b"x");
    project.write("in/deep/c.json", b"");
    assert_eq!(
        project.names("in/*.json", &mut position).await,
        ["in/a.json", "in/b.json"]
    );
    assert_eq!(project.names("in/*.json", &mut position).await, [""; 0]);
    project.write("in/a.json", b"3");
    assert_eq!(
        project.names("in/**/*.json", &mut position).await,
        ["in/a.json", "in/deep/c.json"]
    );
    // Touched and copied over itself: the content is unchanged.
    project.write("in/a.json", b"3");
    project.write("in/b.json", b"2");
    assert_eq!(project.names("in/**/*.json", &mut position).await, [""; 0]);
    // Its first content again: the path had other content in between.
    project.write("in/a.json", b"1");
    let again = project.names("in/*.json", &mut position).await;
    assert_eq!(again, ["in/a.json"]);
    assert_eq!(project.names("./in//a.json", &mut position).await, [""; 0]);
}

#[tokio::test]
async fn an_empty_file_is_an_empty_payload() {
    let project = Project::new();
    project.write("empty.csv", b"");
    let chunks = project.run("empty.csv", &mut None).await.unwrap();
    assert!(chunks.len() == 1 && chunks[0].last && chunks[0].bytes.is_empty());
}

#[tokio::test]
async fn compression_is_told_by_the_first_bytes_then_the_name() {
    let project = Project::new();
    project.write("a.csv", b"\x1f\x8b\x08xx");
    project.write("b.csv", b"\x28\xb5\x2f\xfdxx");
    project.write("c.csv.gz", b"plain");
    project.write("d.csv", b"plain");
    // Broken behind the mark: that is corrupt, and no text.
    project.write("e.csv", b"\x1f\x8b\x07xx");
    let chunks = project.run("*.*", &mut None).await.unwrap();
    let found: Vec<Compression> = chunks.iter().map(|chunk| chunk.head.compression).collect();
    assert_eq!(
        found,
        [
            Compression::Gzip,
            Compression::Zstd,
            Compression::Gzip,
            Compression::None,
            Compression::Gzip
        ]
    );
}

#[tokio::test]
async fn what_is_no_regular_file_of_the_project_is_passed_over() {
    let project = Project::new();
    let outside = Project::new();
    outside.write("secret", b"x");
    project.write("in/good", b"1");
    let folder = project.0.path().join("in");
    std::os::unix::fs::symlink(outside.0.path().join("secret"), folder.join("link_out")).unwrap();
    std::os::unix::fs::symlink("good", folder.join("link_in")).unwrap();
    std::os::unix::fs::symlink("nothing", folder.join("link_dead")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.join("device")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let odd = OsString::from_vec(b"od\xffd\x1b[1m".to_vec());
    fs::write(folder.join(odd), b"2").unwrap();
    fs::write(folder.join("n".repeat(255)), b"3").unwrap();
    let long = format!("in/{}", "n".repeat(255));
    let expected = ["in/good", "in/link_in", &long, "in/od\\xffd\\u{1b}[1m"];
    assert_eq!(project.names("in/*", &mut None).await, expected);
    for (path, kind, code) in [
        ("in/pipe", ErrorKind::Denied, "not_a_regular_file"),
        ("in", ErrorKind::Denied, "not_a_regular_file"),
        ("in/nothing", ErrorKind::NotFound, "no_such_file"),
    ] {
        let error = project.run(path, &mut None).await.map(|_| ()).unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, code), "{path}");
    }
    assert_eq!(project.names("nowhere/*", &mut None).await, [""; 0]);
    assert_eq!(
        project
            .names(outside.0.path().join("*").to_str().unwrap(), &mut None)
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn a_young_file_is_left_until_it_has_settled() {
    let project = Project::new();
    project.write("a", b"1");
    let mut young = source("*");
    young.config.settle = Span(Duration::from_secs(3_600));
    let mut reader = project.open(&young, None, Framing::Whole).await.unwrap();
    assert!(reader.next().await.unwrap().is_none());
    assert_eq!(reader.end_position(), None);
}

#[tokio::test]
async fn a_file_that_changes_before_it_is_read_is_left_and_taken_later() {
    let project = Project::new();
    project.write("a", b"old");
    project.write("b", b"1");
    let mut reader = project
        .open(&source("*"), None, Framing::Whole)
        .await
        .unwrap();
    project.write("a", b"newer");
    let chunk = reader.next().await.unwrap().unwrap();
    assert_eq!(chunk.head.name, "b");
    assert!(reader.next().await.unwrap().is_none());
    let mut position = reader.end_position().or(chunk.position);
    assert_eq!(project.names("*", &mut position).await, ["a"]);
}

#[tokio::test]
async fn a_large_file_that_grows_while_it_is_read_is_an_error() {
    let project = Project::new();
    let line = [b'x'; 999]
        .iter()
        .copied()
        .chain([b'\n'])
        .collect::<Vec<u8>>();
    project.write("big", &line.repeat(5_000));
    for grown in [line.repeat(5_001), line.repeat(100)] {
        let mut reader = project
            .open(&source("big"), None, Framing::Lines)
            .await
            .unwrap();
        assert!(reader.next().await.unwrap().is_some());
        project.write("big", &grown);
        let error = loop {
            match reader.next().await {
                Ok(chunk) => assert!(!chunk.unwrap().last),
                Err(error) => break error,
            }
        };
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Data, "file_changed")
        );
        project.write("big", &line.repeat(5_000));
    }
}

/// Reads a large file of lines and stops at every position in turn.
#[tokio::test]
async fn a_large_file_of_lines_goes_on_in_its_middle() {
    let project = Project::new();
    let content: Vec<u8> = (0..1_500_000_u32)
        .flat_map(|n| format!("{{\"n\": {n}}}\n").into_bytes())
        .collect();
    project.write("big.ndjson", &content);
    let mut position = None;
    let mut taken = Vec::new();
    let mut runs = 0;
    loop {
        let mut reader = project
            .open(&source("big.ndjson"), position.clone(), Framing::Lines)
            .await
            .unwrap();
        let mut since = Vec::new();
        let done = loop {
            let Some(chunk) = reader.next().await.unwrap() else {
                break true;
            };
            since.extend_from_slice(&chunk.bytes);
            assert!(chunk.position.is_none() || chunk.last || chunk.bytes.ends_with(b"\n"));
            if chunk.position.is_some() {
                position = chunk.position;
                break false;
            }
        };
        taken.extend(since);
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

#[tokio::test]
async fn a_file_that_changed_in_its_taken_part_is_not_begun_again() {
    let project = Project::new();
    let content = b"0123456789abcde\n".repeat(2_000_000);
    project.write("big", &content);
    let mut reader = project
        .open(&source("*"), None, Framing::Lines)
        .await
        .unwrap();
    let position = loop {
        if let Some(position) = reader.next().await.unwrap().unwrap().position {
            break position;
        }
    };
    // It may grow: the loaded part is the same.
    project.write("big", &content.repeat(2));
    let mut reader = project
        .open(&source("*"), Some(position.clone()), Framing::Lines)
        .await
        .unwrap();
    assert!(
        reader
            .next()
            .await
            .unwrap()
            .unwrap()
            .head
            .attributes
            .contains_key("offset")
    );
    let mut other = content.clone();
    other[77] = b'X';
    project.write("big", &other);
    let refused = |position| async {
        let mut reader = project
            .open(&source("*"), Some(position), Framing::Lines)
            .await
            .unwrap();
        reader.next().await.map(|_| ()).unwrap_err()
    };
    let error = refused(position.clone()).await;
    assert_eq!(error.code(), "file_changed");
    assert!(error.hint().unwrap().contains("put the file back"));
    project.write("big", b"short");
    assert_eq!(refused(position.clone()).await.code(), "file_changed");
    fs::remove_file(project.0.path().join("big")).unwrap();
    assert_eq!(refused(position).await.code(), "file_changed");
}

/// A folder that records the offsets at which its files are read.
#[derive(Debug)]
struct Noted {
    inner: local::LocalFolder,
    reads: Arc<Mutex<Vec<u64>>>,
}

struct NotedFile {
    inner: Box<dyn folder::OpenFile>,
    reads: Arc<Mutex<Vec<u64>>>,
}

#[async_trait]
impl Folder for Noted {
    async fn list(&self, listed: Listed) -> Result<Listed> {
        self.inner.list(listed).await
    }

    async fn explain_nothing(&self) -> Result<String> {
        self.inner.explain_nothing().await
    }

    async fn open(&self, found: &Found) -> Result<Option<Box<dyn folder::OpenFile>>> {
        let reads = Arc::clone(&self.reads);
        let opened = self.inner.open(found).await?;
        Ok(opened.map(|inner| Box::new(NotedFile { inner, reads }) as _))
    }
}

#[async_trait]
impl folder::OpenFile for NotedFile {
    fn stat(&self) -> &folder::Stat {
        self.inner.stat()
    }

    async fn read(&mut self, offset: u64, limit: usize, room: &mut Vec<u8>) -> Result<usize> {
        self.reads.lock().unwrap().push(offset);
        self.inner.read(offset, limit, room).await
    }

    async fn unchanged(&mut self) -> Result<bool> {
        self.inner.unchanged().await
    }
}

#[tokio::test]
async fn what_was_taken_is_read_again_only_when_the_file_looks_another() {
    let project = Project::new();
    let content = b"0123456789abcde\n".repeat(2_000_000);
    project.write("big", &content);
    let reads = Arc::new(Mutex::new(Vec::new()));
    let reader = async |position: Option<Position>| {
        reads.lock().unwrap().clear();
        let mut context = context(project.0.path(), Framing::Lines);
        // Long after the file was written, so that its look is trusted.
        context.clock = forebay_testkit::FakeClock::auto(Timestamp(4_000_000_000_000_000));
        let folder = Arc::new(Noted {
            inner: local::LocalFolder {
                pattern: Pattern::parse("big").unwrap(),
                project: project.0.path().to_owned(),
                workspace: project.0.path().join(WORKSPACE),
            },
            reads: Arc::clone(&reads),
        });
        let listed = folder.list(Listed::default()).await.unwrap();
        let state = match position {
            Some(position) => Some(taken::State::read(position, None).await.unwrap()),
            None => None,
        };
        let selected = read::Selected {
            files: listed.unknown,
            ..read::Selected::default()
        };
        let rules = source("big").recognition();
        read::Reader::new(
            Arc::new(context),
            folder,
            state.unwrap_or_default(),
            rules,
            selected,
        )
    };
    let mut first = reader(None).await;
    let position = loop {
        if let Some(position) = first.next().await.unwrap().unwrap().position {
            break position;
        }
    };
    let offset = position.0["partial"]["offset"].as_u64().unwrap();
    let mut second = reader(Some(position.clone())).await;
    second.next().await.unwrap().unwrap();
    let from = *reads.lock().unwrap().iter().min().unwrap();
    assert!(offset - from < digest::BLOCK_BYTES, "{from} of {offset}");
    // The same bytes, written again.
    project.write("big", &content);
    let mut third = reader(Some(position)).await;
    let chunk = third.next().await.unwrap().unwrap();
    assert_eq!(chunk.head.attributes["offset"], offset.to_string());
    assert_eq!(reads.lock().unwrap().first(), Some(&0));
}

#[test]
fn bad_patterns_are_refused_where_they_stand() {
    for bad in [
        "",
        "a\0b",
        "gs://bucket/x",
        "s3://",
        "s3://b/a//b",
        "data/[.csv",
    ] {
        assert!(Place::of(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn no_two_paths_look_the_same() {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let paths: [&[u8]; 8] = [
        b"a\\xff",
        b"a\xff",
        b"a\\\\xff",
        b"a\\\xff",
        b"a\n",
        b"a\\n",
        b"a\\u{1b}",
        b"a\x1b",
    ];
    let shown: HashSet<String> = paths
        .iter()
        .map(|bytes| shown(&path(bytes), Path::new("/p")))
        .collect();
    assert_eq!(shown.len(), paths.len(), "{shown:?}");
}
