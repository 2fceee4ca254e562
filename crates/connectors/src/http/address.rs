//! Restricts the addresses that a source may connect to.
//!
//! A pipeline file, a redirect or a "next" link must not make Forebay connect to its own machine, to the network around
//! it or to the metadata service of a cloud. A literal address in a URL is checked here; a name is resolved once, all
//! its addresses are checked, and only those are connected to, so that a second response of the name server changes
//! nothing (DNS rebinding).

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use forebay_core::{Error, Result};
use forebay_objects::address::{Zone, zone};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Which private hosts may be connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PrivateHosts {
    None,
    /// This one, as written in a URL.
    Only(String),
    #[cfg_attr(
        not(feature = "kafka"),
        allow(dead_code, reason = "a schema registry may be anywhere")
    )]
    All,
}

impl PrivateHosts {
    /// The host of `base`, when private hosts are allowed.
    pub(super) fn of(base: &Url, allow_private: bool) -> Self {
        match base.host_str() {
            Some(host) if allow_private => Self::Only(normalized(host)),
            _ => Self::None,
        }
    }

    fn has(&self, host: &str) -> bool {
        match self {
            Self::None => false,
            Self::Only(only) => *only == normalized(host),
            Self::All => true,
        }
    }
}

fn normalized(host: &str) -> String {
    let host = host
        .trim_end_matches('.')
        .trim_start_matches('[')
        .trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_ascii_lowercase(),
    }
}

/// Whether a source may connect to `address`, an address of `host`.
fn is_allowed(host: &str, address: IpAddr, private: &PrivateHosts) -> bool {
    match zone(address) {
        Zone::Public => true,
        Zone::Private => private.has(host),
        Zone::Forbidden => false,
    }
}

/// Checks a URL without resolving it: the scheme, no user name, and that a literal address is allowed.
///
/// # Errors
/// `Config` for an invalid URL, `Denied` (`address_refused`) for a forbidden address.
pub(crate) fn check(url: &Url, private: &PrivateHosts) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("a source reads http and https, not `{}:`", url.scheme());
        return Err(Error::config("bad_url", message));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let error = Error::config(
            "credentials_in_url",
            "the URL contains a user name or password",
        );
        return Err(error
            .with_hint("write them as `auth: {basic: {username: …, password: \"${secret:…}\"}}`"));
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(Error::config("bad_url", "the URL has no host")),
    };
    let host = address.to_string();
    if is_allowed(&host, address, private) {
        return Ok(());
    }
    Err(refusal(&Refused { host, address }, private))
}

/// The error for a forbidden address.
pub(super) fn refusal(refused: &Refused, private: &PrivateHosts) -> Error {
    let error = Error::denied("address_refused", refused.to_string());
    error.with_hint(match (zone(refused.address), private) {
        (Zone::Private, PrivateHosts::None) => "to allow this address, set `allow_private: true` in the source",
        (Zone::Private, _) => "`allow_private` allows the host of `url` only; redirects and next links may lead to public hosts",
        _ => "link-local, metadata and reserved addresses are always refused",
    })
}

/// A host name or address that a source may not connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) host: String,
    pub(super) address: IpAddr,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if zone(self.address) == Zone::Private {
            "a private"
        } else {
            "a forbidden"
        };
        if self.host == self.address.to_string() {
            return write!(f, "{} is {kind} address", self.host);
        }
        write!(
            f,
            "{} resolves to {}, {kind} address",
            self.host, self.address
        )
    }
}

impl StdError for Refused {}

/// Resolves names with the system's resolver and rejects a name if any of its addresses is not allowed.
#[derive(Debug, Clone)]
pub(crate) struct CheckedResolver {
    pub(crate) private: PrivateHosts,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private.clone();
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if let Some(bad) = found
                .iter()
                .find(|address| !is_allowed(&host, address.ip(), &private))
            {
                let refused: Box<dyn StdError + Send + Sync> = Box::new(Refused {
                    host,
                    address: bad.ip(),
                });
                return Err(refused);
            }
            let found: Addrs = Box::new(found.into_iter());
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_refused_however_the_address_is_written() {
        let code = |url: &str, allow| {
            let url = Url::parse(url).unwrap();
            check(&url, &PrivateHosts::of(&url, allow)).map_err(|e| e.code())
        };
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert_eq!(code(url, false), Err("address_refused"), "{url}");
            assert_eq!(code(url, true), Ok(()), "{url}");
        }
        for url in [
            "http://169.254.169.254/latest/meta-data",
            "http://2852039166/",
            "http://[fd00:ec2::254]/",
        ] {
            assert_eq!(code(url, true), Err("address_refused"), "{url}");
        }
        assert_eq!(code("file:///etc/passwd", true), Err("bad_url"));
        assert_eq!(
            code("http://a:b@example.org/", true),
            Err("credentials_in_url")
        );
        assert_eq!(code("https://example.org/", false), Ok(()));
    }

    #[tokio::test]
    async fn a_name_is_refused_by_what_it_resolves_to() {
        let resolve = |private| CheckedResolver { private }.resolve("localhost".parse().unwrap());
        for private in [PrivateHosts::None, PrivateHosts::Only("intern".to_owned())] {
            let error = resolve(private).await.err().expect("localhost is private");
            assert!(error.is::<Refused>(), "{error}");
        }
        for private in [
            PrivateHosts::Only("localhost".to_owned()),
            PrivateHosts::All,
        ] {
            assert!(resolve(private).await.is_ok());
        }
    }

    #[test]
    fn allowing_a_private_host_opens_no_other() {
        let base = Url::parse("http://10.0.0.1:8080/x").unwrap();
        let private = PrivateHosts::of(&base, true);
        let code = |url: &str| check(&Url::parse(url).unwrap(), &private).map_err(|e| e.code());
        assert_eq!(code("http://10.0.0.1:9/"), Ok(()));
        for url in [
            "http://10.0.0.2/",
            "http://127.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.2]/",
        ] {
            assert_eq!(code(url), Err("address_refused"), "{url}");
        }
    }
}
