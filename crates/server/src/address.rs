//! The address that a connection counts as: that of its socket, or the one that a trusted proxy tells.
//!
//! Asked by `upgrade` for each first request. Only headers that come from a trusted address are believed, and of the two headers that proxies write
//! only the one that the operator has named: a proxy overwrites the header that it knows, and the other one may be the client's own invention.

use crate::config::ProxyConfig;
use crate::request::RequestHead;
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What is known of where a connection comes from. IPv4 addresses that are written as IPv6 ones are IPv4 addresses here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddress {
    /// An address.
    Ip(IpAddr),
    /// A process on this machine, on the other side of a Unix socket.
    Unix,
}

impl ClientAddress {
    /// What counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that name a network, as whoever has one has all of it.
    pub fn key(self) -> Self {
        match self {
            Self::Ip(IpAddr::V6(address)) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self::Ip(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            other => other,
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }
}

impl From<SocketAddr> for ClientAddress {
    fn from(address: SocketAddr) -> Self {
        address.ip().into()
    }
}

impl Display for ClientAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Addresses that are believed when they say whom they speak for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    networks: Vec<Network>,
    unix: bool,
}

impl Trusted {
    /// From addresses (`10.0.0.1`), networks (`10.0.0.0/8`, `fd00::/8`), and the word `unix`. `None` when one of them is something else.
    pub fn parse(items: &[String]) -> Option<Self> {
        let mut trusted = Self::default();
        for item in items {
            match item.as_str() {
                "unix" => trusted.unix = true,
                network => trusted.networks.push(Network::parse(network)?),
            }
        }
        Some(trusted)
    }

    /// True for nobody.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// True when what comes from this address is believed.
    pub fn contains(&self, address: ClientAddress) -> bool {
        match address {
            ClientAddress::Ip(address) => self.networks.iter().any(|network| network.contains(address)),
            ClientAddress::Unix => self.unix,
        }
    }
}

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let written: IpAddr = address.parse().ok()?;
        let bits = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            // Digits only: `parse` would take a sign.
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        let address = written.to_canonical();
        let mapped = if written.is_ipv6() && address.is_ipv4() { 96 } else { 0 };
        (mapped..=bits).contains(&prefix).then(|| Self { address, prefix: prefix - mapped })
    }

    fn contains(self, other: IpAddr) -> bool {
        let differ = match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= self.prefix
    }
}

/// The header in which proxies say for whom they speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardHeader {
    /// `X-Forwarded-For: CLIENT, PROXY`.
    XForwardedFor,
    /// `Forwarded: for=CLIENT, for=PROXY` (RFC 7239).
    Forwarded,
}

impl ForwardHeader {
    /// The headers by the names that operators write.
    pub const NAMED: &[(&str, Self)] = &[("x-forwarded-for", Self::XForwardedFor), ("forwarded", Self::Forwarded)];
}

/// The address that a request counts as. `socket`: where its connection comes from.
pub fn client_address(socket: ClientAddress, head: &RequestHead, proxy: &ProxyConfig) -> ClientAddress {
    if !proxy.trusted.contains(socket) {
        return socket;
    }
    match proxy.header {
        ForwardHeader::XForwardedFor => {
            let entries = head.header("x-forwarded-for").into_iter().flat_map(|value| value.rsplit(','));
            behind(socket, entries.map(node), &proxy.trusted)
        }
        ForwardHeader::Forwarded => {
            let elements = head.header("forwarded").into_iter().flat_map(|value| RightToLeft(value, ','));
            behind(socket, elements.map(forwarded_for), &proxy.trusted)
        }
    }
}

/// The first address, seen from this server, that is not a proxy's. What cannot be read ends the way, as anything could be to its left; the last
/// address on it counts then.
fn behind(socket: ClientAddress, entries: impl Iterator<Item = Option<IpAddr>>, trusted: &Trusted) -> ClientAddress {
    let mut nearest = socket;
    for entry in entries {
        let Some(address) = entry else {
            tracing::debug!(action = "http.address", %socket, counts_as = %nearest, "a forwarding header has no address where one belongs");
            return nearest;
        };
        nearest = address.into();
        if !trusted.contains(nearest) {
            return nearest;
        }
    }
    nearest
}

/// The address of one element of `Forwarded`: its parameter `for`, which has to be there once.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let is_for = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().to_owned())
    };
    let mut values = RightToLeft(element, ';').filter_map(is_for);
    let (value, None) = (values.next()?, values.next()) else { return None };
    match value.strip_prefix('"') {
        Some(quoted) => node(quoted.strip_suffix('"')?),
        None => node(&value),
    }
}

