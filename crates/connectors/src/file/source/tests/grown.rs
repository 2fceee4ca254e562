//! Files that grow, are rotated or were loaded in part: each record once.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use forebay_formats::csv::Dialect;
use forebay_formats::framing::FileHeading;

const CSV: FileHeading = FileHeading {
    skipped_lines: 0,
    has_header: true,
    may_have_mark: true,
    dialect: Some(Dialect::COMMAS),
};

/// A source, and how its files are read.
struct Setting {
    source: Files,
    framing: Framing,
    heading: FileHeading,
}

impl Setting {
    fn lines(path: &str) -> Self {
        Self {
            source: source(path),
            framing: Framing::Lines,
            heading: FileHeading::default(),
        }
    }

    fn csv(path: &str) -> Self {
        Self {
            heading: CSV,
            ..Self::lines(path)
        }
    }

    fn following(mut self) -> Self {
        self.source.config.follow = Some(true);
        self
    }

    /// The payloads of a run that is killed after `chunks_max` chunks: chunks after the last position do not count.
    async fn payloads_until(
        &self,
        project: &Project,
        position: &mut Option<Position>,
        chunks_max: usize,
    ) -> Vec<(String, String)> {
        let mut context = context(project.0.path(), self.framing);
        context.heading = self.heading;
        let split = self.source.splits(&context).await.unwrap().remove(0);
        let opened = self.source.open(&split, position.clone(), context).await;
        let mut reader = opened.unwrap();
        let mut payloads = Vec::<(String, String)>::new();
        let mut counted = 0;
        for _ in 0..chunks_max {
            let Some(chunk) = reader.next().await.unwrap() else {
                if let Some(end) = reader.end_position() {
                    *position = Some(end);
                }
                return payloads;
            };
            let text = String::from_utf8_lossy(&chunk.bytes).into_owned();
            payloads.push((chunk.head.name.clone(), text));
            if chunk.position.is_some() {
                position.clone_from(&chunk.position);
                counted = payloads.len();
            }
        }
        payloads.truncate(counted);
        payloads
    }

    async fn payloads(
        &self,
        project: &Project,
        position: &mut Option<Position>,
    ) -> Vec<(String, String)> {
        self.payloads_until(project, position, usize::MAX).await
    }

    async fn texts(&self, project: &Project, position: &mut Option<Position>) -> Vec<String> {
        let payloads = self.payloads(project, position).await;
        payloads.into_iter().map(|(_, text)| text).collect()
    }
}

#[tokio::test]
async fn records_of_a_growing_file_are_loaded_once_wherever_a_run_dies() {
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let project = Project::new();
        let is_csv = rng.random_bool(0.5);
        let follows = rng.random_bool(0.5);
        let mut setting = match is_csv {
            true => Setting::csv("*.log"),
            false => Setting::lines("*.log"),
        };
        if follows {
            setting = setting.following();
        }
        let header = if is_csv { "id,text\n" } else { "" };
        let mut position = None;
        let mut content = header.to_owned();
        let mut taken = Vec::new();
        let mut expected = Vec::new();
        let mut cut = 0;
        for _ in 0..12 {
            for _ in 0..rng.random_range(0..4) {
                let n = expected.len();
                let record = match is_csv && rng.random_bool(0.3) {
                    true => format!("{n},\"a\nb \"\"{n}\"\"\"\n"),
                    false => format!("{n},{}\n", "x".repeat(n % 7)),
                };
                content.push_str(&record);
                expected.push(record);
            }
            // A writer that is followed may stop anywhere; one that is not writes whole records.
            cut = match follows && !is_csv {
                true => rng.random_range(cut..=content.len()),
                false => content.len(),
            };
            project.write("a.log", &content.as_bytes()[..cut]);
            let chunks_max = if rng.random_bool(0.3) {
                rng.random_range(0..2)
            } else {
                usize::MAX
            };
            let payloads = setting
                .payloads_until(&project, &mut position, chunks_max)
                .await;
            taken.extend(payloads.into_iter().map(|(_, text)| text));
        }
        project.write("a.log", content.as_bytes());
        taken.extend(setting.texts(&project, &mut position).await);
        let taken: String = taken
            .iter()
            .map(|text| text.strip_prefix(header).unwrap())
            .collect();
        assert_eq!(taken, expected.concat(), "seed {seed}");
        assert!(setting.texts(&project, &mut position).await.is_empty());
        let state = taken::State::read(position.unwrap(), None).await.unwrap();
        assert!(state.count() <= 1, "a file that grows costs one record");
    }
}

