//! A Kafka broker of a test's own: one node (broker and controller) on loopback, its data in a temporary folder.
//!
//! The jars come from the folder that `FOREBAY_TEST_KAFKA` names (`test.sh` installs them).

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const JARS: &str = "FOREBAY_TEST_KAFKA";
const START_TIMEOUT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// Ends the broker when the pipe to it closes, which it does however our process ends.
const KEEPER: &str = r#"folder=$1; shift
"$@" >>"$folder/log" 2>&1 & server=$!
read -r word
kill -KILL $server; wait $server
rm -rf "$folder""#;

/// A running broker.
#[derive(Debug)]
pub struct KafkaServer {
    port: u16,
    _keeper: Child,
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
        let folder = tempfile::TempDir::with_prefix("forebay-kafka-")
            .expect("a temporary folder can be made")
            .keep();
        let [port, controller] = free_ports();
        let properties = format!(
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
            folder.join("data").display(),
            settings.join("\n"),
        );
        let config = folder.join("server.properties");
        #[expect(clippy::disallowed_methods, reason = "a test's own file")]
        std::fs::write(&config, properties).expect("a new folder takes a file");
        let jars = format!("{}/*", jars.display());
        let format = Command::new("java")
            .args([
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &jars,
                "kafka.tools.StorageTool",
                "format",
            ])
            .args(["-t", "forebay-tests-00000000A", "-c"])
            .arg(&config)
            .output()
            .expect("java can be started");
        assert!(
            format.status.success(),
            "{}",
            String::from_utf8_lossy(&format.stderr)
        );
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&folder).arg("java");
        keeper
            .args([
                "-Xmx512m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                &jars,
                "kafka.Kafka",
            ])
            .arg(&config);
        let keeper = keeper
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("sh can be started");
        wait_until_ready(&folder, port);
        Some(Self {
            port,
            _keeper: keeper,
        })
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
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}

fn wait_until_ready(folder: &std::path::Path, port: u16) {
    let mut waited = Duration::ZERO;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = folder.join("log");
        assert!(waited < START_TIMEOUT, "{:?}", std::fs::read_to_string(log));
        std::thread::sleep(POLL);
        waited += POLL;
    }
}
