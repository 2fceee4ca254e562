//! Which addresses a source may reach.
//!
//! A pipeline file, a redirect or a "next" link must not make Forebay ask the machine it runs on, the network behind
//! it or the metadata service of a cloud. A literal address in a URL is checked here; a name is resolved once, every
//! address it has is checked, and exactly those addresses are connected to, so that a second answer of the name
//! server changes nothing.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use forebay_core::{Error, Result};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// What an address is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    Public,
    /// This machine or its network: allowed by `allow_private`.
    Private,
    /// Link-local (where clouds keep their metadata), multicast, unspecified: never asked.
    Forbidden,
}

/// IPv4 networks that are not the public internet, and what they are.
const NETWORKS_V4: [(Ipv4Addr, u8, Zone); 15] = [
    (Ipv4Addr::new(127, 0, 0, 0), 8, Zone::Private),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Zone::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Zone::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Zone::Private),
    // Alibaba's metadata service lies inside carrier-grade NAT: first match counts.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Zone::Forbidden),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Zone::Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Zone::Private),
    (Ipv4Addr::new(0, 0, 0, 0), 8, Zone::Forbidden),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Zone::Forbidden),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Zone::Forbidden),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Zone::Forbidden),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Zone::Forbidden),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Zone::Forbidden),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Zone::Forbidden),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Zone::Forbidden),
];

pub(super) fn zone(address: IpAddr) -> Zone {
    match address {
        IpAddr::V4(address) => zone_v4(address),
        IpAddr::V6(address) => zone_v6(address),
    }
}

fn zone_v4(address: Ipv4Addr) -> Zone {
    let inside = |network: Ipv4Addr, bits: u8| {
        ipnet::Ipv4Net::new(network, bits).is_ok_and(|network| network.contains(&address))
    };
    let found = NETWORKS_V4
        .iter()
        .find(|(network, bits, _)| inside(*network, *bits));
    found.map_or(Zone::Public, |(_, _, zone)| *zone)
}

fn zone_v6(address: Ipv6Addr) -> Zone {
    let parts = address.segments();
    if let Some(inner) = embedded_v4(parts) {
        return zone_v4(inner);
    }
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 1] => Zone::Private,
        // Amazon's metadata service over IPv6.
        [0xfd00, 0x0ec2, ..] => Zone::Forbidden,
        [first, ..] if first & 0xfe00 == 0xfc00 => Zone::Private,
        // Only 2000::/3 is given out; Teredo and the documentation network lie inside it.
        [0x2001, 0, ..] | [0x2001, 0x0db8, ..] => Zone::Forbidden,
        [first, ..] if first & 0xe000 == 0x2000 => Zone::Public,
        _ => Zone::Forbidden,
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped, compatible, NAT64, 6to4.
fn embedded_v4(parts: [u16; 8]) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match parts {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(join(high, low))
        }
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Whether a source may connect to `address`.
pub(super) fn allowed(address: IpAddr, allow_private: bool) -> bool {
    match zone(address) {
        Zone::Public => true,
        Zone::Private => allow_private,
        Zone::Forbidden => false,
    }
}

/// Checks what a URL shows by itself: scheme, no user in it, a host that is allowed if it is an address.
///
/// # Errors
/// `Config` for a URL of the wrong form, `Denied` (`address_refused`) for an address that may not be asked.
pub(crate) fn check(url: &Url, allow_private: bool) -> Result<()> {
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("a source reads http and https, not `{}:`", url.scheme());
        return Err(Error::config("bad_url", message));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let error = Error::config(
            "credentials_in_url",
            "the URL holds a user name or password",
        );
        return Err(error
            .with_hint("write them as `auth: {basic: {username: …, password: \"${secret:…}\"}}`"));
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) => return Ok(()),
        None => return Err(Error::config("bad_url", "the URL names no host")),
    };
    if allowed(address, allow_private) {
        Ok(())
    } else {
        Err(refusal(&Refused {
            host: address.to_string(),
            address,
        }))
    }
}

/// The error for an address that may not be asked.
pub(super) fn refusal(refused: &Refused) -> Error {
    let error = Error::denied("address_refused", refused.to_string());
    match zone(refused.address) {
        Zone::Private => {
            error.with_hint("if this host is meant, write `allow_private: true` in the source")
        }
        _ => error.with_hint("link-local, metadata and reserved addresses are never asked"),
    }
}

/// A name or address that leads where no source may go.
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

/// Resolves names with the system's resolver and refuses a name with any address that is not allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckedResolver {
    pub(crate) allow_private: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            if let Some(bad) = found
                .iter()
                .find(|address| !allowed(address.ip(), allow_private))
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
    fn addresses_fall_into_zones() {
        for (zones, addresses) in [
            (
                Zone::Public,
                &[
                    "8.8.8.8",
                    "172.32.0.1",
                    "2606:4700::1111",
                    "::ffff:8.8.8.8",
                    "2002:808:808::1",
                ][..],
            ),
            (
                Zone::Private,
                &[
                    "127.0.0.1",
                    "10.1.2.3",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "100.64.0.1",
                    "::1",
                    "fc00::1",
                    "fd12::1",
                    "::ffff:127.0.0.1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::7f00:1",
                    "2002:7f00:1::",
                ],
            ),
            (
                Zone::Forbidden,
                &[
                    "169.254.169.254",
                    "0.0.0.0",
                    "0.1.2.3",
                    "100.100.100.200",
                    "192.0.0.192",
                    "224.0.0.1",
                    "255.255.255.255",
                    "fe80::1",
                    "fec0::1",
                    "ff02::1",
                    "::",
                    "fd00:ec2::254",
                    "2001:db8::1",
                    "2001::1",
                    "::ffff:169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                    "2002:a9fe:a9fe::",
                    "64:ff9b:1::1",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(zone(address.parse().unwrap()), zones, "{address}");
            }
        }
    }

    #[test]
    fn a_url_is_refused_however_the_address_is_written() {
        let code = |url: &str, allow| check(&Url::parse(url).unwrap(), allow).map_err(|e| e.code());
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
        let resolve =
            |allow_private| CheckedResolver { allow_private }.resolve("localhost".parse().unwrap());
        let error = resolve(false).await.err().expect("localhost is private");
        assert!(error.is::<Refused>(), "{error}");
        assert!(resolve(true).await.is_ok());
    }
}
