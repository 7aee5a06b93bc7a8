//! A connection between its first byte and its worker, as the tasks of tokio read and write it.

use super::stream::{Plain, Stream};
use crate::address::ClientAddress;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection that the door has let in: what it says from here on is HTTP.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What it counts as.
    pub(crate) address: ClientAddress,
    layer: Layer,
}

#[derive(Debug)]
enum Layer {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Where it comes from, as its socket or a proxy before it says.
    pub(crate) address: ClientAddress,
    /// A byte that was looked at, and is still to be read.
    first: Option<u8>,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    pub(crate) fn tcp(socket: TcpStream, address: ClientAddress) -> Self {
        Self { address, first: None, socket: Socket::Tcp(socket) }
    }

    pub(crate) fn unix(socket: UnixStream) -> Self {
        Self { address: ClientAddress::Unix, first: None, socket: Socket::Unix(socket) }
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self.socket, Socket::Unix(_))
    }

    /// The first byte, which is still there afterwards.
    pub(crate) async fn peek(&mut self) -> io::Result<u8> {
        let first = self.read_u8().await?;
        self.first = Some(first);
        Ok(first)
    }

    fn into_plain(self) -> io::Result<Plain> {
        debug_assert!(self.first.is_none(), "the first byte was read with the request's head");
        Ok(match self.socket {
            Socket::Tcp(socket) => Plain::Tcp(mio::net::TcpStream::from_std(socket.into_std()?)),
            Socket::Unix(socket) => Plain::Unix(mio::net::UnixStream::from_std(socket.into_std()?)),
        })
    }
}

impl Incoming {
    pub(crate) fn plain(wire: Wire) -> Self {
        Self { address: wire.address, layer: Layer::Plain(wire) }
    }

    pub(crate) fn tls(session: TlsStream<Wire>) -> Self {
        Self { address: session.get_ref().0.address, layer: Layer::Tls(Box::new(session)) }
    }

    /// The same connection for a worker. What was read of it and not used is the caller's to hand over, except for what a TLS session has.
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        match self.layer {
            Layer::Plain(wire) => Ok(Stream::Plain(wire.into_plain()?)),
            Layer::Tls(session) => {
                let (wire, session) = session.into_inner();
                Ok(Stream::tls(wire.into_plain()?, session))
            }
        }
    }
}

/// The way down, whatever it is. A call through a table costs nothing here: these are first requests.
trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

impl Wire {
    fn below(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket),
            Socket::Unix(socket) => Pin::new(socket),
        }
    }
}

impl Incoming {
    fn below(&mut self) -> Pin<&mut dyn Duplex> {
        match &mut self.layer {
            Layer::Plain(wire) => Pin::new(wire),
            Layer::Tls(session) => Pin::new(&mut **session),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        self.below().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.below().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below().poll_shutdown(cx)
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.below().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.below().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below().poll_shutdown(cx)
    }
}
