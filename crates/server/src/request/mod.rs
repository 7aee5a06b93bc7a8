//! The first request of a connection: its head is parsed here, so that an upgrade never enters an HTTP library. Called by the
//! socket's acceptor with the bytes it has so far; what is no upgrade goes to the HTTP service with the same bytes. Does no I/O
//! and has no clock: the deadline for a complete head is the acceptor's.

mod extensions;
mod handshake;
mod response;
mod target;

use std::fmt;

pub use extensions::accept_deflate;
pub use handshake::{accept_response, check_upgrade};
pub use response::{error_response, json_response, text_response};
pub(crate) use response::{json_string, refusal_response, request_id, upgrade_required, with_headers};
pub use target::{ROOM_NAME_BYTES_MAX, RoomNameError, check_room_name, percent_decode, y_websocket_room};
pub(crate) use target::{decode_pair, form_value};

/// Bytes of a request head. Browsers send 1 to 2 KiB; cookies and a JWT in the URL make it 8. Above that, headers are an attack
/// on memory before anybody has logged in.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Headers of a request: a browser behind two proxies sends about 30.
pub const HEADERS_MAX: usize = 64;

/// What happens to a header that comes more than once.
#[derive(Clone, Copy)]
enum Repeat {
    /// The values form one list.
    Join(&'static str),
    /// Two values would mean that a proxy and we read different ones.
    Refuse,
}

/// The headers that are kept, in lower case. All others are skipped, whatever they contain.
const KEPT: &[(&str, Repeat)] = &[
    ("host", Repeat::Refuse),
    ("origin", Repeat::Refuse),
    ("authorization", Repeat::Refuse),
    ("x-nano-key", Repeat::Refuse),
    ("cookie", Repeat::Join("; ")),
    ("connection", Repeat::Join(", ")),
    ("upgrade", Repeat::Join(", ")),
    ("content-length", Repeat::Refuse),
    ("transfer-encoding", Repeat::Join(", ")),
    ("sec-websocket-key", Repeat::Refuse),
    ("sec-websocket-version", Repeat::Refuse),
    ("sec-websocket-protocol", Repeat::Join(", ")),
    ("sec-websocket-extensions", Repeat::Join(", ")),
    ("x-forwarded-for", Repeat::Join(", ")),
    ("x-forwarded-proto", Repeat::Join(", ")),
    ("forwarded", Repeat::Join(", ")),
];

/// The parsed head of a request. Its `Debug` form shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// `GET`, as sent.
    pub method: String,
    /// Path and query as sent, percent-encoded. May contain a token: log it through `logging::redact_query` only.
    pub target: String,
    /// Bytes of the head in the buffer; what follows belongs to whoever takes the connection over.
    pub length: usize,
    http_minor: u8,
    headers: Vec<(&'static str, String)>,
}

/// Why a request is refused before it reaches anybody. The text says what to do, and goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More than [`HEAD_BYTES_MAX`].
    #[error("request head is over 16 KiB; send fewer or shorter headers, cookies and parameters")]
    TooLarge,
    /// More than [`HEADERS_MAX`].
    #[error("request has over 64 headers; send fewer")]
    TooManyHeaders,
    /// The first byte of a TLS handshake.
    #[error("this port speaks plain HTTP; connect with ws:// or http://, or put a TLS proxy in front")]
    Tls,
    /// Not HTTP/1.
    #[error("malformed HTTP/1 request: {0}")]
    Malformed(String),
    /// A value that could be read in more than one way.
    #[error("header {0} must be ASCII; percent-encode or base64-encode its value")]
    NotAscii(&'static str),
    /// A header that decides something came twice.
    #[error("header {0} came more than once; send it once")]
    Repeated(&'static str),
    /// An upgrade with POST or the like.
    #[error("a WebSocket is opened with GET, not {0}")]
    Method(String),
    /// An upgrade in HTTP/1.0: what a proxy sends that was not told otherwise.
    #[error("a WebSocket needs HTTP/1.1; if a proxy is in front, make it speak 1.1 (nginx: proxy_http_version 1.1)")]
    HttpVersion,
    /// `Connection` does not say `upgrade`.
    #[error("header connection must contain \"upgrade\"; if a proxy is in front, make it pass that header on")]
    Connection,
    /// A request target that is no path.
    #[error("request target must be a path that begins with \"/\"")]
    Target,
    /// A body would be read as frames by us, and as something else by a proxy.
    #[error("an upgrade request must not have a body")]
    Body,
    /// A version of the WebSocket protocol that is not 13.
    #[error("header sec-websocket-version must be 13")]
    WebsocketVersion,
    /// The key is missing, or is not 16 bytes in base64.
    #[error("header sec-websocket-key must be 16 bytes in base64")]
    Key,
}

impl HeadError {
    /// The HTTP status that tells the client.
    pub fn status(&self) -> u16 {
        match self {
            HeadError::TooLarge | HeadError::TooManyHeaders => 431,
            HeadError::Method(_) => 405,
            HeadError::WebsocketVersion => 426,
            _ => 400,
        }
    }

    /// The whole HTTP response, after which the connection is closed.
    pub fn response(&self) -> Vec<u8> {
        error_response(self.status(), &self.to_string(), None)
    }
}

/// Reads the request head at the start of `buf`; `None` when more bytes are needed. Starts again from the first byte each time,
/// which costs a client that sends byte by byte more than it costs us, as a head has 16 KiB at most.
pub fn parse(buf: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    // 0x16: a TLS record of type handshake. The likeliest mistake of all deserves its own words.
    if buf.first() == Some(&0x16) {
        return Err(HeadError::Tls);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(buf) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if buf.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(_) => return Err(HeadError::TooLarge),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        Err(error) => return Err(HeadError::Malformed(error.to_string())),
    };
    Ok(Some(RequestHead {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        length,
        http_minor: request.version.unwrap_or_default(),
        headers: kept_headers(request.headers)?,
    }))
}

fn kept_headers(all: &[httparse::Header<'_>]) -> Result<Vec<(&'static str, String)>, HeadError> {
    let mut kept: Vec<(&'static str, String)> = Vec::new();
    for header in all {
        let Some((name, repeat)) = KEPT.iter().find(|(name, _)| header.name.eq_ignore_ascii_case(name)) else {
            continue;
        };
        let value = header_value(name, header.value)?;
        match (kept.iter_mut().find(|(known, _)| known == name), repeat) {
            (None, _) => kept.push((name, value)),
            (Some(_), Repeat::Refuse) => return Err(HeadError::Repeated(name)),
            (Some((_, values)), Repeat::Join(between)) => {
                values.push_str(between);
                values.push_str(&value);
            }
        }
    }
    Ok(kept)
}

/// Cookies are the one exception to ASCII: they may belong to another application on the same host, whose umlaut must not lock
/// anybody out of this one.
fn header_value(name: &'static str, value: &[u8]) -> Result<String, HeadError> {
    if !value.is_ascii() && name != "cookie" {
        return Err(HeadError::NotAscii(name));
    }
    Ok(String::from_utf8_lossy(value).into_owned())
}

impl RequestHead {
    /// The value of a header that is kept, by its lower-case name; repeated list headers are joined.
    pub fn header(&self, name: &str) -> Option<&str> {
        debug_assert!(KEPT.iter().any(|(kept, _)| *kept == name), "header {name} is not among those that are kept");
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// True when a comma-separated header contains `token`, in any case.
    fn has_token(&self, name: &str, token: &str) -> bool {
        self.header(name).unwrap_or_default().split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
    }

    /// Asks for a WebSocket; whether correctly is for [`check_upgrade`] to say.
    pub fn is_upgrade(&self) -> bool {
        self.has_token("upgrade", "websocket")
    }

    /// The path as sent: percent-encoded, without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The query's pairs in order, percent-decoded; a `+` stays a `+`. A key without `=` has an empty value.
    pub fn query(&self) -> impl Iterator<Item = (String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').filter(|pair| !pair.is_empty()).map(target::decode_pair)
    }

    /// The first value of a query parameter.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The first value of a parameter that browsers write as forms do: a `+` is a space.
    pub(crate) fn form_value(&self, name: &str) -> Option<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        query.split('&').find_map(|pair| form_value(pair, name))
    }

    /// As `query_value`, unless there are several: which of them another reader has seen is not known.
    pub fn query_once(&self, name: &str) -> Option<String> {
        let mut values = self.query().filter(|(key, _)| key == name).map(|(_, value)| value);
        values.next().filter(|value| !value.is_empty() && values.next().is_none())
    }

    /// The subprotocols that the client offers, best first. May contain a token.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let offers = self.header("sec-websocket-protocol").unwrap_or_default();
        offers.split(',').map(str::trim).filter(|offer| !offer.is_empty())
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("length", &self.length)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(request: &str) -> Result<RequestHead, HeadError> {
        parse(request.as_bytes()).map(|head| head.expect("a whole head"))
    }

    #[test]
    fn a_head_is_whole_or_more_is_needed() {
        let request =
            b"GET /a%20b?token=t%26x&y&z=1+2 HTTP/1.1\r\nHost: h\r\nUPGRADE: WebSocket\r\nX-Other: \xff\r\n\r\nrest";
        let length = request.len() - 4;
        for cut in 0..length {
            assert_eq!(parse(&request[..cut]), Ok(None), "cut at {cut}");
        }
        let head = parse(request).expect("legal").expect("whole");
        assert_eq!((head.method.as_str(), head.path(), head.length), ("GET", "/a%20b", length));
        assert_eq!(head.header("host"), Some("h"));
        assert!(head.is_upgrade());
        let pairs: Vec<(String, String)> = head.query().collect();
        let expected = [("token", "t&x"), ("y", ""), ("z", "1+2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs, expected);
        assert_eq!(head.query_value("z").as_deref(), Some("1+2"));
        assert_eq!(head.query_value("none"), None);
    }

    #[test]
    fn lists_are_joined_and_secrets_stay_out_of_debug() {
        let head = head(
            "GET /r?token=SECRET HTTP/1.1\r\nConnection: keep-alive\r\nConnection: Upgrade\r\nCookie: a=SECRET\r\nCookie: b=2\r\n\
             Sec-WebSocket-Protocol: one, two\r\nSec-WebSocket-Protocol: token-SECRET\r\nAuthorization: Bearer SECRET\r\n\r\n",
        )
        .expect("legal");
        assert_eq!(head.header("cookie"), Some("a=SECRET; b=2"));
        assert!(head.has_token("connection", "upgrade"));
        assert_eq!(head.subprotocols().collect::<Vec<_>>(), ["one", "two", "token-SECRET"]);
        assert!(!format!("{head:?}").contains("SECRET"), "{head:?}");
        let foreign = parse(b"GET / HTTP/1.1\r\nCookie: n=\xfc; concord=1\r\n\r\n").expect("legal").expect("whole");
        assert!(foreign.header("cookie").is_some_and(|value| value.ends_with("; concord=1")));
    }

    #[test]
    fn bad_heads_say_what_to_do() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        let endless = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(HEAD_BYTES_MAX));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        let cases: &[(&[u8], u16, &str)] = &[
            (long.as_bytes(), 431, "16 KiB"),
            (endless.as_bytes(), 431, "16 KiB"),
            (many.as_bytes(), 431, "64 headers"),
            (b"\x16\x03\x01\x02\x00\x01", 400, "plain HTTP"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed"),
            (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "malformed"),
            (b"GET /\xff HTTP/1.1\r\n\r\n", 400, "malformed"),
            (
                b"GET / HTTP/1.1\r\nSec-WebSocket-Protocol: \xc3\xa4\r\n\r\n",
                400,
                "sec-websocket-protocol must be ASCII",
            ),
            (b"GET / HTTP/1.1\r\nOrigin: a\r\nOrigin: b\r\n\r\n", 400, "origin came more than once"),
        ];
        for (request, status, words) in cases {
            let error = parse(request).expect_err(words);
            assert_eq!(error.status(), *status, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let just_many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX));
        assert!(head(&just_many).is_ok());
    }
}
