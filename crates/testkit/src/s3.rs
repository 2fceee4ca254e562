//! A real S3 server for one test or for all tests of a process.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;

/// How long the server may take to answer.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// Ports tried before giving up: another process may take one first.
const PORTS_MAX: usize = 5;
/// Keeps the server for as long as this process holds the other end of its input: the system closes that end also
/// when the process is killed.
const GUARD: &str =
    r#""$@" & server=$!; cat >/dev/null; kill -9 $server; wait $server 2>/dev/null"#;

/// versitygw over a temporary folder, on a port of its own; removed on drop, or when the process dies.
#[derive(Debug)]
pub struct S3Server {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl S3Server {
    pub const ACCESS_KEY: &'static str = "forebay";
    pub const SECRET_KEY: &'static str = "forebay-secret";

    /// Whether there is a program to start; prints a line if not.
    pub fn is_installed() -> bool {
        program().is_some()
    }

    /// A server of its own; `None`, with a line on stderr, where `FOREBAY_TEST_S3` does not name the program.
    ///
    /// # Panics
    /// When the program does not come up.
    pub fn start() -> Option<Self> {
        let program = program()?;
        let folder = tempfile::Builder::new().prefix("forebay-s3-").tempdir();
        let folder = folder.expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join("data"))
            .expect("a folder of the server can be made");
        let mut server = Self {
            program,
            folder,
            port: 0,
            process: None,
        };
        for _ in 0..PORTS_MAX {
            server.port = free_port();
            if server.run() {
                return Some(server);
            }
        }
        panic!("the S3 server does not come up");
    }

    /// The one server that all tests of this process share.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<S3Server>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// A bucket with a name that no other test has.
    ///
    /// # Panics
    /// When the bucket cannot be made.
    pub fn bucket(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("bucket-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        // A folder is a bucket.
        std::fs::create_dir(self.files(&name)).expect("a bucket can be made");
        name
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `AWS_*` variables that lead to the server.
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL_S3", self.endpoint().as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", Self::ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", Self::SECRET_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// A client of a bucket.
    ///
    /// # Panics
    /// When no TLS provider is installed.
    pub fn client(&self, bucket: &str) -> Arc<dyn ObjectStore> {
        crate::install_crypto();
        let client = AmazonS3Builder::new()
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(Self::ACCESS_KEY)
            .with_secret_access_key(Self::SECRET_KEY)
            .with_bucket_name(bucket)
            .build();
        Arc::new(client.expect("the options are complete"))
    }

    /// Kills the server; its objects stay.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }

    /// Starts a stopped server again, at the same address.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_again(&mut self) {
        assert!(self.run(), "the S3 server does not come up again");
    }

    /// Starts the program; whether it answers.
    fn run(&mut self) -> bool {
        let data = self.folder.path().join("data");
        let process = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(&self.program)
            .args(["--quiet", "--health", "/health", "--port"])
            .arg(format!("127.0.0.1:{}", self.port))
            .args(["--access", Self::ACCESS_KEY, "--secret", Self::SECRET_KEY])
            .arg("posix")
            .arg(&data)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = process.ok();
        if is_healthy(self.port) {
            return true;
        }
        self.stop();
        false
    }

    /// Where the objects of a bucket lie as files, for tests that look behind the server.
    pub fn files(&self, bucket: &str) -> PathBuf {
        self.folder.path().join("data").join(bucket)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "test.sh passes its installed programs by the environment; a skipped test prints so"
)]
fn program() -> Option<PathBuf> {
    let program = std::env::var("FOREBAY_TEST_S3").ok().map(PathBuf::from);
    if program.is_none() {
        eprintln!("skipped: FOREBAY_TEST_S3 is not set (test.sh does)");
    }
    program
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("a bound socket").port()
}

#[expect(clippy::disallowed_methods, reason = "it waits for another process")]
fn is_healthy(port: u16) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < START_TIME_MAX {
        if answers(port).unwrap_or(false) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

fn answers(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer.ends_with(b" 200"))
}
