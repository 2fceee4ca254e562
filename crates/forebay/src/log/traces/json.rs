//! Spans as `ExportTraceServiceRequest` in JSON.
//!
//! Source: OpenTelemetry Protocol 1.5, "JSON Protobuf Encoding": ids are hex, 64-bit integers are text, enums are numbers.

use serde_json::{Value, json};

use super::{Finished, Place};

/// `SPAN_KIND_INTERNAL` and `SPAN_KIND_SERVER`.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;

/// `STATUS_CODE_UNSET` and `STATUS_CODE_ERROR`.
const UNSET: u8 = 0;
const ERROR: u8 = 2;

pub(super) fn encode(spans: &[Finished]) -> String {
    let resource = [
        attribute("service.name", &"forebay".into()),
        attribute("service.version", &env!("CARGO_PKG_VERSION").into()),
        attribute("process.pid", &std::process::id().into()),
    ];
    let spans: Vec<Value> = spans.iter().map(span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": "forebay"}, "spans": spans}],
    }]})
    .to_string()
}

fn span(span: &Finished) -> Value {
    let attributes = span.attributes.iter();
    let attributes: Vec<Value> = attributes
        .map(|(name, value)| attribute(name, value))
        .collect();
    let kind = if span.name == "request" {
        SERVER
    } else {
        INTERNAL
    };
    let mut shown = json!({
        "traceId": trace_id(span.place),
        "spanId": span_id(span.place.span),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": nanos(span.begun_us),
        "endTimeUnixNano": nanos(span.ended_us),
        "attributes": attributes,
        "status": match &span.error {
            Some(error) => json!({"code": ERROR, "message": error}),
            None => json!({"code": UNSET}),
        },
    });
    if let Some(parent) = span.parent {
        shown["parentSpanId"] = span_id(parent).into();
    }
    if let Some(link) = span.link {
        shown["links"] = json!([{"traceId": trace_id(link), "spanId": span_id(link.span)}]);
    }
    shown
}

fn trace_id(place: Place) -> String {
    format!("{:032x}", place.trace)
}

fn span_id(span: u64) -> String {
    format!("{span:016x}")
}

fn nanos(us: i64) -> String {
    (i128::from(us) * 1000).to_string()
}

fn attribute(name: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(is) => json!({"boolValue": is}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": name, "value": value})
}
