//! A server process of a test in a temporary folder: both are removed when our process ends in any way.
//!
//! Independent of the kind of server.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// Ends the server when it reads a signal's name, which leaves the folder, or when the pipe to it closes.
const KEEPER: &str = r#"folder=$1; shift
"$@" >>"$folder/log" 2>&1 & server=$!
read -r signal
kill -${signal:-KILL} $server; wait $server
[ -n "$signal" ] || rm -rf "$folder""#;

/// The folder, and the process while one runs.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    keeper: Option<Child>,
}

impl Kept {
    /// A folder without a process.
    pub(crate) fn new(prefix: &str) -> Self {
        let folder = tempfile::TempDir::with_prefix(prefix);
        Self {
            folder: folder.expect("a temporary folder can be made").keep(),
            keeper: None,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts the process and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn start(&mut self, command: &Command, port: u16) {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&self.folder);
        keeper.arg(command.get_program()).args(command.get_args());
        let keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        self.keeper = Some(keeper.expect("sh can be started"));
        let mut waited = Duration::ZERO;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = self.folder.join("log");
            assert!(waited < START_TIMEOUT, "{:?}", std::fs::read_to_string(log));
            std::thread::sleep(POLL);
            waited += POLL;
        }
    }

    /// Ends the process with this signal (`TERM`, `KILL`) and waits until it has ended; the folder stays.
    pub(crate) fn end(&mut self, signal: &str) {
        if let Some(mut keeper) = self.keeper.take() {
            if let Some(mut pipe) = keeper.stdin.take() {
                writeln!(pipe, "{signal}").ok();
            }
            keeper.wait().ok();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The keeper of a running process does it, also when nobody is left to drop this.
        if self.keeper.is_none() {
            std::fs::remove_dir_all(&self.folder).ok();
        }
    }
}

/// Ports that nobody listens on.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}
