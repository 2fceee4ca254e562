//! Paths whose content changes, is removed and comes back: only the current content is known.

use std::time::SystemTime;

use super::*;

const IDENTITIES: [FileIdentity; 3] = [
    FileIdentity::Auto,
    FileIdentity::Name,
    FileIdentity::Content,
];

impl Project {
    fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(name)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.0.path().join(from), self.0.path().join(to)).unwrap();
    }

    fn set_time(&self, name: &str, time: SystemTime) {
        let path = self.0.path().join(name);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    /// Pairs of name and text that a run loads from lines, with settled or fresh files.
    async fn loaded(
        &self,
        source: &Files,
        position: &mut Option<Position>,
        is_settled: bool,
    ) -> Vec<(String, String)> {
        let mut reader = self.reader(source, position.clone(), is_settled).await;
        let mut loaded = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            let text = String::from_utf8_lossy(&chunk.bytes).into_owned();
            loaded.push((chunk.head.name.clone(), text));
            *position = chunk.position.or(position.take());
        }
        *position = reader.end_position().or(position.take());
        loaded
    }

    async fn reader(
        &self,
        source: &Files,
        position: Option<Position>,
        is_settled: bool,
    ) -> Box<dyn SplitReader> {
        let mut context = context(self.0.path(), Framing::Lines);
        if is_settled {
            // Long after the files were written, so that their looks are trusted.
            context.clock = forebay_testkit::FakeClock::auto(Timestamp(4_000_000_000_000_000));
        }
        let split = source.splits(&context).await.unwrap().remove(0);
        source.open(&split, position, context).await.unwrap()
    }

    async fn texts_of(
        &self,
        source: &Files,
        position: &mut Option<Position>,
        is_settled: bool,
    ) -> Vec<String> {
        let loaded = self.loaded(source, position, is_settled).await;
        loaded.into_iter().map(|(_, text)| text).collect()
    }
}

fn identified(path: &str, identity: FileIdentity) -> Files {
    let mut files = source(path);
    files.config.identity = identity;
    files
}

fn nothing() -> [String; 0] {
    []
}

#[tokio::test]
async fn a_path_that_comes_back_to_an_earlier_content_is_loaded_again() {
    for identity in IDENTITIES {
        for is_settled in [false, true] {
            let project = Project::new();
            let mut position = None;
            let files = identified("*.csv", identity);
            for content in ["on\n", "off\n", "on\n", "off\n", "idle\n", "on\n"] {
                project.write("latest.csv", content.as_bytes());
                let texts = project.texts_of(&files, &mut position, is_settled).await;
                assert_eq!(texts, [content], "{identity:?} {is_settled}");
                let texts = project.texts_of(&files, &mut position, is_settled).await;
                assert_eq!(texts, nothing(), "{identity:?} {is_settled}");
            }
            // Rewritten with the same content.
            project.write("latest.csv", b"on\n");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, nothing(), "{identity:?} {is_settled}");
        }
    }
}

#[tokio::test]
async fn a_document_that_comes_back_to_an_earlier_content_is_loaded_again() {
    let project = Project::new();
    let mut position = None;
    for content in ["{\"s\":1}", "{\"s\":22}", "{\"s\":1}"] {
        project.write("state.json", content.as_bytes());
        assert_eq!(
            project.names("*.json", &mut position).await,
            ["state.json"],
            "{content}"
        );
    }
}

#[tokio::test]
async fn a_path_that_was_seen_gone_is_loaded_when_it_comes_back() {
    for (identity, expected) in [
        (FileIdentity::Auto, &["1\n"][..]),
        (FileIdentity::Name, &["1\n"]),
        (FileIdentity::Content, &[]),
    ] {
        for is_settled in [false, true] {
            let project = Project::new();
            let mut position = None;
            let files = identified("*.csv", identity);
            project.write("other.csv", b"2\n");
            project.write("a.csv", b"1\n");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, ["1\n", "2\n"]);
            project.remove("a.csv");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, nothing());
            project.write("a.csv", b"1\n");
            let later = SystemTime::now() + Duration::from_secs(60);
            project.set_time("a.csv", later);
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, expected, "{identity:?} {is_settled}");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, nothing(), "{identity:?} {is_settled}");
        }
    }
}

