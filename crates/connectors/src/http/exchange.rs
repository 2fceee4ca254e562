//! One request: from the budget to a response or a failure.
//!
//! It goes through the budget, is sent to a checked address with the credentials of its own origin only, and is read
//! within the limits. A request that is no longer needed is not aborted: the server continues to work on a request
//! whose connection is closed, next to those that follow, so its permit is released only when it has been answered.
//! Deadlines of a connection are the network's and run on real time.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use forebay_core::{Error, ErrorKind, Result, Timestamp};
use reqwest::Response;
use reqwest::header::{HeaderMap, LOCATION};
use tokio::sync::oneshot;
use url::Url;

use super::address::{self, Refused};
use super::budget::Permit;
use super::end::EndRule;
use super::fetch::Fetcher;
use super::retry::{self, SOURCE_NOT_FOUND, Verdict};
use super::text::excerpt;
use crate::source::RequestRecord;
use forebay_config::SecretCover;

/// Bytes of an error response that are read, to show its beginning.
const ERROR_BODY_BYTES_MAX: usize = 4 << 10;

/// Work on more bytes than this runs on a blocking thread.
const BLOCKING_BYTES: usize = 64 << 10;

/// Error code for a compressed body that is truncated or corrupt.
const BODY_BROKEN: &str = "body_broken";

/// A response with a page in it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The URL after redirects, without the key.
    pub(super) url: Url,
    /// As received.
    pub(super) body: Bytes,
    /// The expanded body, when something depends on its content.
    pub(super) text: Option<Bytes>,
    pub(super) received_at: Timestamp,
}

/// Why a request returned no page.
pub(super) enum Failure {
    /// A retry may help; `asked` is the wait that the server requests.
    Passing {
        status: Option<u16>,
        code: &'static str,
        what: String,
        asked: Option<Duration>,
        source: Option<reqwest::Error>,
    },
    Final(Error),
}

/// The result of expanding a body.
enum Expanded {
    Text(Option<Bytes>),
    /// An empty body, which ends the pass by a rule of `end`.
    End,
}

/// The status of a response without a body.
pub(super) const NO_CONTENT: u16 = 204;

/// The outcome of one request.
pub(super) enum Outcome {
    Page(Box<Answer>),
    Moved(Url),
    Failed(Failure),
}