#[tokio::test]
async fn what_comes_after_a_cut_is_loaded_from_the_cut_record_on() {
    let cut = [
        // (setting, first content, whole content, what the second run loads)
        (
            Setting::lines("f"),
            "{\"a\":1}\n{\"b",
            "{\"a\":1}\n{\"b\":2}\n",
            "{\"b\":2}\n",
        ),
        (Setting::lines("f"), "1", "1\n2\n", "2\n"),
        (Setting::lines("f"), "1", "1\r\n2\n", "2\n"),
        (Setting::lines("f"), "1", "12\n3\n", "12\n3\n"),
        (
            Setting::csv("f"),
            "h,i\n1,2\n",
            "h,i\n1,2\n3,4\n",
            "h,i\n3,4\n",
        ),
        (
            Setting::csv("f"),
            "h,i\n1,\"x\n",
            "h,i\n1,\"x\ny\"\n2,z\n",
            "h,i\n1,\"x\ny\"\n2,z\n",
        ),
        (Setting::csv("f"), "h", "h,i\n1,2\n", "h,i\n1,2\n"),
        (
            Setting::csv("f"),
            "\"h\n1\",i\n1,2\n",
            "\"h\n1\",i\n1,2\n3,4\n",
            "\"h\n1\",i\n3,4\n",
        ),
    ];
    for (setting, first, whole, expected) in cut {
        let project = Project::new();
        let mut position = None;
        project.write("f", first.as_bytes());
        assert_eq!(setting.texts(&project, &mut position).await, [first]);
        project.write("f", whole.as_bytes());
        assert_eq!(
            setting.texts(&project, &mut position).await,
            [expected],
            "{first:?}"
        );
        assert!(setting.texts(&project, &mut position).await.is_empty());
    }
}

#[tokio::test]
async fn lines_that_are_only_detected_are_followed_too() {
    let project = Project::new();
    let mut position = None;
    let mut setting = Setting::lines("app.log");
    setting.framing = Framing::Detected;
    let lines = ["{\"i\":1}\n", "{\"i\":2}\n", "{\"i\":3}\n"];
    for count in 1..=lines.len() {
        project.write("app.log", lines[..count].concat().as_bytes());
        let texts = setting.texts(&project, &mut position).await;
        assert_eq!(texts, [lines[count - 1]]);
    }
}

#[tokio::test]
async fn a_file_with_another_beginning_is_another_file() {
    let project = Project::new();
    let setting = Setting::lines("f");
    let mut position = None;
    for content in ["1\n2\n", "7\n", "8\n2\n3\n", "7\n9\n"] {
        project.write("f", content.as_bytes());
        assert_eq!(setting.texts(&project, &mut position).await, [content]);
    }
    let mut whole = Setting::lines("f");
    whole.source.config.follow = Some(false);
    project.write("f", b"7\n9\n10\n");
    assert_eq!(whole.texts(&project, &mut position).await, ["7\n9\n10\n"]);
}

#[tokio::test]
async fn a_followed_file_leaves_its_last_line_and_may_be_rotated() {
    let project = Project::new();
    let setting = Setting::lines("app.log*").following();
    let mut position = None;
    project.write("app.log", b"1\n2");
    assert_eq!(setting.texts(&project, &mut position).await, ["1\n"]);
    assert!(setting.texts(&project, &mut position).await.is_empty());
    // Renamed with more lines than were loaded; a new file has its name.
    let path = |name: &str| project.0.path().join(name);
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(path("app.log"))
        .unwrap();
    std::io::Write::write_all(&mut file, b"\n3\n").unwrap();
    fs::rename(path("app.log"), path("app.log.1")).unwrap();
    project.write("app.log", b"4\n");
    let payloads = setting.payloads(&project, &mut position).await;
    let expected = [("app.log", "4\n"), ("app.log.1", "2\n3\n")];
    let found: Vec<(&str, &str)> = payloads
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    assert_eq!(found, expected);
    assert!(setting.texts(&project, &mut position).await.is_empty());
}

