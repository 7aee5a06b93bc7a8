//! How the bytes of a connection get in and out: where the server listens, what a connection passes before its first request (the proxy's header, the
//! TLS handshake), and the stream that its worker reads and writes.
//!
//! Knows no HTTP, no WebSocket and no rooms.

pub(crate) mod certificates;
pub(crate) mod door;
pub(crate) mod incoming;
pub(crate) mod listen;
mod proxy;
pub(crate) mod stream;

pub(crate) use door::Door;
pub(crate) use incoming::{Incoming, Wire};
pub(crate) use stream::Stream;
