//! Keeps an S3 endpoint that is a name from leading to a metadata service.
//!
//! A literal address is refused before any request; a name is resolved here, before the first request to it, and refused
//! when it has a forbidden address. Requests to other hosts (the instance's own role) pass.

use std::fmt;
use std::net::IpAddr;

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use tokio::sync::OnceCell;

use crate::address::{Zone, zone};

/// Makes clients that check where `host` leads.
#[derive(Debug)]
pub(super) struct GuardedConnector {
    host: String,
}

impl GuardedConnector {
    /// `host` is that of the endpoint, as a URL has it; buckets may be names below it.
    pub(super) fn new(host: &str) -> Self {
        Self {
            host: host.to_ascii_lowercase(),
        }
    }
}

impl HttpConnector for GuardedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(GuardedService {
            host: self.host.clone(),
            inner,
            checked: OnceCell::new(),
        }))
    }
}

#[derive(Debug)]
struct GuardedService {
    host: String,
    inner: HttpClient,
    /// Set once the host has been found to be allowed.
    checked: OnceCell<()>,
}

#[async_trait]
impl HttpService for GuardedService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.to_ascii_lowercase().ends_with(&self.host) {
            let host = host.to_owned();
            self.checked.get_or_try_init(|| check_host(host)).await?;
        }
        self.inner.execute(request).await
    }
}

/// A name that does not resolve is left to the client, which tries again.
async fn check_host(host: String) -> Result<(), HttpError> {
    let Ok(found) = tokio::net::lookup_host((host.as_str(), 0)).await else {
        return Ok(());
    };
    match forbidden_address(found.map(|address| address.ip())) {
        None => Ok(()),
        Some(address) => Err(HttpError::new(
            HttpErrorKind::Unknown,
            ForbiddenEndpoint { host, address },
        )),
    }
}

fn forbidden_address(mut found: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    found.find(|address| zone(*address) == Zone::Forbidden)
}

/// An endpoint with a forbidden address.
#[derive(Debug)]
struct ForbiddenEndpoint {
    host: String,
    address: IpAddr,
}

impl fmt::Display for ForbiddenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        write!(
            f,
            "the endpoint {host} resolves to {address}, a link-local, metadata or reserved address, which is always refused"
        )
    }
}

impl std::error::Error for ForbiddenEndpoint {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_forbidden_address_of_a_name_is_enough() {
        let found = |all: &[&str]| {
            forbidden_address(all.iter().map(|address| address.parse::<IpAddr>().unwrap()))
        };
        assert_eq!(found(&["10.0.0.1", "127.0.0.1", "8.8.8.8", "::1"]), None);
        assert!(found(&["8.8.8.8", "169.254.169.254"]).is_some());
        assert!(found(&["fd00:ec2::254"]).is_some());
    }

    #[tokio::test]
    async fn a_host_is_refused_by_what_it_resolves_to() {
        let error = check_host("169.254.169.254".to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("always refused"), "{error}");
        assert!(check_host("localhost".to_owned()).await.is_ok());
    }
}
