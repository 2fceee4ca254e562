//! Fetches one page, with retries and redirects.
//!
//! Transient failures are retried after waits that use the clock; redirects are followed to checked addresses only, and
//! every request is recorded. A single request is [`super::exchange`]'s.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::{Error, Result};
use reqwest::Client;
use url::Url;

use super::address::{self, CheckedResolver, PrivateHosts};
use super::body::Plan;
use super::budget::Budget;
use super::config::Config;
use super::exchange::{Answer, Failure, Outcome};
use super::request::Requests;
use super::retry::Waits;
use crate::source::{RequestLog, RequestRecord, SourceContext};

/// Most redirects that one request may follow.
const REDIRECTS_MAX: usize = 5;

pub(super) struct Fetcher {
    pub(super) config: Arc<Config>,
    pub(super) requests: Requests,
    pub(super) context: SourceContext,
    pub(super) plan: Arc<Plan>,
    pub(super) private: PrivateHosts,
    pub(super) client: Client,
    pub(super) budget: Arc<Budget>,
}

/// Redacts known secrets in the records of requests.
struct CoveredLog {
    plan: Arc<Plan>,
    log: Arc<dyn RequestLog>,
}

impl RequestLog for CoveredLog {
    fn record(&self, record: RequestRecord) {
        let cover = &self.plan.cover;
        self.log.record(RequestRecord {
            url: cover.cover(&record.url),
            detail: record.detail.map(|detail| cover.cover(&detail)),
            ..record
        });
    }
}

impl Fetcher {
    /// # Errors
    /// When the HTTP client cannot be created: no TLS provider, no root certificates.
    pub(super) fn new(
        config: Arc<Config>,
        budget: Arc<Budget>,
        context: SourceContext,
    ) -> Result<Self> {
        let requests = Requests::new(&config)?;
        let private = PrivateHosts::of(&config.base()?, config.allow_private);
        let client = client(&config, private.clone())?;
        let plan = Arc::new(Plan::new(&config, context.framing, context.is_json));
        let log = CoveredLog {
            plan: Arc::clone(&plan),
            log: Arc::clone(&context.requests),
        };
        let context = SourceContext {
            requests: Arc::new(log),
            ..context
        };
        Ok(Self {
            config,
            requests,
            context,
            plan,
            private,
            client,
            budget,
        })
    }

    pub(super) fn concurrency(&self) -> usize {
        self.budget.concurrency()
    }

    /// Fetches the page at `url`. Retries within the limits of `retry`; `page` seeds the jitter.
    ///
    /// # Errors
    /// `Unavailable` after the last attempt, `Denied` for 401 and 403 and for forbidden addresses, `Data` for responses
    /// that are not a page.
    pub(super) async fn get(self: &Arc<Self>, url: &Url, page: u64) -> Result<Answer> {
        let mut waits = Waits::new(&self.config.retry, self.context.seed ^ page.rotate_left(32));
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (mut record, failure) = match self.attempt(url, page, attempt).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => *failed,
            };
            let (status, code, what, asked, source) = match failure {
                Failure::Final(error) => {
                    record.detail = Some(error.to_string());
                    self.context.requests.record(record);
                    return Err(error.with_context("url", self.requests.shown(url)));
                }
                Failure::Passing {
                    status,
                    code,
                    what,
                    asked,
                    source,
                } => (status, code, what, asked, source),
            };
            let Some(wait) = waits.next(asked) else {
                record.detail = Some(what.clone());
                self.context.requests.record(record);
                let error = given_up(status, code, &what, attempt, asked);
                let error = error
                    .with_context("attempts", attempt)
                    .with_context("url", self.requests.shown(url));
                return Err(match source {
                    Some(source) => error.with_source(source.without_url()),
                    None => error,
                });
            };
            record.outcome = "retry";
            record.detail = Some(format!("{what}; waits {} ms", wait.as_millis()));
            self.context.requests.record(record);
            self.context.clock.sleep(wait).await;
        }
    }

    /// One attempt, following redirects. A failure includes the record of its last request, not yet written.
    async fn attempt(
        self: &Arc<Self>,
        url: &Url,
        page: u64,
        attempt: u32,
    ) -> Result<Answer, Box<(RequestRecord, Failure)>> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            let (mut record, outcome) = self.exchange(&url, page, attempt).await;
            match outcome {
                Outcome::Page(answer) => {
                    self.context.requests.record(record);
                    return Ok(*answer);
                }
                Outcome::Moved(target) => {
                    record.detail = Some(format!("moved to {}", self.requests.shown(&target)));
                    if let Err(error) = self.may_follow(&url, &target) {
                        return Err(failed(record, Failure::Final(error)));
                    }
                    self.context.requests.record(record);
                    url = target;
                }
                Outcome::Failed(failure) => return Err(failed(record, failure)),
            }
        }
        let message = format!(
            "more than {REDIRECTS_MAX} redirects, the last to {}",
            self.requests.shown(&url)
        );
        let error = Error::unavailable("redirect_limit", message)
            .with_hint("the server redirects in a loop");
        let mut record = self.record(&url, attempt);
        record.detail = Some("not requested: too many redirects".to_owned());
        Err(failed(record, Failure::Final(error)))
    }

    fn may_follow(&self, from: &Url, to: &Url) -> Result<()> {
        if from.scheme() == "https" && to.scheme() == "http" {
            let message = format!(
                "the server redirects to {}, without encryption",
                self.requests.shown(to)
            );
            return Err(Error::denied("redirect_refused", message));
        }
        self.check_address(to)
    }

    /// # Errors
    /// `address_refused`, `bad_url`, `credentials_in_url` for a URL that a server may not redirect to.
    pub(super) fn check_address(&self, url: &Url) -> Result<()> {
        address::check(url, &self.private)
    }

    pub(super) fn record(&self, url: &Url, attempt: u32) -> RequestRecord {
        RequestRecord {
            at: self.context.clock.now(),
            method: "GET".to_owned(),
            url: self.requests.shown(url),
            status: None,
            attempt,
            duration_us: 0,
            bytes: 0,
            outcome: "ok",
            detail: None,
            waited_us: 0,
        }
    }
}

fn failed(mut record: RequestRecord, failure: Failure) -> Box<(RequestRecord, Failure)> {
    record.outcome = "failed";
    Box::new((record, failure))
}

fn client(config: &Config, private: PrivateHosts) -> Result<Client> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(Error::bug(
            "no_crypto_provider",
            "no TLS provider is installed: the program must install one first",
        ));
    }
    let limits = &config.limits;
    let client = Client::builder()
        .dns_resolver(CheckedResolver { private })
        // Redirects are followed here, where every address is checked and credentials are removed; a proxy would
        // resolve names itself and bypass that check.
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(limits.time.0)
        .connect_timeout(limits.connect.0)
        .read_timeout(limits.idle.0)
        .retry(reqwest::retry::never())
        .build();
    client.map_err(|error| {
        Error::unavailable("http_client", "failed to create the HTTP client").with_source(error)
    })
}

fn given_up(
    status: Option<u16>,
    code: &'static str,
    what: &str,
    attempts: u32,
    asked: Option<Duration>,
) -> Error {
    let wait = asked
        .map(|asked| format!("; the server requests a wait of {} s", asked.as_secs()))
        .unwrap_or_default();
    let times = if attempts == 1 {
        "1 attempt".to_owned()
    } else {
        format!("{attempts} attempts")
    };
    let error = Error::unavailable(code, format!("gave up after {times}: {what}{wait}"));
    let error = error.with_hint("the next run resumes from this page");
    match status {
        Some(status) => error.with_context("status", status),
        None => error,
    }
}
