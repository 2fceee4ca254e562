//! A Postgres server of a test's own: its data in a temporary folder, reached by a socket in it, removed on drop.
//!
//! It syncs to the disk as a real one does. The programs come from the folder that `FOREBAY_TEST_POSTGRES` names
//! (`test.sh` installs them).

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

const PROGRAMS: &str = "FOREBAY_TEST_POSTGRES";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Ends the server when the pipe to it closes, which it does however our process ends. `keep` leaves the data.
const KEEPER: &str = r#"folder=$1; shift
"$@" >>"$folder/log" 2>&1 & server=$!
read -r word
kill -QUIT $server; wait $server
[ "$word" = keep ] || rm -rf "$folder""#;

/// A running server, or one that a test has stopped.
#[derive(Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    programs: PathBuf,
    keeper: Option<Child>,
}

impl PostgresServer {
    /// Makes a cluster and starts it; `None`, with a line on stderr, where no Postgres is installed.
    ///
    /// # Panics
    /// When it does not start.
    #[expect(clippy::print_stderr, reason = "a test that skips says so")]
    pub fn start() -> Option<Self> {
        let Some(programs) = std::env::var_os(PROGRAMS).map(PathBuf::from) else {
            eprintln!(
                "skipped: {PROGRAMS} is not set (test.sh does): this test has checked nothing"
            );
            return None;
        };
        let folder = TempDir::with_prefix("forebay-pg-").expect("a temporary folder can be made");
        let mut server = Self {
            folder: folder.keep(),
            programs,
            keeper: None,
        };
        server.make();
        server.start_again();
        Some(server)
    }

    /// One for all tests of a process; it ends with the process.
    pub fn shared() -> Option<&'static Self> {
        static SERVER: OnceLock<Option<PostgresServer>> = OnceLock::new();
        SERVER.get_or_init(Self::start).as_ref()
    }

    /// `postgres://…` of its one database; parameters may follow after `&`.
    pub fn url(&self) -> String {
        format!(
            "postgres://postgres@localhost/postgres?host={}",
            self.folder.display()
        )
    }

    /// The output of `psql` for these statements, unaligned and without headers, lines without the last newline.
    ///
    /// # Panics
    /// When a statement fails.
    pub fn sql(&self, statements: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements])
            .arg(self.url())
            .stdin(Stdio::null())
            .output()
            .expect("psql can be started");
        let out = &output.stdout;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statements}: {errors}");
        String::from_utf8_lossy(out).trim_end().to_owned()
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(".s.PGSQL.5432")
    }

    fn make(&self) {
        let data = self.folder.join("data");
        std::fs::create_dir(&data).expect("a new folder is empty");
        let made = self
            .program("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb can be started");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }

    /// Starts a server that [`Self::stop`] has stopped, and waits until it takes connections.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        let ready = self.folder.join("data/postmaster.pid");
        std::fs::remove_file(&ready).ok();
        let server = self.program("postgres");
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&self.folder);
        keeper.arg(server.get_program()).args(server.get_args());
        keeper.arg("-D").arg(self.folder.join("data"));
        for setting in [
            "listen_addresses=",
            "max_connections=300",
            "shared_buffers=32MB",
        ] {
            keeper.args(["-c", setting]);
        }
        keeper.arg("-k").arg(&self.folder);
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null());
        self.keeper = Some(keeper.spawn().expect("sh can be started"));
        let mut waited = Duration::ZERO;
        while !std::fs::read_to_string(&ready).is_ok_and(|text| text.contains("ready")) {
            let log = self.folder.join("log");
            assert!(waited < START_TIMEOUT, "{:?}", std::fs::read_to_string(log));
            std::thread::sleep(POLL);
            waited += POLL;
        }
    }

    /// Ends it at once, as a crash does (`pg_ctl stop -m immediate`); its data stay.
    pub fn stop(&mut self) {
        self.end("keep\n");
    }

    fn end(&mut self, word: &str) {
        if let Some(mut keeper) = self.keeper.take() {
            if let Some(mut pipe) = keeper.stdin.take() {
                pipe.write_all(word.as_bytes()).ok();
            }
            keeper.wait().ok();
        }
    }

    /// Postgres refuses to run as root. In a user namespace it is root's process by another name, which may pass
    /// through the folders above its programs.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        if !is_ours_by_root(&self.folder) {
            return Command::new(program);
        }
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-user=65534", "--map-group=65534"])
            .arg(program);
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.end("remove\n");
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// Whether root has made the folder, and so runs this process.
fn is_ours_by_root(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.uid() == 0)
}
