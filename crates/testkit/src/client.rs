//! A WebSocket client that does only what it is told, so that a test can be a browser, a broken browser, or one that does not read.
//!
//! Used by the tests of the server. Speaks RFC 6455 over a TCP stream, or over any other that the test brings: masks what it sends, hands over what comes, answers
//! pings unless it is muted. Knows no protocol above that. Every wait ends after `PATIENCE` with a panic that says what did not come.

use bytes::{Buf, Bytes, BytesMut};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How long an event may take on the slowest machine before it counts as missing.
pub const PATIENCE: Duration = Duration::from_secs(30);

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// With the bit that says that the message is compressed.
const COMPRESSED_BINARY: u8 = 0x40 | BINARY;

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A binary message.
    Message(Bytes),
    /// A text message.
    Text(Bytes),
    /// A compressed binary message, as it came.
    Compressed(Bytes),
    /// A ping; only a muted client sees it.
    Ping,
    /// A pong with its payload.
    Pong(Bytes),
    /// A close frame: code (1005 when there was none) and reason.
    Close(u16, String),
    /// The connection is gone, by FIN or RST.
    End,
}

/// A whole HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// `200`, or 0 when the connection ended without a response.
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// What follows them.
    pub body: String,
}

impl Response {
    fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// The bytes of an upgrade request. `headers`: further lines, each with its line end.
pub fn upgrade_request(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Sends a request as it stands and reads until the server closes.
pub async fn request(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    request_on(TcpStream::connect(address).await.expect("the server listens"), bytes).await
}

/// The same on a stream of the test's.
pub async fn request_on(mut stream: impl Duplex, bytes: impl AsRef<[u8]>) -> Response {
    // A server that refuses early may have closed before everything was written.
    let _ = stream.write_all(bytes.as_ref()).await;
    rest_of(&mut stream, Vec::new()).await
}

async fn rest_of(stream: &mut dyn Duplex, mut bytes: Vec<u8>) -> Response {
    let read = async { while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {} };
    tokio::time::timeout(PATIENCE, read).await.expect("the server closes after its response");
    Response::new(&bytes)
}

/// One frame as a client sends it: masked. `first`: the final bit and the opcode.
pub fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A binary message as one frame.
pub fn binary(payload: &[u8]) -> Vec<u8> {
    client_frame(0x80 | BINARY, payload)
}

/// A stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Debug + Send + Sync + Unpin> Duplex for T {}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Other(Box<dyn Duplex>),
}

impl Stream {
    fn io(&mut self) -> &mut dyn Duplex {
        match self {
            Self::Tcp(stream) => stream,
            Self::Other(stream) => stream,
        }
    }
}

/// One open WebSocket.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    incoming: BytesMut,
    muted: bool,
}

impl Client {
    /// Opens a WebSocket. Panics with the response when the server refuses.
    pub async fn connect(address: SocketAddr, target: &str) -> Self {
        Self::connect_with(address, target, "")
            .await
            .unwrap_or_else(|refusal| panic!("{target} is refused: {refusal:?}"))
    }

    /// As `connect`, with further headers; what the server says when it refuses comes back.
    pub async fn connect_with(address: SocketAddr, target: &str, headers: &str) -> Result<Self, Response> {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        Self::upgrade(Stream::Tcp(stream), target, headers).await
    }

    /// As `connect_with`, on a stream of the test's.
    pub async fn connect_on(stream: impl Duplex + 'static, target: &str, headers: &str) -> Result<Self, Response> {
        Self::upgrade(Stream::Other(Box::new(stream)), target, headers).await
    }

    /// A client whose system keeps few bytes for it: the server notices soon when it does not read.
    pub async fn connect_narrow(address: SocketAddr, target: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 << 10).expect("a small buffer");
        let stream = socket.connect(address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP socket");
        let upgraded = Self::upgrade(Stream::Tcp(stream), target, "").await;
        upgraded.unwrap_or_else(|refusal| panic!("{target} is refused: {refusal:?}"))
    }

    async fn upgrade(mut stream: Stream, target: &str, headers: &str) -> Result<Self, Response> {
        let _ = stream.io().write_all(upgrade_request(target, headers).as_bytes()).await;
        let mut incoming = BytesMut::new();
        let head = async {
            loop {
                if let Some(end) = incoming.windows(4).position(|four| four == b"\r\n\r\n") {
                    return Some(end + 4);
                }
                if !matches!(stream.io().read_buf(&mut incoming).await, Ok(1..)) {
                    return None;
                }
            }
        };
        let end = tokio::time::timeout(PATIENCE, head).await.expect("an answer to the upgrade");
        let switched = end.is_some() && incoming.starts_with(b"HTTP/1.1 101 ");
        if !switched {
            return Err(rest_of(stream.io(), incoming.to_vec()).await);
        }
        incoming.advance(end.unwrap_or(0));
        Ok(Self { stream, incoming, muted: false })
    }

