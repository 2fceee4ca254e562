//! A schema registry of a test's own: Apicurio Registry, which speaks Confluent's API, on loopback, its data in a temporary folder.
//!
//! The archive is unpacked in the folder that `FOREBAY_TEST_REGISTRY` names (`test.sh` installs it).

use std::path::PathBuf;
use std::process::Command;

use crate::keeper::{Kept, free_ports};

const FOLDER: &str = "FOREBAY_TEST_REGISTRY";

/// The API of Confluent's registry, version 7.
const API: &str = "apis/ccompat/v7";

/// A registry that runs, or one that a test has killed.
#[derive(Debug)]
pub struct RegistryServer {
    port: u16,
    program: PathBuf,
    kept: Kept,
}

impl RegistryServer {
    /// Starts a registry; `None`, with a line on stderr, where none is installed.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    pub fn start() -> Option<Self> {
        let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
            eprintln!("skipped: {FOLDER} is not set (test.sh does): this test has checked nothing");
            return None;
        };
        let [port] = free_ports();
        let mut server = Self {
            port,
            program: folder.join("registry.jar"),
            kept: Kept::new("forebay-registry-"),
        };
        server.start_again();
        Some(server)
    }

    /// Where clients find Confluent's API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/{API}", self.port)
    }

    /// Ends it as a power cut would; registered schemas stay.
    pub fn kill(&mut self) {
        self.kept.end("KILL");
    }

    /// Starts a registry that [`Self::kill`] has ended, at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        // H2 writes half a second behind otherwise, and forgets that when it is killed.
        let database = format!(
            "jdbc:h2:file:{}/schemas;WRITE_DELAY=0",
            self.kept.folder().display()
        );
        let mut java = Command::new("java");
        java.args(["-Xmx384m", "-XX:TieredStopAtLevel=1"]);
        java.args([
            "-Dquarkus.http.host=127.0.0.1".to_owned(),
            format!("-Dquarkus.http.port={}", self.port),
            format!("-Dquarkus.datasource.jdbc.url={database}"),
            "-Dquarkus.log.level=WARN".to_owned(),
        ]);
        java.arg("-jar").arg(&self.program);
        self.kept.start(&java, self.port);
    }
}
