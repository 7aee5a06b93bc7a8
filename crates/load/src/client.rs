//! One WebSocket client, as thin as it can be: many of them share one thread with what they measure.

use crate::LoadError;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An open connection. Bytes that do not make a whole frame yet are kept.
pub(crate) struct Client {
    stream: TcpStream,
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

impl Client {
    /// Connects to `ws://host:port/path`.
    pub(crate) async fn connect(url: &str) -> Result<Self, LoadError> {
        let rest = url
            .strip_prefix("ws://")
            .ok_or_else(|| LoadError(format!("{url}: only ws:// addresses can be measured")))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut stream =
            TcpStream::connect(host).await.map_err(|error| LoadError(format!("cannot connect to {host}: {error}")))?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        let end = loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Err(LoadError(format!("{host} closed the connection during the handshake")));
            }
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(LoadError(format!(
                "{host} answered: {}",
                String::from_utf8_lossy(&head[..end]).lines().next().unwrap_or_default()
            )));
        }
        Ok(Self { stream, partial: head.split_off(end), unsent: Vec::new() })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Queues a binary message. The mask is zero: it is for proxies, and there are none.
    pub(crate) fn queue(&mut self, payload: &[u8]) {
        self.unsent.push(0x82);
        match payload.len() {
            length @ 0..126 => self.unsent.push(0x80 | length as u8),
            length @ 126..65_536 => {
                self.unsent.push(0x80 | 126);
                self.unsent.extend((length as u16).to_be_bytes());
            }
            length => {
                self.unsent.push(0x80 | 127);
                self.unsent.extend((length as u64).to_be_bytes());
            }
        }
        self.unsent.extend([0; 4]);
        self.unsent.extend_from_slice(payload);
    }

    /// Writes what the kernel takes of what is queued. True: all of it.
    pub(crate) fn flush(&mut self) -> Result<bool, LoadError> {
        while !self.unsent.is_empty() {
            match self.stream.try_write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what is there into `buffer` and hands each whole binary message to `seen`.
    pub(crate) fn read(&mut self, buffer: &mut [u8], mut seen: impl FnMut(&[u8])) -> Result<(), LoadError> {
        loop {
            let count = match self.stream.try_read(buffer) {
                Ok(0) => return Err(LoadError("the server closed the connection".to_owned())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let rest = if self.partial.is_empty() {
                frames(&buffer[..count], &mut seen)
            } else {
                self.partial.extend_from_slice(&buffer[..count]);
                let joined = std::mem::take(&mut self.partial);
                let used = frames(&joined, &mut seen);
                self.partial = joined[used..].to_vec();
                count
            };
            self.partial.extend_from_slice(&buffer[rest..count]);
            if count < buffer.len() {
                return Ok(());
            }
        }
    }
}

/// Hands over whole binary frames; returns how many bytes they took.
fn frames(bytes: &[u8], seen: &mut impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while let Some((start, end)) = frame(&bytes[at..]) {
        if bytes[at] & 0x0f == 2 {
            seen(&bytes[at + start..at + end]);
        }
        at += end;
    }
    at
}

/// Where the payload of the first frame begins and ends, if it is whole.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    let end = start + usize::try_from(length).ok()?;
    (bytes.len() >= end).then_some((start, end))
}
