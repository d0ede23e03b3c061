// SPDX-License-Identifier: Apache-2.0
//! Where a connection comes from, as far as fairness goes: who shares an origin shares its bounds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A unix socket of this machine; its file's mode says who may come.
    Local,
    /// One address.
    V4(Ipv4Addr),
    /// The first 64 bits: what lies behind them is one site's, which has as many addresses as it likes (RFC 6177).
    V6([u8; 8]),
}

impl From<SocketAddr> for Origin {
    fn from(address: SocketAddr) -> Self {
        // A socket for both families sees IPv4 as ::ffff:a.b.c.d.
        match address.ip().to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_its_own_and_a_site_is_one() {
        let origin = |text: &str| Origin::from(text.parse::<SocketAddr>().unwrap());
        assert_eq!(origin("[::ffff:10.0.0.1]:1"), origin("10.0.0.1:2"));
        assert_ne!(origin("10.0.0.1:1"), origin("10.0.0.2:1"));
        assert_eq!(origin("[2001:db8::1]:1"), origin("[2001:db8::ffff:2]:1"));
        assert_ne!(origin("[2001:db8::1]:1"), origin("[2001:db8:0:1::1]:1"));
    }
}
