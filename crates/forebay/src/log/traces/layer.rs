//! Makes finished spans of the spans of `tracing`.

use std::sync::Arc;

use forebay_core::Clock;
use rand::Rng;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use super::{Finished, Place};
use crate::log::fields::Each;

/// The field of a span that carries a caller's `traceparent`; it is not exported as an attribute.
const PARENT: &str = "traceparent";

/// The field, without a value, of a span that begins a trace of its own, linked to the span that it is in.
const LINKED: &str = "linked";

/// Sends spans to the exporter as they end.
pub(crate) struct Traces {
    clock: Arc<dyn Clock>,
    out: mpsc::Sender<Finished>,
    ratio: f64,
}

impl Traces {
    pub(super) fn new(clock: Arc<dyn Clock>, out: mpsc::Sender<Finished>, ratio: f64) -> Self {
        Self { clock, out, ratio }
    }

    /// The ids of a new span, its parent and its link; `None` when its trace is not sent.
    fn place(
        &self,
        fields: &Fields,
        within: Option<Place>,
        is_inside: bool,
    ) -> Option<(Place, Option<u64>, Option<Place>)> {
        let mut rng = rand::rng();
        let span = rng.random_range(1..=u64::MAX);
        if let (false, Some(parent)) = (fields.is_linked, within) {
            let trace = parent.trace;
            return Some((Place { trace, span }, Some(parent.span), None));
        }
        if let Some((parent, is_sampled)) = fields.parent {
            let trace = parent.trace;
            return is_sampled.then_some((Place { trace, span }, Some(parent.span), None));
        }
        // A span inside one that is not sent is not sent either.
        if (is_inside && !fields.is_linked) || rng.random::<f64>() >= self.ratio {
            return None;
        }
        let trace = rng.random_range(1..=u128::MAX);
        Some((Place { trace, span }, None, within))
    }
}

/// A span that is sent, as far as it is known.
struct Open(Finished);

#[derive(Default)]
struct Fields {
    attributes: Vec<(&'static str, Value)>,
    parent: Option<(Place, bool)>,
    is_linked: bool,
}

impl Fields {
    fn visitor(&mut self) -> Each<impl FnMut(&'static str, Value)> {
        Each(|name: &'static str, value: Value| match name {
            PARENT => self.parent = value.as_str().and_then(traceparent),
            name => self.attributes.push((name, value)),
        })
    }
}

/// The parent that a caller names, and whether it sends its own spans.
///
/// Source: W3C Trace Context, "traceparent": `00-<32 hex>-<16 hex>-<2 hex>`.
fn traceparent(text: &str) -> Option<(Place, bool)> {
    let mut parts = text.split('-');
    let version = parts.next()?;
    let trace = parts.next()?;
    let span = parts.next()?;
    let flags = parts.next()?;
    let is_hex = |part: &str, length| {
        part.len() == length
            && part
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
    if !fits || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some((Place { trace, span }, flags & 1 == 1))
}

fn place_of<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<Place> {
    span.extensions().get::<Open>().map(|open| open.0.place)
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields {
            is_linked: attributes.fields().field(LINKED).is_some(),
            ..Fields::default()
        };
        attributes.record(&mut fields.visitor());
        let parent = span.parent();
        let within = parent.as_ref().and_then(place_of);
        let Some((place, parent, link)) = self.place(&fields, within, parent.is_some()) else {
            return;
        };
        let begun_us = self.clock.now().micros();
        span.extensions_mut().insert(Open(Finished {
            place,
            parent,
            link,
            name: span.name(),
            begun_us,
            ended_us: begun_us,
            attributes: fields.attributes,
            error: None,
        }));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(Open(open)) = span.extensions_mut().get_mut() {
            let mut fields = Fields::default();
            values.record(&mut fields.visitor());
            open.attributes.append(&mut fields.attributes);
        }
    }

    /// An event logged as an error ends the span that it is in.
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let Some(span) = context.event_span(event) else {
            return;
        };
        if let Some(Open(open)) = span.extensions_mut().get_mut() {
            let mut fields = Fields::default();
            event.record(&mut fields.visitor());
            let said = fields.attributes.iter();
            let said = said.filter(|(name, _)| ["message", "error"].contains(name));
            let said: Vec<String> = said
                .map(|(_, value)| {
                    value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned)
                })
                .collect();
            open.error = Some(said.join(": "));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        if let Some(Open(mut open)) = span.extensions_mut().remove() {
            open.ended_us = self.clock.now().micros();
            // A full queue costs spans and nothing else.
            let _ = self.out.try_send(open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_taken_only_when_it_is_well_formed() {
        let id = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let place = Place {
            trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
            span: 0xb7ad_6b71_6920_3331,
        };
        assert_eq!(traceparent(id), Some((place, true)));
        assert_eq!(traceparent(&id.replace("-01", "-00")), Some((place, false)));
        for bad in [
            "",
            "00-0-0-01",
            &id.to_uppercase(),
            &id.replace("00-", "ff-"),
            &format!("{id}-more"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }
}
