//! Runs the binary in a project of its own.

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use forebay_testkit::{S3Server, on_s3};

/// A temporary folder with a project in it. Its storage is a bucket when the process was told so.
pub(crate) struct Project {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

impl Project {
    pub(crate) fn new() -> Self {
        let project = Self {
            folder: tempfile::tempdir().unwrap(),
            // Tests kill processes far more often than anybody does.
            environment: vec![("FOREBAY__RUN__PAYLOAD_ATTEMPTS".to_owned(), "0".to_owned())],
        };
        if on_s3() {
            return project.on(S3Server::shared().expect("whoever asks for S3 has installed it"));
        }
        project
    }

    /// The same project with its storage in a new bucket.
    pub(crate) fn on(mut self, server: &S3Server) -> Self {
        let url = format!("s3://{}/some/lake", server.bucket());
        self.environment.extend(server.variables());
        self.environment
            .push(("FOREBAY__STORAGE__URL".to_owned(), url));
        self
    }

    /// What commands of this project are told by the environment.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.environment.iter();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        self.write_bytes(path, text.as_bytes())
    }

    pub(crate) fn write_bytes(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::cargo_bin("forebay").unwrap();
        command
            .current_dir(self.path())
            .args(args)
            .envs(self.environment())
            .env_remove("FOREBAY_WORKSPACE")
            .env_remove("FOREBAY_PROJECT");
        command
    }

    /// Runs the binary; the test decides what its answer should be.
    pub(crate) fn run(&self, args: &[&str]) -> Answer {
        Answer::of(&self.command(args).output().unwrap())
    }

    /// Runs the binary, which must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> Answer {
        let answer = self.run(args);
        assert_eq!(answer.code, 0, "forebay {args:?} failed:\n{}", answer.err);
        answer
    }

    /// The only value of a query's answer.
    pub(crate) fn value(&self, statement: &str) -> String {
        let answer = self.ok(&["sql", statement, "--format", "csv"]);
        answer.out.lines().nth(1).unwrap_or_default().to_owned()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}