impl Fetcher {
    /// Sends exactly one request, within the budget.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        url: &Url,
        page: u64,
        attempt: u32,
    ) -> (RequestRecord, Outcome) {
        let permit = self.budget.acquire(&self.context.clock).await;
        let mut record = self.record(url, attempt);
        record.waited_us = micros(permit.waited);
        let unanswered = record.clone();
        let (wanted, brought) = oneshot::channel();
        tokio::spawn(Arc::clone(self).send(permit, url.clone(), page, record, wanted));
        brought.await.unwrap_or_else(|_| {
            let error = Error::unavailable("cancelled", "the run was cancelled");
            (unanswered, Outcome::Failed(Failure::Final(error)))
        })
    }

    /// Sends the request and holds its permit until it is answered or the run is cancelled.
    async fn send(
        self: Arc<Self>,
        permit: Permit,
        url: Url,
        page: u64,
        record: RequestRecord,
        wanted: oneshot::Sender<(RequestRecord, Outcome)>,
    ) {
        let done = tokio::select! {
            () = self.context.cancel.cancelled() => return,
            done = self.answer(&url, page, record) => done,
        };
        drop(permit);
        if let Err((mut record, _)) = wanted.send(done) {
            record.detail = Some("response discarded: no longer needed".to_owned());
            self.context.requests.record(record);
        }
    }

    async fn answer(
        &self,
        url: &Url,
        page: u64,
        mut record: RequestRecord,
    ) -> (RequestRecord, Outcome) {
        let start = self.context.clock.monotonic();
        let (sent, headers) = self.requests.dress(url);
        let outcome = match self.client.get(sent).headers(headers).send().await {
            Ok(response) => self.receive(response, url, page, &mut record).await,
            Err(error) => Outcome::Failed(self.broken(error, url)),
        };
        record.duration_us = micros(self.context.clock.monotonic().saturating_sub(start));
        if matches!(outcome, Outcome::Failed(_)) {
            record.outcome = "failed";
        }
        (record, outcome)
    }

    async fn receive(
        &self,
        mut response: Response,
        url: &Url,
        page: u64,
        record: &mut RequestRecord,
    ) -> Outcome {
        let status = response.status().as_u16();
        record.status = Some(status);
        let now = self.context.clock.now();
        if let Some(wait) = retry::exhausted(response.headers(), now) {
            // Bounded: for a longer wait the server must send a 429.
            self.budget
                .close_for(wait.min(self.config.retry.total.0), &self.context.clock)
                .await;
        }
        let verdict = retry::verdict(status);
        if verdict == Verdict::Redirect {
            return moved(&response, url);
        }
        let is_end =
            verdict == Verdict::Missing && page > 1 && self.config.end.has(&EndRule::NotFound);
        if !matches!(verdict, Verdict::Take | Verdict::Empty) && !is_end {
            let asked = retry::retry_after(response.headers(), now);
            let said = beginning(&mut response, &self.plan.cover).await;
            return Outcome::Failed(refused(verdict, status, &said, asked, page));
        }
        let headers = response.headers().clone();
        let mut answer = Answer {
            status,
            headers,
            url: self.requests.without_key(url),
            body: Bytes::new(),
            text: None,
            received_at: now,
        };
        if verdict != Verdict::Take {
            return Outcome::Page(Box::new(answer));
        }
        answer.body = match self.read(response, url, &mut record.bytes).await {
            Ok(body) => body,
            Err(failure) => return Outcome::Failed(failure),
        };
        answer.received_at = self.context.clock.now();
        match self.expand(&answer, page).await {
            Ok(Expanded::Text(text)) => answer.text = text,
            Ok(Expanded::End) => answer.status = NO_CONTENT,
            Err(error) if error.code() == BODY_BROKEN => {
                return Outcome::Failed(Failure::Passing {
                    status: None,
                    code: BODY_BROKEN,
                    what: error.message().to_owned(),
                    asked: None,
                    source: None,
                });
            }
            Err(error) => return Outcome::Failed(Failure::Final(error)),
        }
        Outcome::Page(Box::new(answer))
    }

    /// The body as text. A compressed one is read to its end, so that a truncated or corrupt one is requested again.
    async fn expand(&self, answer: &Answer, page: u64) -> Result<Expanded> {
        if answer.body.is_empty() && page > 1 && self.config.end.has(&EndRule::EmptyBody) {
            return Ok(Expanded::End);
        }
        let plan = Arc::clone(&self.plan);
        let headers = answer.headers.clone();
        let body = answer.body.clone();
        let expanded = blocking(body.len(), move || plan.expand(&headers, &body)).await;
        expanded.map(Expanded::Text)
    }

    async fn read(
        &self,
        mut response: Response,
        url: &Url,
        count: &mut u64,
    ) -> Result<Bytes, Failure> {
        let max = self.config.limits.body;
        let too_large = || {
            let message = format!("the body is larger than {max}");
            let hint = "request smaller pages, or raise `limits.body`";
            Failure::Final(Error::data("body_too_large", message).with_hint(hint))
        };
        let promised = response.content_length().unwrap_or(0);
        if promised > max.0 {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return Ok(body.freeze()),
                Err(error) => return Err(self.broken(error, url)),
            }
            *count = body.len() as u64;
            if *count > max.0 {
                return Err(too_large());
            }
        }
    }

    /// Classifies a connection error.
    fn broken(&self, error: reqwest::Error, url: &Url) -> Failure {
        if let Some(refused) = cause::<Refused>(&error) {
            return Failure::Final(address::refusal(refused, &self.private));
        }
        if let Some(rustls::Error::InvalidCertificate(reason)) = cause::<rustls::Error>(&error) {
            let message = format!("the server's certificate is not valid: {reason}");
            return Failure::Final(Error::unavailable("tls_certificate", message));
        }
        if url.scheme() == "https" && cause::<rustls::Error>(&error).is_some_and(is_no_tls) {
            return Failure::Final(self.no_tls(url));
        }
        if error.is_builder() {
            let message = "the request could not be built";
            return Failure::Final(
                Error::config("bad_request", message).with_source(error.without_url()),
            );
        }
        let limits = &self.config.limits;
        let what = match (error.is_timeout(), error.is_connect()) {
            (true, true) => format!("no connection within {}", limits.connect),
            (true, false) => format!(
                "no complete response within {}, or no data for {}",
                limits.time, limits.idle
            ),
            (false, true) => "no connection".to_owned(),
            (false, false) => "the connection broke".to_owned(),
        };
        Failure::Passing {
            status: None,
            code: "unreachable",
            what,
            asked: None,
            source: Some(error),
        }
    }

    fn no_tls(&self, url: &Url) -> Error {
        let host = url.host_str().unwrap_or_default();
        let message = format!("{host} does not respond with TLS, but the URL is https");
        let error = Error::unavailable("tls_expected", message);
        if self.config.url.starts_with("http:") {
            return error.with_hint(
                "`url` is plain http, but a link of the API is https: set `url` to https if the API supports it, or correct the \
                 base URL from which the API makes its links",
            );
        }
        error.with_hint("set `url` to http if the API does not encrypt")
    }
}

