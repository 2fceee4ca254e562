//! Ctrl-C while a statement runs: the first one cancels the statement, the second one ends the process.
//!
//! A thread of its own listens: a statement may hold all threads of the runtime until its end.

use forebay_core::{Error, Result};
use forebay_query::QueryCancellation;
use tokio_util::sync::CancellationToken;

/// Exit code of a process that SIGINT ends, as shells report it.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs a statement that Ctrl-C cancels.
pub(super) async fn cancellable<T>(
    run: impl AsyncFnOnce(QueryCancellation) -> Result<T>,
) -> Result<T> {
    let cancellation = QueryCancellation::default();
    let ended = CancellationToken::new();
    let _guard = ended.clone().drop_guard();
    spawn_listener(cancellation.clone(), ended)?;
    run(cancellation).await
}

fn spawn_listener(cancellation: QueryCancellation, ended: CancellationToken) -> Result<()> {
    let failed = |error| {
        Error::unavailable("no_thread", "failed to start a thread for Ctrl-C").with_source(error)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let thread = std::thread::Builder::new().name("ctrl-c".to_owned());
    let listen = move || {
        runtime.block_on(ended.run_until_cancelled(listen(cancellation)));
    };
    thread.spawn(listen).map(drop).map_err(failed)
}

#[expect(
    clippy::exit,
    reason = "the statement does not react, and holds the thread that would return"
)]
async fn listen(cancellation: QueryCancellation) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    cancellation.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(EXIT_INTERRUPTED);
    }
}
