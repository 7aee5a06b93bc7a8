//! What differs between servers before and around y-protocols messages: addresses, prefixes, who begins. Called by the fleet. Knows no document.

use crate::LoadError;
use crate::protocol::{AUTH, var_bytes};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A wire protocol that the server under test speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The stock Yjs provider's; most servers speak it.
    YWebsocket,
    /// Each message begins with the document's name; a token is asked for first.
    Hocuspocus,
    /// y-websocket framing at an address that an HTTP request gives.
    YSweet,
}

impl Dialect {
    pub(crate) const NAMES: [&str; 3] = ["y-websocket", "hocuspocus", "y-sweet"];

    pub(crate) fn named(name: &str) -> Self {
        match name {
            "hocuspocus" => Self::Hocuspocus,
            "y-sweet" => Self::YSweet,
            _ => Self::YWebsocket,
        }
    }

    /// What every message of this room begins with.
    pub(crate) fn prefix(self, room: &str) -> Vec<u8> {
        let mut prefix = Vec::new();
        if self == Self::Hocuspocus {
            var_bytes(&mut prefix, room.as_bytes());
        }
        prefix
    }

    /// What a client says before anything else, prefix excepted; the answer is awaited.
    pub(crate) fn greeting(self, token: &str) -> Option<Vec<u8>> {
        (self == Self::Hocuspocus).then(|| {
            let mut message = vec![AUTH, 0];
            var_bytes(&mut message, token.as_bytes());
            message
        })
    }

    /// How often somebody who has nothing to say must say something: hocuspocus closes who was silent for 60 s. Its provider renews its presence, as all do.
    pub(crate) fn silence_max(self) -> Option<Duration> {
        (self == Self::Hocuspocus).then_some(Duration::from_secs(15))
    }

    /// Whether a message is the answer to the greeting, and a good one.
    pub(crate) fn is_welcome(message: &[u8]) -> Option<bool> {
        match message.strip_prefix(&[AUTH])?.first()? {
            2 => Some(true),
            1 => Some(false),
            _ => None,
        }
    }
}

/// Where rooms are.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) dialect: Dialect,
    /// For servers that want one.
    pub(crate) token: String,
    /// `host:port`, for the Host header.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
    base: String,
}

impl Target {
    /// Reads `ws://host:port/path`, or `http://` for y-sweet.
    pub(crate) fn new(url: &str, dialect: Dialect, token: &str) -> Result<Self, LoadError> {
        let rest = url.strip_prefix("ws://").or_else(|| url.strip_prefix("http://"));
        let rest = rest.ok_or_else(|| {
            LoadError(format!("--url {url}: only ws:// addresses can be measured; put TLS aside for a measurement"))
        })?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let address = host
            .to_socket_addrs()
            .map_err(|error| LoadError(format!("--url {url}: cannot find {host}: {error}")))?
            .next()
            .ok_or_else(|| LoadError(format!("--url {url}: {host} has no address")))?;
        let path = path.trim_end_matches('/');
        let base = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { dialect, token: token.to_owned(), host, address, base })
    }

    /// Path and query at which a room's WebSocket is opened. For y-sweet this asks the server, which makes the document.
    pub(crate) fn path(&self, room: &str) -> Result<String, LoadError> {
        match self.dialect {
            Dialect::YWebsocket if self.token.is_empty() => Ok(format!("{}/{room}", self.base)),
            Dialect::YWebsocket => Ok(format!("{}/{room}?token={}", self.base, self.token)),
            Dialect::Hocuspocus => Ok(if self.base.is_empty() { "/".to_owned() } else { self.base.clone() }),
            Dialect::YSweet => self.ask_for_path(room),
        }
    }

    fn ask_for_path(&self, room: &str) -> Result<String, LoadError> {
        self.post("/doc/new", &format!("{{\"docId\":\"{room}\"}}"))?;
        let answer = self.post(&format!("/doc/{room}/auth"), "{}")?;
        let (url, token) = (json_text(&answer, "url"), json_text(&answer, "token"));
        let url = url.ok_or_else(|| LoadError(format!("y-sweet answered without a url: {answer}")))?;
        // `ws://host/d/ID/ws`: the provider appends the document's id, and its token.
        let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let query = token.map_or(String::new(), |token| format!("?token={token}"));
        Ok(format!("/{}/{room}{query}", path.trim_end_matches('/')))
    }

    fn post(&self, path: &str, body: &str) -> Result<String, LoadError> {
        let fault = |error| LoadError(format!("cannot ask http://{}{}{path}: {error}", self.host, self.base));
        let mut stream = TcpStream::connect(self.address).map_err(fault)?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(fault)?;
        let authorization =
            if self.token.is_empty() { String::new() } else { format!("Authorization: Bearer {}\r\n", self.token) };
        let request = format!(
            "POST {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.base,
            self.host,
            body.len()
        );
        stream.write_all(request.as_bytes()).map_err(fault)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(fault)?;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            let first = answer.lines().next().unwrap_or("nothing");
            return Err(LoadError(format!("http://{}{}{path} answered: {first}", self.host, self.base)));
        }
        Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }
}

/// A text member of a flat JSON object; enough for the one answer that is read.
fn json_text<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = json.split_once(&format!("\"{name}\""))?;
    rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_rooms() {
        let path = |url, dialect| Target::new(url, dialect, "").expect(url).path("r").expect("a path");
        assert_eq!(path("ws://127.0.0.1:1", Dialect::YWebsocket), "/r");
        assert_eq!(path("ws://127.0.0.1:1/y/", Dialect::YWebsocket), "/y/r");
        assert_eq!(path("ws://127.0.0.1:1", Dialect::Hocuspocus), "/");
        assert_eq!(Dialect::Hocuspocus.prefix("ab"), [2, b'a', b'b']);
        assert!(Target::new("wss://a", Dialect::YWebsocket, "").is_err());
        assert_eq!(json_text("{\"url\": \"ws://h/d/x/ws\",\"token\":\"t\"}", "url"), Some("ws://h/d/x/ws"));
        assert_eq!(json_text("{\"url\":null}", "url"), None);
    }
}
