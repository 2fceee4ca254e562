//! Errors in the form that Iceberg's clients read: `{"error": {"message", "type", "code"}}`.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use forebay_core::{Error, ErrorKind};
use serde_json::json;

use crate::answer::{Told, status};

const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An error on its way to a client of the catalog.
#[derive(Debug)]
pub(crate) struct CatalogRefusal(pub(crate) Error);

impl From<Error> for CatalogRefusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

pub(super) type Answered = Result<Response, CatalogRefusal>;

/// Status and exception of an error. A client repeats a commit after 409, asks for its result after 500, and shows a person the rest.
fn kind_of(error: &Error) -> (StatusCode, &'static str) {
    match (error.kind(), error.code()) {
        (_, "no_such_namespace") => (StatusCode::NOT_FOUND, "NoSuchNamespaceException"),
        (_, "no_such_table") => (StatusCode::NOT_FOUND, "NoSuchTableException"),
        (_, "table_exists" | "namespace_exists" | "already_registered") => {
            (StatusCode::CONFLICT, "AlreadyExistsException")
        }
        (_, "namespace_not_empty") => (StatusCode::CONFLICT, "NamespaceNotEmptyException"),
        (_, "commit_unknown") => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "CommitStateUnknownException",
        ),
        (_, "table_read_only" | "table_in_use" | "foreign_host" | "foreign_origin") => {
            (StatusCode::FORBIDDEN, "ForbiddenException")
        }
        (_, "bad_properties") => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "UnprocessableEntityException",
        ),
        (ErrorKind::Denied, _) => (StatusCode::UNAUTHORIZED, "NotAuthorizedException"),
        (ErrorKind::NotFound, _) => (StatusCode::NOT_FOUND, "NotFoundException"),
        (ErrorKind::Conflict, _) => (StatusCode::CONFLICT, "CommitFailedException"),
        (ErrorKind::Unavailable, _) => (status(error), "ServiceUnavailableException"),
        (ErrorKind::Bug, _) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        (ErrorKind::Data | ErrorKind::Config | ErrorKind::Unsupported, _) => {
            (status(error), "BadRequestException")
        }
    }
}

impl IntoResponse for CatalogRefusal {
    fn into_response(self) -> Response {
        let error = self.0;
        let (status, exception) = kind_of(&error);
        let message = match error.hint() {
            Some(hint) => format!("{}: {hint}", error.message()),
            None => error.message().to_owned(),
        };
        let body =
            json!({"error": {"message": message, "type": exception, "code": status.as_u16()}});
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Told(Arc::new(error)));
        response
    }
}
