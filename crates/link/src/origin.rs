//! Where a peer comes from, when peers of one place are to be counted.

use std::net::{IpAddr, Ipv6Addr};

/// The bits of an IPv6 address that name a network. Who has one has all addresses in it (RFC 6177).
const NETWORK: u128 = !0 << 64;

/// The address that stands for all that one host can have: an IPv4 address for itself, an IPv6 address for its /64.
#[must_use]
pub fn origin(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        // There is only one loopback address, and all of them are this machine.
        IpAddr::V6(ip) if !ip.is_loopback() => Ipv6Addr::from_bits(ip.to_bits() & NETWORK).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_are_one() {
        let same = |a: &str, b: &str| origin(a.parse().unwrap()) == origin(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.7", "192.0.2.7"));
        assert!(!same("192.0.2.7", "192.0.2.8"));
        assert!(!same("::1", "::2"));
    }
}
