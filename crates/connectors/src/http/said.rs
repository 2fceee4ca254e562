//! Fields with which servers say, in a body with status 200, that they have no records but an error.

use super::end;
use super::json::{self, Path};

/// Top-level fields that mark a body as an error when they hold anything.
const ERROR_FIELDS: [&str; 2] = ["error", "errors"];

/// Top-level fields that mark a body as an error when they are false.
const SUCCESS_FIELDS: [&str; 2] = ["ok", "success"];

/// Top-level fields that mark a body as an error when they have one of these texts.
const STATUS_FIELDS: [&str; 2] = ["status", "result"];
const FAILED: [&str; 5] = ["error", "failed", "failure", "fail", "fault"];

/// Top-level fields with which an error is explained.
const EXPLANATIONS: [&str; 2] = ["message", "detail"];

/// Whether an object that may be the only record of its body is an error instead. Its status may be that of a job or an
/// order, unless a message comes with it.
pub(super) fn lone_object_says_error(text: &[u8]) -> bool {
    let paths = EXPLANATIONS.map(Path::new);
    let found = json::find(text, &paths.each_ref()).unwrap_or_default();
    let explains = found
        .into_iter()
        .flatten()
        .any(|at| text[at].starts_with(b"\""));
    says_no_success(text) || explains && says_error(text)
}

/// Whether a top-level field marks a body without records as an error.
pub(super) fn says_error(text: &[u8]) -> bool {
    says_no_success(text) || holds(text, STATUS_FIELDS, says_failed)
}

fn says_no_success(text: &[u8]) -> bool {
    let is_error = |token: &[u8]| token != b"0" && end::is_something(token);
    holds(text, ERROR_FIELDS, is_error) || holds(text, SUCCESS_FIELDS, is_false)
}

fn holds(text: &[u8], names: [&str; 2], is_error: fn(&[u8]) -> bool) -> bool {
    let paths = names.map(Path::new);
    let found = json::find(text, &paths.each_ref()).unwrap_or_default();
    let mut tokens = found.into_iter().flatten().map(|range| &text[range]);
    tokens.any(is_error)
}

/// Some servers write it as text.
fn is_false(token: &[u8]) -> bool {
    let text = json::scalar(token);
    token == b"false" || text.is_some_and(|text| text.eq_ignore_ascii_case("false"))
}

fn says_failed(token: &[u8]) -> bool {
    let text = json::scalar(token).filter(|_| token.first() == Some(&b'"'));
    text.is_some_and(|text| {
        FAILED
            .iter()
            .any(|failed| text.eq_ignore_ascii_case(failed))
    })
}