/// An address as proxies write it, with or without a port: `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`. Not `unknown`, and no name.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let is_port = |port: &str| {
        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    };
    if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return whole.then(|| IpAddr::V6(address).to_canonical());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = text.split_once(':')?;
    is_port(port).then(|| address.parse().ok().map(IpAddr::V4)).flatten()
}

/// The parts of a header between separators that are not within quotes, from the right: what the nearest proxy has written is there, and a quote
/// that the client has left open is to the left of it.
struct RightToLeft<'a>(&'a str, char);

impl<'a> Iterator for RightToLeft<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (mut quoted, whole) = (false, self.0);
        for (at, char) in whole.char_indices().rev() {
            if char == '"' && !(quoted && is_escaped(&whole[..at])) {
                quoted = !quoted;
            } else if char == self.1 && !quoted {
                self.0 = &whole[..at];
                return Some(&whole[at + 1..]);
            }
        }
        self.0 = "";
        Some(whole)
    }
}

fn is_escaped(before: &str) -> bool {
    before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::parse;

    fn trusted(items: &[&str]) -> Option<Trusted> {
        Trusted::parse(&items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>())
    }

    fn address(text: &str) -> ClientAddress {
        if text == "unix" { ClientAddress::Unix } else { text.parse::<IpAddr>().expect(text).into() }
    }

    #[test]
    fn networks_contain_addresses() {
        let cases: &[(&str, &str, bool)] = &[
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.0.0.128/25", "10.0.0.127", false),
            ("10.0.0.128/25", "10.0.0.129", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("0.0.0.0/0", "unix", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "203.0.113.9", false),
            ("fd00::/8", "fdff::1", true),
            ("fd00::/8", "fe80::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::/127", "2001:db8::2", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("::ffff:10.0.0.0/104", "10.1.1.1", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("unix", "unix", true),
            ("unix", "127.0.0.1", false),
        ];
        for (network, other, contains) in cases {
            let trusted = trusted(&[network]).expect(network);
            assert_eq!(trusted.contains(address(other)), *contains, "{network} {other}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "::/129",
            "::ffff:10.0.0.0/95",
            "10.0.0",
            "proxy",
            "Unix",
            "[::1]",
        ] {
            assert_eq!(trusted(&[bad]), None, "{bad}");
        }
        assert!(trusted(&[]).is_some_and(|nobody| nobody.is_empty()));
        assert!(!trusted(&["unix"]).is_some_and(|unix| unix.is_empty()));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_client() {
        let cases = [
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
            ("2001:db8:1:3::", "2001:db8:1:3::"),
            ("unix", "unix"),
        ];
        for (from, key) in cases {
            assert_eq!(address(from).key().to_string(), key, "{from}");
        }
    }

    /// Trusted are 10.0.0.0/8, fd00::/8 and the Unix socket.
    fn check(header: ForwardHeader, cases: &[(&str, &str, &str)]) {
        let trusted = trusted(&["10.0.0.0/8", "fd00::/8", "unix"]).expect("networks");
        let proxy = ProxyConfig { trusted, header, protocol: false };
        for (socket, lines, expected) in cases {
            let request = format!("GET / HTTP/1.1\r\n{}\r\n", lines.replace('|', "\r\n") + "\r\n");
            let head = parse(request.as_bytes()).expect(lines).expect("a whole head");
            assert_eq!(client_address(address(socket), &head, &proxy), address(expected), "{socket} {lines}");
        }
    }

    #[test]
    fn x_forwarded_for() {
        check(
            ForwardHeader::XForwardedFor,
            &[
                ("10.0.0.1", "A: b", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: 203.0.113.9", "203.0.113.9"),
                ("198.51.100.1", "X-Forwarded-For: 203.0.113.9", "198.51.100.1"),
                ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 203.0.113.9", "203.0.113.9"),
                ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
                ("10.0.0.1", "X-Forwarded-For: 1.1.1.1, 203.0.113.9,10.0.0.2 ,\t10.0.0.3", "203.0.113.9"),
                ("10.0.0.1", "X-Forwarded-For: 1.1.1.1|X-Forwarded-For: 203.0.113.9", "203.0.113.9"),
                ("10.0.0.1", "X-Forwarded-For: 10.0.0.3, 10.0.0.2", "10.0.0.3"),
                ("10.0.0.1", "X-Forwarded-For: 203.0.113.9:4711", "203.0.113.9"),
                ("10.0.0.1", "X-Forwarded-For: 2001:db8::1", "2001:db8::1"),
                ("10.0.0.1", "X-Forwarded-For: [2001:db8::1]", "2001:db8::1"),
                ("10.0.0.1", "X-Forwarded-For: [2001:db8::1]:4711, fd00::7", "2001:db8::1"),
                ("10.0.0.1", "X-Forwarded-For: ::ffff:203.0.113.9", "203.0.113.9"),
                ("10.0.0.1", "X-Forwarded-For: 203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"),
                ("::ffff:10.0.0.1", "X-Forwarded-For: 203.0.113.9", "203.0.113.9"),
                ("fd00::1", "X-Forwarded-For: 203.0.113.9", "203.0.113.9"),
                ("unix", "X-Forwarded-For: 203.0.113.9", "203.0.113.9"),
                ("unix", "A: b", "unix"),
                // What cannot be read ends the way.
                ("10.0.0.1", "X-Forwarded-For: unknown", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For:", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: 203.0.113.9, ", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: 203.0.113.9, what, 10.0.0.2", "10.0.0.2"),
                ("10.0.0.1", "X-Forwarded-For: 203.0.113.999", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: 203.0.113.9:", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: [2001:db8::1", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: [203.0.113.9]", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: fe80::1%eth0", "10.0.0.1"),
                // The other header is the client's own.
                ("10.0.0.1", "Forwarded: for=1.1.1.1", "10.0.0.1"),
                ("10.0.0.1", "Forwarded: for=1.1.1.1|X-Forwarded-For: 203.0.113.9", "203.0.113.9"),
            ],
        );
    }

    #[test]
    fn forwarded() {
        check(
            ForwardHeader::Forwarded,
            &[
                ("10.0.0.1", "A: b", "10.0.0.1"),
                ("10.0.0.1", "Forwarded: for=203.0.113.9", "203.0.113.9"),
                ("198.51.100.1", "Forwarded: for=203.0.113.9", "198.51.100.1"),
                ("10.0.0.1", "Forwarded: FOR=\"203.0.113.9:4711\"", "203.0.113.9"),
                ("10.0.0.1", "Forwarded: for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
                ("10.0.0.1", "Forwarded: for=\"[2001:db8::1]\";proto=https;by=10.0.0.1", "2001:db8::1"),
                ("10.0.0.1", "Forwarded: proto=https; For=203.0.113.9 ;by=_x", "203.0.113.9"),
                ("10.0.0.1", "Forwarded: for=\"203.0.113.9:_port\"", "203.0.113.9"),
                ("10.0.0.1", "Forwarded: for=1.1.1.1, for=203.0.113.9, for=10.0.0.2", "203.0.113.9"),
                ("10.0.0.1", "Forwarded: for=1.1.1.1|Forwarded: for=203.0.113.9", "203.0.113.9"),
                ("10.0.0.1", "Forwarded: for=203.0.113.9;by=\"a,b;for=1.1.1.1\"", "203.0.113.9"),
                ("10.0.0.1", "Forwarded: for=203.0.113.9;by=\"a\\\",for=1.1.1.1\"", "203.0.113.9"),
                // A quote that the client leaves open does not reach what the proxy has written.
                ("10.0.0.1", "Forwarded: for=\"1.1.1.1, for=203.0.113.9", "203.0.113.9"),
                ("10.0.0.1", "Forwarded: for=\"1.1.1.1, for=\"[2001:db8::1]\"", "2001:db8::1"),
                ("10.0.0.1", "Forwarded: for=1.1.1.1;x=\", for=10.0.0.2", "10.0.0.2"),
                ("10.0.0.1", "Forwarded: for=unknown", "10.0.0.1"),
                ("10.0.0.1", "Forwarded: for=_hidden, for=10.0.0.2", "10.0.0.2"),
                ("10.0.0.1", "Forwarded: for=1.1.1.1, proto=https", "10.0.0.1"),
                ("10.0.0.1", "Forwarded: for=1.1.1.1;for=2.2.2.2", "10.0.0.1"),
                ("10.0.0.1", "Forwarded: for=", "10.0.0.1"),
                ("10.0.0.1", "Forwarded: for=\"1.1.1.1", "10.0.0.1"),
                ("10.0.0.1", "Forwarded: X-Forwarded-For", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: 1.1.1.1", "10.0.0.1"),
                ("10.0.0.1", "X-Forwarded-For: 1.1.1.1|Forwarded: for=203.0.113.9", "203.0.113.9"),
            ],
        );
    }
}
