//! A file handle that is kept for when there is no other: callers are told that, and do not wait in the system's queue.

use std::fs::File;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// What the system says when the process, or the whole machine, has no file handle left: `EMFILE` and `ENFILE`.
const NO_HANDLE: [i32; 2] = [24, 23];

/// How long one caller is told, and how long a pause is when nobody can be.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(100);

/// What a caller gets.
const BODY: &str = r#"{"error":{"code":"no_file_handle","message":"the server has no file handle left for the connection","hint":"try again later"}}"#;

/// Whether a connection was refused since there is no file handle for it.
pub(super) fn is_out_of_handles(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|code| NO_HANDLE.contains(&code))
}

/// A handle that is given up for a moment to answer a caller.
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
            // Who is slow learns it from the end of the connection.
            let _ = timeout(REFUSAL_TIME_MAX, answer(stream)).await;
        }
        self.0 = File::open("/dev/null").ok();
    }
}

/// What was sent is read: a connection that is closed before would be reset, and the answer with it.
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
