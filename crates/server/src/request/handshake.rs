//! The WebSocket handshake (RFC 6455, section 4.2). Called by the acceptor once the route, the origin and the limits allow the
//! connection, with what it has accepted of the client's offers.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::{HeadError, RequestHead};

/// Appended to the client's key before hashing (RFC 6455, section 1.3).
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a client's key.
const KEY_BYTES: usize = 16;

/// Reads keys whose last character carries stray bits: some scripts send 24 random characters, and the value is only hashed.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// What an upgrade request must satisfy before it may be answered with 101. The version comes before the key, because clients
/// of other versions have no such key, and 426 tells them more.
pub fn check_upgrade(head: &RequestHead) -> Result<(), HeadError> {
    if head.method != "GET" {
        return Err(HeadError::Method(head.method.clone()));
    }
    if head.http_minor < 1 {
        return Err(HeadError::HttpVersion);
    }
    if !head.target.starts_with('/') {
        return Err(HeadError::Target);
    }
    if !head.has_token("connection", "upgrade") {
        return Err(HeadError::Connection);
    }
    if head.header("transfer-encoding").is_some() || head.header("content-length").is_some_and(|length| length != "0") {
        return Err(HeadError::Body);
    }
    if head.header("sec-websocket-version") != Some("13") {
        return Err(HeadError::WebsocketVersion);
    }
    let key = LENIENT.decode(head.header("sec-websocket-key").unwrap_or_default()).unwrap_or_default();
    if key.len() == KEY_BYTES { Ok(()) } else { Err(HeadError::Key) }
}

/// The 101 to a request that passed [`check_upgrade`]. `subprotocol` is one of those offered: browsers fail a connection whose
/// offer is not answered, and one that is answered without an offer, so stock dialects pass the first offer. `extensions`: what
/// [`accept_deflate`](super::accept_deflate) has accepted.
pub fn accept_response(head: &RequestHead, subprotocol: Option<&str>, extensions: Option<&str>) -> Vec<u8> {
    debug_assert!(
        subprotocol.is_none_or(|chosen| head.subprotocols().any(|offer| offer == chosen)),
        "a subprotocol that was not offered makes browsers close"
    );
    let accept = accept_value(head.header("sec-websocket-key").unwrap_or_default());
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n"
    );
    for (name, value) in [("sec-websocket-protocol", subprotocol), ("sec-websocket-extensions", extensions)] {
        if let Some(value) = value {
            response.push_str(name);
            response.push_str(": ");
            response.push_str(value);
            response.push_str("\r\n");
        }
    }
    response.push_str("\r\n");
    response.into_bytes()
}

fn accept_value(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(ACCEPT_SUFFIX.as_bytes());
    STANDARD.encode(hash.digest().bytes())
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const GOOD: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                        Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

    fn head(request: &str) -> RequestHead {
        parse(request.as_bytes()).expect("legal").expect("whole")
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let plain = head(GOOD);
        assert_eq!(check_upgrade(&plain), Ok(()));
        let expected = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(accept_response(&plain, plain.subprotocols().next(), None), expected.as_bytes());

        let offering = head(&GOOD.replace("Host:", "Sec-WebSocket-Protocol: chat, superchat\r\nHost:"));
        let expected = expected.replace("xOo=\r\n", "xOo=\r\nsec-websocket-protocol: chat\r\n");
        assert_eq!(accept_response(&offering, offering.subprotocols().next(), None), expected.as_bytes());

        let expected = expected.replace("chat\r\n", "chat\r\nsec-websocket-extensions: x\r\n");
        assert_eq!(accept_response(&offering, offering.subprotocols().next(), Some("x")), expected.as_bytes());
    }

    #[test]
    fn wrong_upgrades_are_refused_with_their_status() {
        let cases: &[(&str, &str, HeadError, u16)] = &[
            ("GET ", "POST ", HeadError::Method("POST".to_owned()), 405),
            ("HTTP/1.1", "HTTP/1.0", HeadError::HttpVersion, 400),
            ("/chat", "http://h/chat", HeadError::Target, 400),
            ("keep-alive, Upgrade", "keep-alive", HeadError::Connection, 400),
            ("Connection: keep-alive, Upgrade\r\n", "", HeadError::Connection, 400),
            ("Host:", "Content-Length: 3\r\nHost:", HeadError::Body, 400),
            ("Host:", "Transfer-Encoding: chunked\r\nHost:", HeadError::Body, 400),
            ("Version: 13", "Version: 8", HeadError::WebsocketVersion, 426),
            ("Sec-WebSocket-Version: 13\r\n", "", HeadError::WebsocketVersion, 426),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", HeadError::Key, 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!!!!!==", HeadError::Key, 400),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", HeadError::Key, 400),
        ];
        for (from, to, expected, status) in cases {
            let wrong = head(&GOOD.replace(from, to));
            assert!(wrong.is_upgrade());
            assert_eq!(check_upgrade(&wrong), Err(expected.clone()));
            let response = String::from_utf8(expected.response()).expect("text");
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response}");
        }
        let harmless = ["Content-Length: 0\r\n", "X-Extra: \t v\r\n", "Connection: upgrade\r\n"];
        for extra in harmless {
            assert_eq!(check_upgrade(&head(&GOOD.replace("Host:", &format!("{extra}Host:")))), Ok(()), "{extra}");
        }
        let lenient_key = GOOD.replace("25jZQ==", "25jZR==");
        assert_eq!(check_upgrade(&head(&lenient_key)), Ok(()));
    }
}
