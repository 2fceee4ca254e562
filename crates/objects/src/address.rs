//! Classes of IP addresses: public, private, or always refused.
//!
//! A URL that somebody else wrote must not make Forebay reach the metadata service of a cloud, which hands out credentials to
//! the caller that connects. Pure; the caller resolves names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names under which clouds know their metadata service.
const METADATA_NAMES: [&str; 4] = [
    "instance-data",
    "instance-data.ec2.internal",
    "metadata",
    "metadata.google.internal",
];

/// The class of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    Public,
    /// This machine or its network.
    Private,
    /// Link-local (where clouds keep their metadata), multicast, unspecified: never connected to.
    Forbidden,
}

/// IPv4 networks that are not the public internet, with their class.
const NETWORKS_V4: [(Ipv4Addr, u8, Zone); 16] = [
    (Ipv4Addr::new(127, 0, 0, 0), 8, Zone::Private),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Zone::Private),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Zone::Private),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Zone::Private),
    // Alibaba's metadata service is inside carrier-grade NAT: first match counts.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Zone::Forbidden),
    // Azure's metadata and configuration service has a public address.
    (Ipv4Addr::new(168, 63, 129, 16), 32, Zone::Forbidden),
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

/// The zone of an address.
pub fn zone(address: IpAddr) -> Zone {
    match address {
        IpAddr::V4(address) => zone_v4(address),
        IpAddr::V6(address) => zone_v6(address),
    }
}

fn zone_v4(address: Ipv4Addr) -> Zone {
    let found = NETWORKS_V4.iter().find(|(network, bits, _)| {
        let mask = u32::MAX << (32 - u32::from(*bits));
        u32::from(address) & mask == u32::from(*network)
    });
    found.map_or(Zone::Public, |(_, _, zone)| *zone)
}

fn zone_v6(address: Ipv6Addr) -> Zone {
    let parts = address.segments();
    if let Some(inner) = embedded_v4(parts) {
        return zone_v4(inner);
    }
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 1] => Zone::Private,
        // The metadata services of Amazon, Google and Scaleway over IPv6.
        [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, ..] | [0xfd00, 0x0042, ..] => Zone::Forbidden,
        [first, ..] if first & 0xfe00 == 0xfc00 => Zone::Private,
        // Only 2000::/3 is given out; Teredo and the documentation network lie inside it.
        [0x2001, 0, ..] | [0x2001, 0x0db8, ..] => Zone::Forbidden,
        [first, ..] if first & 0xe000 == 0x2000 => Zone::Public,
        _ => Zone::Forbidden,
    }
}

/// The IPv4 address embedded in an IPv6 address: mapped, compatible, NAT64, 6to4.
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

/// Whether the host of a URL, as it is written there, is a metadata service or another forbidden address.
pub fn is_forbidden_host(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare
        .parse()
        .ok()
        .or_else(|| number(bare).map(|n| IpAddr::V4(Ipv4Addr::from(n))));
    match address {
        Some(address) => zone(address) == Zone::Forbidden,
        None => METADATA_NAMES.contains(&bare),
    }
}

/// An IPv4 address written as one number, as URLs allow.
fn number(host: &str) -> Option<u32> {
    match host.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => host.parse().ok(),
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
                    "168.63.129.16",
                    "::ffff:168.63.129.16",
                    "fd20:ce::254",
                    "fd00:42::42",
                    "169.254.170.2",
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
    fn a_metadata_service_is_known_however_it_is_written() {
        for host in [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "Metadata.Google.Internal.",
        ] {
            assert!(is_forbidden_host(host), "{host}");
        }
        for host in [
            "127.0.0.1",
            "minio",
            "s3.eu-west-1.amazonaws.com",
            "10.0.0.7",
            "[::1]",
        ] {
            assert!(!is_forbidden_host(host), "{host}");
        }
    }
}
