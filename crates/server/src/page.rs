//! `GET /`: the pipelines as a page for people. Plain HTML, nothing from elsewhere, no script.

use std::fmt::Write;

use axum::extract::State as Shared;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use forebay_control::orchestrate::Status;
use forebay_pipeline::engine::Figures;

use crate::answer::text;
use crate::pipelines::schedule;
use crate::state::State;

/// Pipelines of the page; the API lists all.
const PIPELINES_MAX: usize = 1_000;

/// Characters of an error that are shown.
const ERROR_CHARS_MAX: usize = 500;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem}table{border-collapse:collapse}\
    td,th{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}\
    .n{text-align:right}.failed{color:#b00020}pre{white-space:pre-wrap;max-width:60rem}";

pub(crate) async fn show(Shared(state): Shared<State>) -> Response {
    let all = state.registry().all();
    let broken = state.registry().broken();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Forebay</title><style>{STYLE}</style>\
        <h1>Forebay</h1><table><tr><th>Pipeline<th>Schedule<th>Phase<th>Since<th class=\"n\">Rows committed\
        <th class=\"n\">Quarantined<th class=\"n\">Runs<th>Ingest path</tr>"
    );
    all.iter()
        .take(PIPELINES_MAX)
        .for_each(|status| row(status, &mut page));
    page.push_str("</table>");
    for status in &all {
        problem(status.pipeline.as_str(), status.error.as_deref(), &mut page);
        problem(&status.file, status.broken.as_deref(), &mut page);
    }
    for (file, why) in &broken {
        problem(file, Some(why), &mut page);
    }
    page.push_str("<p><a href=\"/v1/pipelines\">/v1/pipelines</a> · <a href=\"/metrics\">/metrics</a> · <a href=\"/openapi.json\">/openapi.json</a></p></html>\n");
    let headers = [
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, text("text/html; charset=utf-8", page)).into_response()
}

fn row(status: &Status, page: &mut String) {
    let name = escape(status.pipeline.as_str());
    let phase = serde_json::to_value(status.phase).unwrap_or_default();
    let phase = escape(phase.as_str().unwrap_or_default());
    let figures = &status.figures;
    let ingest = match status.spec.source.push() {
        Some(_) => format!("/v1/ingest/{name}"),
        None => String::new(),
    };
    let _ = write!(
        page,
        "<tr><td><a href=\"/v1/pipelines/{name}\">{name}</a><td>{}<td class=\"{phase}\">{phase}<td>{}\
        <td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td>{ingest}</tr>",
        escape(&schedule(status)),
        status.since,
        Figures::get(&figures.committed),
        Figures::get(&figures.quarantined),
        status.runs,
    );
}

fn problem(subject: &str, error: Option<&str>, page: &mut String) {
    if let Some(error) = error {
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        let subject = escape(subject);
        let error = escape(&error);
        let _ = write!(
            page,
            "<h2 class=\"failed\">{subject}</h2><pre>{error}</pre>"
        );
    }
}

/// Text that stays text, in an element and in an attribute.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_text() {
        let mut page = String::new();
        problem(
            "<b>",
            Some("<script>alert('x')</script>\" & 'y'"),
            &mut page,
        );
        assert!(
            !page.contains("<script>") && !page.contains("<b>"),
            "{page}"
        );
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{page}");
    }
}