    /// From here on pings are not answered.
    pub fn mute(&mut self) {
        self.muted = true;
    }

    /// Sends a binary message.
    pub async fn send(&mut self, payload: &[u8]) {
        self.send_raw(&binary(payload)).await;
    }

    /// Sends a text message.
    pub async fn send_text(&mut self, text: &str) {
        self.send_raw(&client_frame(0x80 | TEXT, text.as_bytes())).await;
    }

    /// Sends a message in fragments of so many bytes, with a ping between each two.
    pub async fn send_fragments(&mut self, payload: &[u8], bytes: usize) {
        let last = payload.len().div_ceil(bytes) - 1;
        for (place, part) in payload.chunks(bytes).enumerate() {
            let opcode = if place == 0 { BINARY } else { CONTINUATION };
            let last = if place == last { 0x80 } else { 0 };
            self.send_raw(&client_frame(last | opcode, part)).await;
            self.send_raw(&client_frame(0x80 | PING, b"between")).await;
        }
    }

    /// Sends a close frame.
    pub async fn send_close(&mut self, code: u16) {
        self.send_raw(&client_frame(0x80 | CLOSE, &code.to_be_bytes())).await;
    }

    /// Sends bytes as they stand. That the connection is gone shows when reading.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let sent = tokio::time::timeout(PATIENCE, self.send_all(bytes)).await;
        let _ = sent.expect("the server takes what it is sent");
    }

    async fn send_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.io().write_all(bytes).await?;
        // A TLS session may keep something back.
        self.stream.io().flush().await
    }

    /// Ends the sending side in order, and waits for the server to do the same.
    pub async fn finish(&mut self) {
        let _already_gone = self.stream.io().shutdown().await;
        let read = async { while matches!(self.stream.io().read_buf(&mut self.incoming).await, Ok(1..)) {} };
        tokio::time::timeout(PATIENCE, read).await.expect("the server closes");
    }

    /// The next thing that comes. Pings are answered on the way.
    pub async fn hear(&mut self) -> Heard {
        loop {
            let heard = tokio::time::timeout(PATIENCE, self.read()).await.expect("the server says something");
            if heard != Heard::Ping || self.muted {
                return heard;
            }
            self.send_raw(&client_frame(0x80 | PONG, b"")).await;
        }
    }

    /// Everything up to the close frame or the end: the binary messages, and how it ended.
    pub async fn hear_out(&mut self) -> (Vec<Bytes>, Heard) {
        let mut messages = Vec::new();
        loop {
            match self.hear().await {
                Heard::Message(message) => messages.push(message),
                end @ (Heard::Close(..) | Heard::End) => return (messages, end),
                _ => {}
            }
        }
    }

    /// Leaves without a close frame: the system says FIN.
    pub fn vanish(self) {
        drop(self);
    }

    /// Leaves without a close frame and with a reset, which only TCP has.
    pub fn reset(self) {
        if let Stream::Tcp(stream) = &self.stream {
            stream.set_zero_linger().expect("a TCP socket");
        }
    }

    async fn read(&mut self) -> Heard {
        loop {
            if let Some((opcode, payload)) = self.take_frame() {
                return match opcode {
                    COMPRESSED_BINARY => Heard::Compressed(payload),
                    BINARY => Heard::Message(payload),
                    TEXT => Heard::Text(payload),
                    PING => Heard::Ping,
                    PONG => Heard::Pong(payload),
                    CLOSE if payload.len() < 2 => Heard::Close(1005, String::new()),
                    CLOSE => {
                        let reason = String::from_utf8_lossy(&payload[2..]).into_owned();
                        Heard::Close(u16::from_be_bytes([payload[0], payload[1]]), reason)
                    }
                    other => panic!("opcode {other} from the server"),
                };
            }
            if !matches!(self.stream.io().read_buf(&mut self.incoming).await, Ok(1..)) {
                return Heard::End;
            }
        }
    }

    fn take_frame(&mut self) -> Option<(u8, Bytes)> {
        let [first, second, rest @ ..] = &self.incoming[..] else { return None };
        assert!(
            first & 0x80 != 0 && first & 0x30 == 0 && second & 0x80 == 0,
            "the server sends whole, unmasked frames"
        );
        let opcode = first & 0x4f;
        let (header, length) = match second {
            126 => (4, u64::from(u16::from_be_bytes(*rest.first_chunk()?))),
            127 => (10, u64::from_be_bytes(*rest.first_chunk()?)),
            short => (2, u64::from(*short)),
        };
        if self.incoming.len() < header + length as usize {
            return None;
        }
        self.incoming.advance(header);
        Some((opcode, self.incoming.split_to(length as usize).freeze()))
    }
}