/// `logrotate` with `copytruncate`: a run may come before the copy, between it and the cut, and after both.
#[tokio::test]
async fn a_followed_log_that_is_copied_and_cut_is_loaded_once() {
    for (run_before, run_between, grows_after) in [
        (true, false, true),
        (true, true, true),
        (true, false, false),
        (true, true, false),
        (false, true, true),
        (false, false, true),
    ] {
        let project = Project::new();
        let setting = Setting::lines("app.log*").following();
        let mut position = None;
        let mut texts = Vec::new();
        project.write("app.log", b"1\n2\n");
        if run_before {
            texts.extend(setting.texts(&project, &mut position).await);
        }
        project.append("app.log", "3\n");
        let path = |name: &str| project.0.path().join(name);
        fs::copy(path("app.log"), path("app.log.1")).unwrap();
        if run_between {
            texts.extend(setting.texts(&project, &mut position).await);
        }
        project.write("app.log", b"");
        if grows_after {
            project.append("app.log", "4\n");
        }
        texts.extend(setting.texts(&project, &mut position).await);
        project.append("app.log", "5\n");
        texts.extend(setting.texts(&project, &mut position).await);
        let text = texts.concat();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        let expected = ["1", "2", "3", "4", "5"];
        let expected = expected.iter().filter(|line| grows_after || **line != "4");
        assert!(
            lines.iter().eq(expected),
            "{run_before} {run_between} {grows_after}: {lines:?}"
        );
    }
}

#[tokio::test]
async fn a_compressed_file_is_loaded_whole_after_a_cut_and_by_its_rest_after_an_append() {
    let member = forebay_testkit::gzip(b"first\n");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let project = Project::new();
    let mut position = None;
    let setting = Setting::lines("f.gz");
    project.write("f.gz", &member[..5]);
    assert_eq!(setting.texts(&project, &mut position).await.len(), 1);
    // Nothing was loaded of the cut one.
    project.write("f.gz", &member);
    let whole = [text(&member)];
    assert_eq!(setting.texts(&project, &mut position).await, whole);
    // A part of the second is refused; the first stays loaded.
    let two = member.repeat(2);
    for end in [member.len() + 1, member.len() + 7, two.len()] {
        project.write("f.gz", &two[..end]);
        let rest = [text(&two[member.len()..end])];
        assert_eq!(setting.texts(&project, &mut position).await, rest);
        assert!(setting.texts(&project, &mut position).await.is_empty());
    }
    let stored = taken::State::read(position.clone().unwrap(), None).await;
    assert_eq!(stored.unwrap().count(), 1, "no base is left");
    // Each may have a header, or only the first: it cannot be determined here.
    let csv = Setting::csv("f.gz");
    project.write("f.gz", &member.repeat(3));
    let again = [text(&member.repeat(3))];
    assert_eq!(csv.texts(&project, &mut position).await, again);
}

#[tokio::test]
async fn zeros_after_a_loaded_gzip_member_are_nothing_new() {
    let member = forebay_testkit::gzip(b"first\n");
    let project = Project::new();
    let mut position = None;
    let setting = Setting::lines("f.gz");
    project.write("f.gz", &member);
    assert_eq!(setting.texts(&project, &mut position).await.len(), 1);
    for zeros in [1, 512, 513] {
        project.write("f.gz", &[&member[..], &vec![0; zeros]].concat());
        assert!(setting.texts(&project, &mut position).await.is_empty());
    }
    let stored = taken::State::read(position.clone().unwrap(), None).await;
    assert_eq!(stored.unwrap().count(), 1);
    // Something else behind it is no padding.
    project.write("f.gz", &[&member[..], b"\0\0x"].concat());
    assert_eq!(setting.texts(&project, &mut position).await.len(), 1);
}