/// As the files of a share that was not mounted for a while, or that were put back from a backup.
#[tokio::test]
async fn a_path_that_comes_back_with_its_content_and_time_is_known() {
    for identity in IDENTITIES {
        for is_settled in [false, true] {
            let project = Project::new();
            let mut position = None;
            let files = identified("*.csv", identity);
            let time = SystemTime::now() - Duration::from_secs(3_600);
            let write = || {
                project.write("a.csv", b"1\n");
                project.set_time("a.csv", time);
            };
            write();
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, ["1\n"]);
            project.remove("a.csv");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, nothing());
            write();
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, nothing(), "{identity:?} {is_settled}");
        }
    }
}

/// A folder that is away for one run, as one that is renamed or not mounted: its files are not even read again.
#[tokio::test]
async fn a_folder_that_comes_back_unchanged_is_known() {
    for identity in IDENTITIES {
        let project = Project::new();
        let mut position = None;
        let files = identified("*/*.csv", identity);
        project.write("in/a.csv", b"1\n");
        let texts = project.texts_of(&files, &mut position, true).await;
        assert_eq!(texts, ["1\n"]);
        project.rename("in", ".away");
        for _ in 0..2 {
            let texts = project.texts_of(&files, &mut position, true).await;
            assert_eq!(texts, nothing());
        }
        project.rename(".away", "in");
        let folder = files.folder(&context(project.0.path(), Framing::Lines));
        let state = taken::State::read(position.clone().unwrap(), None).await;
        let listed = Listed::new(state.unwrap());
        let listed = folder.unwrap().list(listed).await.unwrap();
        assert!(listed.unknown.is_empty() && listed.has_news);
        let texts = project.texts_of(&files, &mut position, true).await;
        assert_eq!(texts, nothing(), "{identity:?}");
        project.write("in/a.csv", b"2\n");
        let texts = project.texts_of(&files, &mut position, true).await;
        assert_eq!(texts, ["2\n"], "{identity:?}");
    }
}

#[tokio::test]
async fn a_log_that_was_truncated_and_begins_again_alike_is_loaded() {
    for follow in [None, Some(true), Some(false)] {
        for is_settled in [false, true] {
            let project = Project::new();
            let mut position = None;
            let mut files = source("*.log");
            files.config.follow = follow;
            project.write("app.log", b"up\n");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, ["up\n"]);
            project.write("app.log", b"");
            project.texts_of(&files, &mut position, is_settled).await;
            project.append("app.log", "up\n");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, ["up\n"], "{follow:?} {is_settled}");
            // Cut to another content, which grows to more than the first.
            project.write("app.log", b"down\n");
            project.texts_of(&files, &mut position, is_settled).await;
            project.write("app.log", b"up\ndown\n");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, ["up\ndown\n"], "{follow:?} {is_settled}");
        }
    }
}

#[tokio::test]
async fn a_log_that_grew_before_it_was_rotated_goes_on_behind_what_was_loaded() {
    let expected = [("app.log", "4\n"), ("app.log.1", "3\n")];
    for follow in [None, Some(true)] {
        for is_settled in [false, true] {
            let project = Project::new();
            let mut position = None;
            let mut files = source("app.log*");
            files.config.follow = follow;
            project.write("app.log", b"1\n2\n");
            project.loaded(&files, &mut position, is_settled).await;
            project.append("app.log", "3\n");
            project.rename("app.log", "app.log.1");
            project.write("app.log", b"4\n");
            let loaded = project.loaded(&files, &mut position, is_settled).await;
            let loaded: Vec<(&str, &str)> = loaded.iter().map(|(a, b)| (&**a, &**b)).collect();
            assert_eq!(loaded, expected, "{follow:?} {is_settled}");
            let texts = project.texts_of(&files, &mut position, is_settled).await;
            assert_eq!(texts, nothing());
        }
    }
}

/// A run that ends between the two files leaves the renamed one recognisable.
#[tokio::test]
async fn a_rotation_is_recognised_by_the_run_after_one_that_was_killed() {
    let project = Project::new();
    let mut position = None;
    let files = source("app.log*");
    project.write("app.log", b"1\n2\n");
    project.loaded(&files, &mut position, true).await;
    project.append("app.log", "3\n");
    project.rename("app.log", "app.log.1");
    project.write("app.log", b"4\n");
    let mut reader = project.reader(&files, position.clone(), true).await;
    let chunk = reader.next().await.unwrap().unwrap();
    assert_eq!(&chunk.bytes[..], b"4\n");
    position = chunk.position.or(position);
    let texts = project.texts_of(&files, &mut position, true).await;
    assert_eq!(texts, ["3\n"]);
}

