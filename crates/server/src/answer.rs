//! Errors as answers: one shape, one table from kind and code to status.

use std::sync::Arc;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use forebay_core::{Error, ErrorKind};
use serde::Serialize;

/// After how many seconds a refused push is worth another try.
const RETRY_SECONDS: &str = "1";

/// Characters of a caller's text that are shown or logged.
const SHOWN_CHARS_MAX: usize = 200;

/// An error on its way to a caller.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The status of an error. Errors of the caller are 4xx; temporary ones are 429 or 503, with the time to retry.
pub(crate) fn status(error: &Error) -> StatusCode {
    match (error.kind(), error.code()) {
        (_, "push_too_large" | "ratio_exceeded") => StatusCode::PAYLOAD_TOO_LARGE,
        (_, "bad_encoding") => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        (_, "key_reused") => StatusCode::CONFLICT,
        (_, "slow_push") => StatusCode::REQUEST_TIMEOUT,
        (_, "journal_backlog" | "disk_full" | "keys_full" | "journal_busy" | "server_busy") => {
            StatusCode::TOO_MANY_REQUESTS
        }
        // The push is valid; the server has to be repaired, or continues with another journal.
        (_, "journal_taken" | "journal_lost" | "journal_corrupt" | "journal_open") => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        (_, "too_many_failures") => StatusCode::TOO_MANY_REQUESTS,
        (_, "bad_transfer_encoding") => StatusCode::NOT_IMPLEMENTED,
        (_, "no_such_method") => StatusCode::METHOD_NOT_ALLOWED,
        (_, "foreign_host" | "foreign_origin") => StatusCode::FORBIDDEN,
        (ErrorKind::Denied, _) => StatusCode::UNAUTHORIZED,
        (ErrorKind::NotFound, _) => StatusCode::NOT_FOUND,
        (ErrorKind::Conflict, _) => StatusCode::CONFLICT,
        (ErrorKind::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (ErrorKind::Data | ErrorKind::Config | ErrorKind::Unsupported, _) => {
            StatusCode::BAD_REQUEST
        }
        (ErrorKind::Bug, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The error behind a response, for the log.
#[derive(Debug, Clone)]
pub(crate) struct Told(pub(crate) Arc<Error>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = self.0;
        let status = status(&error);
        let body = serde_json::json!({"error": {
            "code": error.code(),
            "message": error.message(),
            "hint": error.hint(),
        }});
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if error.code() == "status_denied" {
            // With this a browser asks for it: any name, and the token as the password.
            let basic = HeaderValue::from_static("Basic realm=\"Forebay status\"");
            headers.append(WWW_AUTHENTICATE, basic);
        }
        response.extensions_mut().insert(Told(Arc::new(error)));
        response
    }
}

pub(crate) async fn no_such_path(uri: Uri) -> Refusal {
    let what = format!("`{}` not found", shorten(uri.path()));
    let hint = "GET / shows the pipelines, GET /openapi.json describes every path";
    Refusal(Error::not_found("no_such_path", what).with_hint(hint))
}

pub(crate) async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let path = shorten(uri.path());
    let what = format!("`{path}` does not accept {}", shorten(method.as_str()));
    let hint = match path {
        "/" => "GET shows the pipelines, POST accepts calls of AWS clients",
        path if path.starts_with("/v1/ingest/") => "send pushes with POST",
        _ => "use GET; GET /openapi.json describes every path",
    };
    Refusal(Error::unsupported("no_such_method", what).with_hint(hint))
}

/// As much of a text of a caller as is shown or logged.
pub(crate) fn shorten(text: &str) -> &str {
    let end = text.char_indices().nth(SHOWN_CHARS_MAX);
    end.map_or(text, |(end, _)| &text[..end])
}

/// Plain text of this type.
pub(crate) fn text(kind: &'static str, body: String) -> Response {
    ([(CONTENT_TYPE, kind)], body).into_response()
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(body) => text("application/json", body),
        Err(error) => {
            let bug = Error::bug("answer", "failed to write an answer").with_source(error);
            Refusal(bug).into_response()
        }
    }
}