#[tokio::test]
async fn a_renamed_file_keeps_its_loaded_streams() {
    let member = forebay_testkit::gzip(b"first\n");
    let two = member.repeat(2);
    let project = Project::new();
    let mut position = None;
    let setting = Setting::lines("*.gz").following();
    let path = |name: &str| project.0.path().join(name);
    project.write("a.gz", &member);
    assert_eq!(setting.texts(&project, &mut position).await.len(), 1);
    project.write("a.gz", &two[..member.len() + 9]);
    assert_eq!(setting.texts(&project, &mut position).await.len(), 1);
    fs::rename(path("a.gz"), path("b.gz")).unwrap();
    assert!(setting.texts(&project, &mut position).await.is_empty());
    project.write("b.gz", &two);
    let rest = String::from_utf8_lossy(&member).into_owned();
    assert_eq!(setting.texts(&project, &mut position).await, [rest]);
}

#[tokio::test]
async fn a_moved_file_is_the_same_and_a_copy_is_another() {
    for (identity, moved, copied) in [
        (FileIdentity::Auto, 0, 1),
        (FileIdentity::Name, 1, 1),
        (FileIdentity::Content, 0, 0),
    ] {
        let project = Project::new();
        let mut setting = Setting::lines("**/*.x");
        setting.source.config.identity = identity;
        let mut position = None;
        let path = |name: &str| project.0.path().join(name);
        project.write("in/a.x", b"1\n");
        assert_eq!(setting.texts(&project, &mut position).await, ["1\n"]);
        fs::create_dir_all(path("done")).unwrap();
        fs::rename(path("in/a.x"), path("done/b.x")).unwrap();
        let texts = setting.texts(&project, &mut position).await;
        assert_eq!(texts.len(), moved, "{identity:?}");
        assert!(setting.texts(&project, &mut position).await.is_empty());
        // Both are there: two files, whatever is in them.
        project.write("in/c.x", b"1\n");
        let texts = setting.texts(&project, &mut position).await;
        assert_eq!(texts.len(), copied, "{identity:?}");
    }
}

#[tokio::test]
async fn a_file_that_appears_after_another_has_vanished_is_loaded() {
    let project = Project::new();
    let setting = Setting::lines("in/*.x");
    let mut position = None;
    let path = |name: &str| project.0.path().join(name);
    let old = std::time::SystemTime::now() - Duration::from_secs(3_600);
    let write = |name: &str| {
        project.write(name, b"1\n");
        let file = fs::File::options().write(true).open(path(name)).unwrap();
        file.set_modified(old).unwrap();
    };
    write("in/a.x");
    assert_eq!(setting.texts(&project, &mut position).await, ["1\n"]);
    fs::remove_file(path("in/a.x")).unwrap();
    assert!(setting.texts(&project, &mut position).await.is_empty());
    // The same content and time, as a daily export may have: nothing was moved.
    write("in/b.x");
    assert_eq!(setting.texts(&project, &mut position).await, ["1\n"]);
    // The same file comes back, with its time.
    write("in/a.x");
    assert!(setting.texts(&project, &mut position).await.is_empty());
    // This looks like a move.
    fs::remove_file(path("in/b.x")).unwrap();
    write("in/c.x");
    assert!(setting.texts(&project, &mut position).await.is_empty());
}

#[tokio::test]
async fn a_copy_with_the_time_of_a_file_that_is_there_is_loaded() {
    let project = Project::new();
    let setting = Setting::lines("in/*.x");
    let mut position = None;
    let path = |name: &str| project.0.path().join(name);
    project.write("in/a.x", b"1\n");
    assert_eq!(setting.texts(&project, &mut position).await, ["1\n"]);
    let modified = fs::metadata(path("in/a.x")).unwrap().modified().unwrap();
    project.write("in/b.x", b"1\n");
    let copy = fs::File::options()
        .write(true)
        .open(path("in/b.x"))
        .unwrap();
    copy.set_modified(modified).unwrap();
    assert_eq!(setting.texts(&project, &mut position).await, ["1\n"]);
}
