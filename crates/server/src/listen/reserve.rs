//! A reserved file handle for when no other is left: callers get an error and do not wait in the system's queue.

use std::fs::File;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// The system's errors when the process, or the whole machine, has no file handle left: `EMFILE` and `ENFILE`.
const NO_HANDLE: [i32; 2] = [24, 23];

/// Time limit to answer one caller, and the pause when none can be answered.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(100);

/// The response body.
const BODY: &str = r#"{"error":{"code":"no_file_handle","message":"the server has no file handle left for the connection","hint":"try again later"}}"#;

/// Whether a connection was refused for lack of a file handle.
pub(super) fn is_out_of_handles(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| NO_HANDLE.contains(&code))
}

/// A handle that is released for a moment to answer a caller.
#[derive(Debug)]
pub(super) struct ReservedHandle(Option<File>);

impl ReservedHandle {
    pub(super) fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Answers the caller that waits longest with 503; over TLS, where an answer would need a handshake, hangs up.
    pub(super) async fn refuse(&mut self, listener: &TcpListener, is_tls: bool) {
        if self.0.take().is_none() {
            sleep(REFUSAL_TIME_MAX).await;
        } else if let Ok(Ok((stream, _))) = timeout(REFUSAL_TIME_MAX, listener.accept()).await
            && !is_tls
        {
            // A slow caller only sees the connection close.
            let _ = timeout(REFUSAL_TIME_MAX, answer(stream)).await;
        }
        self.0 = File::open("/dev/null").ok();
    }
}

/// Reads the request first: a connection that is closed before would be reset, and the response lost.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let length = BODY.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n{BODY}"
    );
    let mut sent = [0; 4096];
    if stream.read(&mut sent).await? == 0 {
        return Ok(());
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut sent).await? > 0 {}
    Ok(())
}
