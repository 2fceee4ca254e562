//! The description of this API for programs. It is a file beside this one; a test holds it to the routes.

use axum::response::Response;

use crate::answer::text;

const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) async fn document() -> Response {
    text("application/json", DOCUMENT.to_owned())
}