fn moved(response: &Response, url: &Url) -> Outcome {
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    match location.map(|location| url.join(location)) {
        Some(Ok(target)) => Outcome::Moved(target),
        _ => {
            let message = format!(
                "the server answered {} without a valid `Location`",
                response.status()
            );
            Outcome::Failed(Failure::Final(Error::unavailable("bad_redirect", message)))
        }
    }
}

/// The failure for a status without a page; `said` is the beginning of its body.
fn refused(
    verdict: Verdict,
    status: u16,
    said: &str,
    asked: Option<Duration>,
    page: u64,
) -> Failure {
    let message = format!("the server answered {status}{said}");
    let error = |kind, code| Error::new(kind, code, message.clone()).with_context("status", status);
    Failure::Final(match verdict {
        Verdict::Retry => {
            return Failure::Passing {
                status: Some(status),
                code: if status == 429 {
                    "rate_limited"
                } else {
                    "server_failed"
                },
                what: message,
                asked,
                source: None,
            };
        }
        Verdict::Denied => error(ErrorKind::Denied, "source_denied")
            .with_hint("check `auth` and the permissions of these credentials"),
        Verdict::Missing if page > 1 => error(ErrorKind::NotFound, SOURCE_NOT_FOUND)
            .with_hint("if the API answers this way after its last page, set `end: not_found`"),
        Verdict::Missing => error(ErrorKind::NotFound, SOURCE_NOT_FOUND).with_hint("check `url`"),
        Verdict::Wrong => error(ErrorKind::Config, "source_refused")
            .with_hint("check `params`, `paginate` and `cursor`"),
        Verdict::Unexpected if status == 206 => error(ErrorKind::Data, "partial_content")
            .with_hint(
                "a partial response cannot be distinguished from a complete one and was discarded",
            ),
        _ => error(ErrorKind::Data, "unexpected_status"),
    })
}

/// The beginning of an error response, to be shown after the status.
async fn beginning(response: &mut Response, cover: &SecretCover) -> String {
    let mut body = BytesMut::new();
    while body.len() < ERROR_BODY_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            _ => break,
        }
    }
    if body.is_empty() {
        String::new()
    } else {
        format!(": {}", excerpt(&body, cover))
    }
}

/// The first cause of type `T`; an `io::Error` hides the one it was made of.
fn cause<T: StdError + 'static>(error: &reqwest::Error) -> Option<&T> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(inner) = inner {
            next = Some(inner);
            continue;
        }
        next = error.source();
    }
    None
}

/// Whether a TLS error shows that the other side speaks another protocol.
fn is_no_tls(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidMessage(_))
}

/// Runs CPU work on `bytes` bytes where it blocks nothing else.
pub(super) async fn blocking<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes < BLOCKING_BYTES {
        return work();
    }
    let task = tokio::task::spawn_blocking(work);
    task.await
        .map_err(|error| Error::bug("body_task", "parsing a body panicked").with_source(error))?
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
