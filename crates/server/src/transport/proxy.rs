//! The PROXY protocol, version 2: what a proxy that does not speak HTTP writes before the first byte of its client. Read by the door, from trusted
//! addresses only. The format is `PP2` in section 2.2 of haproxy's proxy-protocol.txt; version 1, which is text, is not read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length of the rest.
const HEAD_BYTES: usize = 16;
/// Of a whole header: the largest addresses (216 bytes), and as much again for the proxy's remarks, which are skipped.
const HEADER_BYTES_MAX: usize = 536;

/// Why a header is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("no PROXY protocol v2 header at its beginning; make the proxy send one, or unset proxy.protocol")]
    Missing,
    #[error("PROXY protocol header of {0} bytes; at most {HEADER_BYTES_MAX} are read")]
    TooLong(usize),
    #[error("PROXY protocol header with version and command {0:#04x}; known are 0x20 and 0x21")]
    Command(u8),
    #[error("PROXY protocol header with family {0:#04x} and {1} bytes of addresses")]
    Family(u8, usize),
    #[error("connection ended within its PROXY protocol header: {0}")]
    Ended(#[from] std::io::Error),
}

/// Reads a header, and not one byte more. None: the connection is the proxy's own, or its client has no IP address.
pub(crate) async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, ProxyError> {
    let mut header = [0; HEADER_BYTES_MAX];
    stream.read_exact(&mut header[..HEAD_BYTES]).await?;
    if !header.starts_with(SIGNATURE) {
        return Err(ProxyError::Missing);
    }
    let (command, family) = (header[12], header[13]);
    let end = HEAD_BYTES + usize::from(u16::from_be_bytes([header[14], header[15]]));
    let rest = header.get_mut(HEAD_BYTES..end).ok_or(ProxyError::TooLong(end))?;
    stream.read_exact(rest).await?;
    source(command, family, rest)
}

fn source(command: u8, family: u8, rest: &[u8]) -> Result<Option<IpAddr>, ProxyError> {
    match command {
        // LOCAL: the proxy asks whether somebody is there. What else the header says does not count.
        0x20 => return Ok(None),
        0x21 => {}
        other => return Err(ProxyError::Command(other)),
    }
    // The lower half is the transport: unspecified, stream or datagram.
    let source = match (family >> 4, rest.len()) {
        _ if family & 0xf > 2 => None,
        (0, _) | (3, 216..) => return Ok(None),
        (1, 12..) => rest.first_chunk().map(|bytes: &[u8; 4]| IpAddr::V4(Ipv4Addr::from(*bytes))),
        (2, 36..) => rest.first_chunk().map(|bytes: &[u8; 16]| IpAddr::V6(Ipv6Addr::from(*bytes))),
        _ => None,
    };
    source.map(Some).ok_or(ProxyError::Family(family, rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, [command, family].as_slice(), &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    #[tokio::test]
    async fn headers() {
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
        let v6: Vec<u8> = [0x20, 1, 0xd, 0xb8].into_iter().chain(std::iter::repeat_n(0, 32)).collect();
        let remarks = [v4.as_slice(), &[4, 0, 1, 7]].concat();
        let mapped = [[0; 10].as_slice(), &[0xff, 0xff, 203, 0, 113, 9], &[0; 20]].concat();
        let cases: Vec<(&str, Vec<u8>, Result<&str, &str>)> = vec![
            ("IPv4", header(0x21, 0x11, &v4), Ok("203.0.113.9")),
            ("datagrams", header(0x21, 0x12, &v4), Ok("203.0.113.9")),
            ("with remarks", header(0x21, 0x11, &remarks), Ok("203.0.113.9")),
            ("IPv6", header(0x21, 0x21, &v6), Ok("2001:db8::")),
            ("IPv4 as IPv6", header(0x21, 0x21, &mapped), Ok("::ffff:203.0.113.9")),
            ("LOCAL", header(0x20, 0, &[]), Ok("none")),
            ("LOCAL with an address", header(0x20, 0x11, &v4), Ok("none")),
            ("UNSPEC", header(0x21, 0, &[]), Ok("none")),
            ("UNSPEC with something", header(0x21, 0, &[1, 2, 3]), Ok("none")),
            ("Unix", header(0x21, 0x31, &[0; 216]), Ok("none")),
            ("as long as may be", header(0x21, 0x11, &[1; HEADER_BYTES_MAX - 16]), Ok("1.1.1.1")),
            ("too long", header(0x21, 0x11, &[1; HEADER_BYTES_MAX - 15]), Err("537 bytes")),
            ("65,535 bytes", header(0x20, 0, &[0; 65_535]), Err("at most 536")),
            ("IPv4, cut", header(0x21, 0x11, &v4[..11]), Err("family 0x11 and 11 bytes")),
            ("IPv6, cut", header(0x21, 0x21, &v6[..35]), Err("family 0x21 and 35 bytes")),
            ("no such family", header(0x21, 0x41, &v4), Err("family 0x41")),
            ("no such transport", header(0x21, 0x13, &v4), Err("family 0x13")),
            ("version 1", b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n".to_vec(), Err("no PROXY")),
            ("version 3", header(0x31, 0x11, &v4), Err("0x31")),
            ("no such command", header(0x22, 0x11, &v4), Err("0x22")),
            ("a request", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Err("no PROXY")),
            ("nothing", Vec::new(), Err("ended within")),
            ("half a header", header(0x21, 0x11, &v4)[..20].to_vec(), Err("ended within")),
        ];
        for (name, bytes, expected) in cases {
            let stream = [bytes.as_slice(), b"rest"].concat();
            let whole = expected.is_ok();
            let mut unread = if whole { stream.as_slice() } else { bytes.as_slice() };
            let read = read_header(&mut unread).await;
            match (&read, expected) {
                (Ok(source), Ok(words)) => {
                    assert_eq!(source.map_or("none".to_owned(), |source| source.to_string()), words, "{name}");
                    assert_eq!(unread, b"rest", "{name}");
                }
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{name}: {error}"),
                _ => panic!("{name}: {read:?}"),
            }
        }
    }
}
