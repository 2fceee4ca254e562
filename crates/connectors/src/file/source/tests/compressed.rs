//! Files that are compressed after they were loaded.

use std::io::Write;
use std::time::SystemTime;

use super::*;

const CONTENT: &[u8] = b"{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ::zstd::bulk::compress(content, 3).unwrap()
}

impl Project {
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file that changed at the n-th hour of some day.
    fn write_at(&self, name: &str, content: &[u8], hour: u64) {
        self.write(name, content);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + hour * 3_600);
        let file = fs::File::options().write(true).open(self.at(name)).unwrap();
        file.set_modified(time).unwrap();
    }

    /// As `gzip` does: the time of change stays, the original goes.
    fn compress(&self, name: &str, to: &str, compressed: &[u8]) {
        let time = fs::metadata(self.at(name)).unwrap().modified().unwrap();
        self.write(to, compressed);
        let file = fs::File::options().write(true).open(self.at(to)).unwrap();
        file.set_modified(time).unwrap();
        fs::remove_file(self.at(name)).unwrap();
    }

    async fn names_of(&self, source: &Files, position: &mut Option<Position>) -> Vec<String> {
        let opened = self.open(source, position.clone(), Framing::Lines).await;
        let mut reader = opened.unwrap();
        let mut names = Vec::new();
        while let Some(chunk) = reader.next().await.unwrap() {
            names.extend(chunk.last.then(|| chunk.head.name.clone()));
            *position = chunk.position.or(position.take());
        }
        *position = reader.end_position().or(position.take());
        names
    }
}

#[tokio::test]
async fn a_log_that_is_rotated_and_compressed_later_is_loaded_once() {
    let twice = [&CONTENT[..8], &CONTENT[8..]].map(gzip).concat();
    for (ending, compressed) in [("gz", gzip(CONTENT)), ("zst", zstd(CONTENT)), ("gz", twice)] {
        let project = Project::new();
        let mut position = None;
        let logs = source("app.log*");
        let first = format!("app.log.1.{ending}");
        let second = format!("app.log.2.{ending}");
        project.write_at("app.log", CONTENT, 1);
        assert_eq!(project.names_of(&logs, &mut position).await, ["app.log"]);
        fs::rename(project.at("app.log"), project.at("app.log.1")).unwrap();
        project.write_at("app.log", b"{\"n\":4}\n", 2);
        assert_eq!(project.names_of(&logs, &mut position).await, ["app.log"]);

        project.compress("app.log.1", &first, &compressed);
        assert_eq!(project.names_of(&logs, &mut position).await, [""; 0]);
        fs::rename(project.at(&first), project.at(&second)).unwrap();
        assert_eq!(project.names_of(&logs, &mut position).await, [""; 0]);
        // Rotated and compressed between two runs.
        project.compress("app.log", &first, &gzip(b"{\"n\":4}\n"));
        assert_eq!(project.names_of(&logs, &mut position).await, [""; 0]);
    }
}

#[tokio::test]
async fn another_content_or_time_is_another_file() {
    let other = [CONTENT, b"{\"n\":4}\n"].concat();
    for (compressed, hour) in [
        (gzip(&other), 1),
        (gzip(&CONTENT[..8]), 1),
        (gzip(CONTENT), 2),
        (gzip(&vec![0; 8 << 20]), 1),
    ] {
        let project = Project::new();
        let mut position = None;
        let logs = source("*");
        project.write_at("a", CONTENT, 1);
        project.names_of(&logs, &mut position).await;
        fs::remove_file(project.at("a")).unwrap();
        project.write_at("b.gz", &compressed, hour);
        assert_eq!(project.names_of(&logs, &mut position).await, ["b.gz"]);
        assert_eq!(project.names_of(&logs, &mut position).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_compressed_file_beside_its_original_is_the_same_when_its_time_is() {
    let project = Project::new();
    let mut position = None;
    let all = source("*");
    project.write_at("a.csv", CONTENT, 1);
    project.write_at("a.csv.gz", &gzip(CONTENT), 1);
    assert_eq!(project.names_of(&all, &mut position).await, ["a.csv"]);
    project.write_at("a.csv.zst", &zstd(CONTENT), 2);
    assert_eq!(project.names_of(&all, &mut position).await, ["a.csv.zst"]);
    project.write_at("b.csv.gz", &gzip(CONTENT), 1);
    assert_eq!(project.names_of(&all, &mut position).await, ["b.csv.gz"]);
}

#[tokio::test]
async fn what_tells_files_apart_decides_for_compressed_files_too() {
    for (identity, expected) in [
        (FileIdentity::Name, &["b.gz"][..]),
        (FileIdentity::Content, &[]),
    ] {
        let project = Project::new();
        let mut position = None;
        let mut all = source("*");
        all.config.identity = identity;
        project.write_at("a", CONTENT, 1);
        project.names_of(&all, &mut position).await;
        if identity == FileIdentity::Content {
            project.write_at("b.gz", &gzip(CONTENT), 2);
        } else {
            project.compress("a", "b.gz", &gzip(CONTENT));
        }
        assert_eq!(project.names_of(&all, &mut position).await, expected);
    }
}

#[tokio::test]
async fn a_compressed_file_that_was_met_while_it_was_written_is_known_when_it_is_whole() {
    let project = Project::new();
    let mut position = None;
    let logs = source("*");
    let whole = gzip(CONTENT);
    project.write_at("a.1", CONTENT, 1);
    project.names_of(&logs, &mut position).await;
    // Nothing of a truncated file is loaded: it is rejected.
    project.write_at("a.1.gz", &whole[..20], 2);
    assert_eq!(project.names_of(&logs, &mut position).await, ["a.1.gz"]);
    project.compress("a.1", "a.1.gz", &whole);
    assert_eq!(project.names_of(&logs, &mut position).await, [""; 0]);
}
