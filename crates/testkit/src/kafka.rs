//! A Kafka broker of a test's own: one node (broker and controller) on loopback, its data in a temporary folder.
//!
//! The jars come from the folder that `FOREBAY_TEST_KAFKA` names (`test.sh` installs them).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::keeper::{Kept, free_ports};

const JARS: &str = "FOREBAY_TEST_KAFKA";

/// A broker that runs, or one that a test has stopped.
#[derive(Debug)]
pub struct KafkaServer {
    port: u16,
    jars: String,
    kept: Kept,
}

impl KafkaServer {
    /// Starts a broker; `None`, with a line on stderr, where no Kafka is installed. `settings` are lines of its
    /// `server.properties`.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    pub fn start(settings: &[&str]) -> Option<Self> {
        let Some(jars) = std::env::var_os(JARS).map(PathBuf::from) else {
            eprintln!("skipped: {JARS} is not set (test.sh does): this test has checked nothing");
            return None;
        };
        let [port, controller] = free_ports();
        let mut server = Self {
            port,
            jars: format!("{}/*", jars.display()),
            kept: Kept::new("forebay-kafka-"),
        };
        server.format(controller, settings);
        server.start_again();
        Some(server)
    }

    /// One for all tests of a process; it ends with the process.
    pub fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<KafkaServer>> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&[])).as_ref()
    }

    /// `host:port`.
    pub fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The folder with the segments of a partition.
    pub fn segments(&self, topic: &str, partition: i32) -> PathBuf {
        self.data().join(format!("{topic}-{partition}"))
    }

    /// Ends it as its operators do: everything is on disk, and nothing is checked when it starts again.
    pub fn stop(&mut self) {
        self.kept.end("TERM");
    }

    /// Starts a broker that [`Self::stop`] has stopped, at the same address.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        let config = self.config();
        let mut broker = self.java(&["-Xmx512m"], "kafka.Kafka");
        self.kept.start(broker.arg(config), self.port);
    }

    fn data(&self) -> PathBuf {
        self.kept.folder().join("data")
    }

    fn config(&self) -> PathBuf {
        self.kept.folder().join("server.properties")
    }

    fn java(&self, options: &[&str], class: &str) -> Command {
        let mut java = Command::new("java");
        java.args(options);
        java.args(["-XX:TieredStopAtLevel=1", "-cp", &self.jars, class]);
        java
    }

    fn format(&self, controller: u16, settings: &[&str]) {
        let properties = properties(self.port, controller, &self.data(), settings);
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(self.config(), properties).expect("a new folder takes a file");
        let format = self
            .java(&[], "kafka.tools.StorageTool")
            .args(["format", "-t", "forebay-tests-00000000A", "-c"])
            .arg(self.config())
            .output()
            .expect("java can be started");
        assert!(
            format.status.success(),
            "{}",
            String::from_utf8_lossy(&format.stderr)
        );
    }
}

fn properties(port: u16, controller: u16, data: &Path, settings: &[&str]) -> String {
    format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
         log.dirs={}\nauto.create.topics.enable=false\n\
         offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n{}\n",
        data.display(),
        settings.join("\n"),
    )
}