/// The file of another name may be a new one with the same beginning, which has the inode of one that was removed.
#[tokio::test]
async fn a_file_of_an_unrelated_name_is_loaded_whole() {
    let project = Project::new();
    let mut position = None;
    let files = source("*.csv");
    project.write("2025-01-01.csv", b"1\n2\n");
    project.loaded(&files, &mut position, true).await;
    project.append("2025-01-01.csv", "3\n");
    project.rename("2025-01-01.csv", "2025-01-02.csv");
    let texts = project.texts_of(&files, &mut position, true).await;
    assert_eq!(texts, ["1\n2\n3\n"]);
}

/// Files are added, changed, removed, renamed and rotated; the content of each path in the previous run decides what a run loads.
#[tokio::test]
async fn whatever_happens_to_a_path_its_new_content_is_loaded_once() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    for seed in 0..60 {
        let mut rng = StdRng::seed_from_u64(seed);
        let project = Project::new();
        let mut position = None;
        let files = identified("*.x", IDENTITIES[rng.random_range(0..2)]);
        let mut before: BTreeMap<String, String> = BTreeMap::new();
        for step in 0..25 {
            let name = format!("{}.x", rng.random_range(0..3));
            let content = ["a\n", "b\n", "ab\n", "cd\n"][rng.random_range(0..4)];
            let mut now = before.clone();
            match rng.random_range(0..4) {
                0 => drop(now.remove(&name).map(|_| project.remove(&name))),
                _ if now.get(&name).is_some_and(|old| old == content) => {}
                _ => {
                    project.write(&name, content.as_bytes());
                    let seconds = Duration::from_secs(seed * 100 + step);
                    project.set_time(&name, SystemTime::UNIX_EPOCH + seconds);
                    now.insert(name, content.to_owned());
                }
            }
            let is_new = |entry: &(&String, &String)| before.get(entry.0) != Some(entry.1);
            let expected: Vec<(String, String)> = now
                .iter()
                .filter(is_new)
                .map(|(name, content)| (name.clone(), content.clone()))
                .collect();
            let is_settled = rng.random_bool(0.5);
            let loaded = project.loaded(&files, &mut position, is_settled).await;
            assert_eq!(loaded, expected, "seed {seed} step {step}");
            before = now;
        }
    }
}

/// The record of the old name is kept while the file that it may have become is not checked.
#[tokio::test]
async fn a_rotated_file_that_has_not_settled_is_recognised_later() {
    let project = Project::new();
    let mut position = None;
    let mut files = source("app.log*");
    files.config.settle = Span(Duration::from_secs(3_600));
    project.write("app.log", b"1\n2\n");
    project.loaded(&files, &mut position, true).await;
    project.append("app.log", "3\n");
    project.rename("app.log", "app.log.1");
    project.write("app.log", b"4\n");
    project.set_time("app.log", SystemTime::now() - Duration::from_secs(7_200));
    for _ in 0..2 {
        let texts = project.texts_of(&files, &mut position, false).await;
        assert!(texts.is_empty() || texts == ["4\n"], "{texts:?}");
    }
    let texts = project.texts_of(&files, &mut position, true).await;
    assert_eq!(texts, ["3\n"]);
}

/// Positions of earlier versions hold every content that a path had, and not which was the last.
#[tokio::test]
async fn an_earlier_position_learns_what_lies_at_a_path() {
    let project = Project::new();
    let mut position = None;
    let files = source("*.csv");
    project.write("a.csv", b"off\n");
    project.texts_of(&files, &mut position, true).await;
    let mut state = taken::State::read(position.unwrap(), None).await.unwrap();
    let off = *state.files.iter().next().unwrap();
    let mut digest = digest::Digest::default();
    digest.update(b"on\n");
    let found = Found {
        path: PathBuf::new(),
        name: "a.csv".to_owned(),
        stat: folder::Stat {
            size: 3,
            modified: Timestamp(1),
            identity: folder::Identity::Tag(None),
        },
    };
    let on = record::TakenRecord::of(&found, 3, &digest.value());
    state.files.insert(on);
    assert!(off.is_current() && on.is_current());
    let mut position = Some(state.position().unwrap());
    let texts = project.texts_of(&files, &mut position, true).await;
    assert_eq!(texts, nothing());
    project.write("a.csv", b"on\n");
    let texts = project.texts_of(&files, &mut position, true).await;
    assert_eq!(texts, ["on\n"]);
}
