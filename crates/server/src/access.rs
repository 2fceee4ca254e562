//! Authorization: which hosts a request may name, and which callers may see the state of the pipelines.
//!
//! A server that only its own machine reaches shows its state to every program there. But a browser is such a program, and any page
//! in it can send requests: the name in `Host` shows a page that got here by DNS rebinding, `Origin` one that sends from elsewhere.
//! Beyond loopback the state needs the status token. Pushes are authorized by each pipeline's `auth`.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_core::{Error, Result, Secret};

use crate::answer::shorten;
use crate::credentials::{credentials, is_same};

/// How the server is reached, and the resulting rights.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether only this machine reaches it.
    pub is_local: bool,
    /// Names of this server besides its loopback addresses, such as the one that a proxy on this machine is reached by.
    pub hosts: Vec<String>,
    /// The token for the state of the pipelines.
    pub status_token: Option<Secret>,
    /// The token for the catalog of tables.
    pub catalog_token: Option<Secret>,
}

impl Access {
    /// Errors: `Denied` `foreign_host`, `foreign_origin`.
    pub(crate) fn check_origin(&self, headers: &HeaderMap, uri: &Uri) -> Result<()> {
        if !self.is_local {
            return Ok(());
        }
        let host = host(headers, uri);
        if let Some(host) = host.filter(|host| !self.is_ours(name_of(host))) {
            let what = format!("the request is for the host `{}`", shorten(host));
            return Err(Error::denied("foreign_host", what).with_hint(
                "send it to 127.0.0.1 or localhost, or add the name to `hosts` of `[server]`",
            ));
        }
        let Some(origin) = headers.get(ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is_named = authority.is_some_and(|authority| {
            let name = name_of(authority);
            self.hosts
                .iter()
                .any(|host| host.eq_ignore_ascii_case(name))
        });
        if is_named || authority.is_some() && authority == host {
            return Ok(());
        }
        let what = format!("a page of `{}` may not send requests here", shorten(origin));
        Err(Error::denied("foreign_origin", what)
            .with_hint("add the page's host to `hosts` of `[server]` if it is yours"))
    }

    fn is_ours(&self, name: &str) -> bool {
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback());
        is_loopback
            || name.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|host| host.eq_ignore_ascii_case(name))
    }

    /// Errors: `Denied` `status_denied`.
    pub(crate) fn check_status(&self, headers: &HeaderMap) -> Result<()> {
        let Some(token) = &self.status_token else {
            if self.is_local {
                return Ok(());
            }
            let what = "the state of the pipelines is shown beyond loopback only with a token";
            return Err(Error::denied("status_denied", what).with_hint(
                "set `status_token = \"${secret:NAME}\"` in `[server]` of forebay.toml, and send it as `Authorization: Bearer TOKEN`",
            ));
        };
        if shown(headers).is_some_and(|shown| is_same(token, &shown)) {
            return Ok(());
        }
        let what = "the state of the pipelines needs the status token";
        Err(Error::denied("status_denied", what)
            .with_hint("send `Authorization: Bearer TOKEN` with `status_token` of `[server]`"))
    }

    /// Errors: `Denied` `catalog_denied`.
    pub(crate) fn check_catalog(&self, headers: &HeaderMap) -> Result<()> {
        let Some(token) = &self.catalog_token else {
            if self.is_local {
                return Ok(());
            }
            let what = "the catalog is open beyond loopback only with a token";
            return Err(Error::denied("catalog_denied", what).with_hint(
                "set `catalog_token = \"${secret:NAME}\"` in `[server]` of forebay.toml, and give it to the client as its token",
            ));
        };
        if credentials(headers, "Bearer").is_some_and(|shown| is_same(token, shown)) {
            return Ok(());
        }
        Err(
            Error::denied("catalog_denied", "the catalog needs its token")
                .with_hint("send `Authorization: Bearer TOKEN` with `catalog_token` of `[server]`"),
        )
    }
}

/// `Bearer TOKEN`, or the password of `Basic`, which browsers prompt for.
fn shown(headers: &HeaderMap) -> Option<String> {
    if let Some(token) = credentials(headers, "Bearer") {
        return Some(token.to_owned());
    }
    let pair = STANDARD.decode(credentials(headers, "Basic")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    pair.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// `Host`, or the authority of an HTTP/2 request.
pub(crate) fn host<'r>(headers: &'r HeaderMap, uri: &'r Uri) -> Option<&'r str> {
    let named = headers.get(HOST).map(|host| host.to_str().unwrap_or("?"));
    named.or_else(|| uri.authority().map(|authority| authority.as_str()))
}

/// The name in `NAME:PORT`.
fn name_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>) -> Result<()> {
        let access = Access {
            is_local: true,
            hosts: vec!["lake.example".to_owned()],
            status_token: None,
            catalog_token: None,
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        access.check_origin(&headers, &Uri::from_static("/"))
    }

    #[test]
    fn a_page_of_another_host_is_refused_on_loopback() {
        for host in [
            "localhost:7400",
            "127.0.0.1:7400",
            "127.9.9.9",
            "[::1]:7400",
            "LOCALHOST",
            "lake.example:443",
        ] {
            check(host, None).unwrap();
            check(host, Some(&format!("http://{host}"))).unwrap();
            check(host, Some("https://lake.example")).unwrap();
            for origin in [
                "http://evil.example",
                "null",
                "",
                "http://localhost:1",
                "http://127.0.0.1.evil.example",
            ] {
                assert_eq!(
                    check(host, Some(origin)).unwrap_err().code(),
                    "foreign_origin",
                    "{host} {origin}"
                );
            }
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "10.0.0.1:7400",
            "[fe80::1]",
            "0.0.0.0:7400",
            "",
        ] {
            assert_eq!(
                check(host, None).unwrap_err().code(),
                "foreign_host",
                "{host}"
            );
        }
    }
}
