//! Progress of a run: a line that moves on a terminal, one line every ten seconds elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::Clock;
use forebay_pipeline::engine::Figures;
use indicatif::{ProgressBar, ProgressStyle};

use crate::say;

const ON_TERMINAL: Duration = Duration::from_millis(100);
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Shows the figures of a run until dropped.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    task: tokio::task::JoinHandle<()>,
}

impl Progress {
    pub(crate) fn start(
        name: &str,
        figures: Arc<Figures>,
        clock: Arc<dyn Clock>,
        wanted: bool,
    ) -> Self {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| bar(name));
        let task = tokio::spawn(show(name.to_owned(), bar.clone(), figures, clock, wanted));
        Self { bar, task }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner:.cyan} {prefix:.bold} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner()
        .with_style(style)
        .with_prefix(name.to_owned());
    bar.enable_steady_tick(ON_TERMINAL);
    bar
}

async fn show(
    name: String,
    bar: Option<ProgressBar>,
    figures: Arc<Figures>,
    clock: Arc<dyn Clock>,
    wanted: bool,
) {
    let start = clock.monotonic();
    loop {
        clock
            .sleep(if bar.is_some() {
                ON_TERMINAL
            } else {
                ELSEWHERE
            })
            .await;
        let text = text(&figures, clock.monotonic().saturating_sub(start));
        match &bar {
            Some(bar) => bar.set_message(text),
            None if wanted => say::line(format_args!("{name}: {text}")),
            None => {}
        }
    }
}

fn text(figures: &Figures, elapsed: Duration) -> String {
    let rate = (figures.extract.rows() as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let mut text = format!(
        "{} requests, {} pulled, {} rows ({}/s), {} committed",
        say::count(Figures::get(&figures.requests)),
        say::bytes(figures.source.bytes()),
        say::count(figures.extract.rows()),
        say::count(rate),
        say::count(Figures::get(&figures.committed)),
    );
    let refused = Figures::get(&figures.quarantined);
    if refused > 0 {
        text.push_str(&format!(", {} quarantined", say::count(refused)));
    }
    text
}
