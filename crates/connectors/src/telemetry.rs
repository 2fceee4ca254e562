//! Sends the telemetry of the process to a collector. Never record data.

use std::time::Duration;

use forebay_core::{Clock, Error, Result, Secret};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode, Url};

/// Timeout of a request to the collector.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Attempts per batch before it is dropped: telemetry must not accumulate.
const TRIES_MAX: u32 = 3;

/// The pause before a batch is sent again.
const PAUSE: Duration = Duration::from_secs(1);

/// A collector that accepts JSON.
#[derive(Debug, Clone)]
pub struct Collector {
    client: Client,
    url: Url,
    headers: HeaderMap,
}

impl Collector {
    /// Errors: `Config` `bad_collector` for an invalid http or https URL, or an invalid header.
    pub fn new(url: &str, headers: &[(String, Secret)]) -> Result<Self> {
        let url = Url::parse(url).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| bad("the collector URL is not a valid http or https URL"))?;
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            let named = HeaderName::from_bytes(name.as_bytes());
            let mut value = HeaderValue::from_str(value.expose())
                .map_err(|_| bad(&format!("invalid value of the header `{name}`")))?;
            value.set_sensitive(true);
            all.insert(
                named.map_err(|_| bad(&format!("invalid header name `{name}`")))?,
                value,
            );
        }
        let client = Client::builder()
            .timeout(TIME_MAX)
            .build()
            .map_err(|error| {
                Error::unavailable("no_client", "failed to create the HTTP client")
                    .with_source(error)
            })?;
        Ok(Self {
            client,
            url,
            headers: all,
        })
    }

    /// Sends one batch, with a few retries on transient failures.
    ///
    /// Errors: `Unavailable` `collector_failed`; the batch should then be dropped.
    pub async fn send(&self, body: String, clock: &dyn Clock) -> Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            let request = self
                .client
                .post(self.url.clone())
                .headers(self.headers.clone());
            let request = request.header(CONTENT_TYPE, "application/json");
            let failed = match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) if !is_passing(answer.status()) => {
                    return Err(failed(&format!("it answered {}", answer.status())));
                }
                Ok(answer) => failed(&format!("it answered {}", answer.status())),
                Err(error) => failed("no response").with_source(error.without_url()),
            };
            if tries == TRIES_MAX {
                return Err(failed);
            }
            clock.sleep(PAUSE).await;
        }
    }
}

/// Statuses that the OTLP specification calls retryable.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn bad(what: &str) -> Error {
    Error::config("bad_collector", what)
        .with_hint("correct `[otlp]` in forebay.toml, or OTEL_EXPORTER_OTLP_ENDPOINT")
}

fn failed(why: &str) -> Error {
    Error::unavailable(
        "collector_failed",
        format!("failed to send traces to the collector: {why}"),
    )
}
