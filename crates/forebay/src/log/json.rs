//! The log for machines: each event is one line of JSON.
//!
//! `{"time": "…Z", "level": "warn", "target": "forebay_server::observe", "message": "…", "fields": {…}, "span": {…}}`. `span` holds the
//! fields of all spans that the event is in, the inner ones over the outer ones: `pipeline`, `run`, `split`, `commit`.

use std::io::Write;
use std::sync::Arc;

use forebay_core::Clock;
use serde_json::{Map, Value};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::fields::Each;
use crate::output::visible::is_hidden;

/// Writes events as lines to the writer that `out` opens.
pub(super) struct Lines<F> {
    clock: Arc<dyn Clock>,
    out: F,
}

impl<F> Lines<F> {
    pub(super) fn new(clock: Arc<dyn Clock>, out: F) -> Self {
        Self { clock, out }
    }
}

/// Fields of a span or an event.
#[derive(Debug, Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn visitor(&mut self) -> Each<impl FnMut(&'static str, Value)> {
        Each(|name: &'static str, value: Value| {
            self.0.insert(name.to_owned(), value);
        })
    }
}

impl<S, F, W> Layer<S> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: Fn() -> W + 'static,
    W: Write,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields.visitor());
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(&mut fields.visitor());
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields.visitor());
        let mut span = Map::new();
        for outer in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(more)) = outer.extensions().get::<Fields>() {
                for (name, value) in more {
                    span.entry(name).or_insert_with(|| value.clone());
                }
            }
        }
        let metadata = event.metadata();
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value);
        put("time", self.clock.now().to_string().into());
        put("level", metadata.level().as_str().to_lowercase().into());
        put("target", metadata.target().into());
        put(
            "message",
            fields.0.shift_remove("message").unwrap_or_default(),
        );
        put("fields", fields.0.into());
        put("span", span.into());
        let mut text = escaped(&Value::Object(line).to_string());
        text.push('\n');
        // A log that cannot be written is nobody's error.
        let _ = (self.out)().write_all(text.as_bytes());
    }
}

/// JSON allows characters that control a terminal; here they are escaped, with the same meaning.
fn escaped(json: &str) -> String {
    if !json.contains(is_hidden) {
        return json.to_owned();
    }
    json.chars().fold(String::new(), |mut text, c| {
        if is_hidden(c) {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use forebay_core::Timestamp;
    use forebay_testkit::FakeClock;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_with_its_fields_and_spans() {
        let kept = Kept::default();
        let out = kept.clone();
        let clock = FakeClock::manual(Timestamp(1_700_000_000_123_456));
        let lines = Lines::new(clock, move || out.clone());
        let subscriber = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let run = tracing::error_span!("run", pipeline = "a", n = 1);
            let _run = run.enter();
            let commit = tracing::error_span!("commit", n = 2, rows = tracing::field::Empty);
            commit.record("rows", 7);
            let _commit = commit.enter();
            tracing::warn!(
                who = "x\r\n\u{1b}[31m\u{9b}\u{202e}",
                ok = true,
                "bad\nthing"
            );
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let line = text.trim_end_matches('\n');
        assert!(!line.contains(is_hidden), "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "time": "2023-11-14T22:13:20.123456Z",
            "level": "warn",
            "target": "forebay::log::json::tests",
            "message": "bad\nthing",
            "fields": {"who": "x\r\n\u{1b}[31m\u{9b}\u{202e}", "ok": true},
            "span": {"n": 2, "rows": 7, "pipeline": "a"},
        });
        assert_eq!(line, expected);
    }
}
