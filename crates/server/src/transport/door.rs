//! What a connection passes before its first request: the header of a proxy that does not speak HTTP, and the TLS handshake. Called by `upgrade`,
//! which bounds the time for it. Who is turned away learns nothing, except for a client that speaks plain HTTP to a TLS port.

use super::certificates::Certificates;
use super::proxy::{ProxyError, read_header};
use super::{Incoming, Wire};
use crate::config::Config;
use crate::request::text_response;
use std::sync::Arc;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// The way in.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) config: Arc<Config>,
    /// Set: the port speaks TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

/// Why a connection does not get in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoorError {
    #[error("not a trusted proxy; with proxy.protocol only addresses in proxy.trusted are served")]
    Untrusted,
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("connection ended before its first byte: {0}")]
    Ended(std::io::Error),
    #[error("TLS handshake failed: {0}")]
    Handshake(std::io::Error),
    #[error("plain HTTP on a port that speaks TLS")]
    PlainHttp(Box<Wire>),
    #[error("the handshake did not end in time")]
    TooLate,
    #[error("the server is shutting down")]
    Stopping,
}

impl Door {
    /// Lets a connection in, or not.
    pub(crate) async fn open(&self, mut wire: Wire) -> Result<Incoming, DoorError> {
        let proxy = &self.config.proxy;
        if proxy.protocol {
            if !proxy.trusted.contains(wire.address) {
                return Err(DoorError::Untrusted);
            }
            if let Some(source) = read_header(&mut wire).await? {
                wire.address = source.into();
            }
        }
        self.secure(wire).await
    }

    /// The same without a proxy before it: TLS, if the server speaks it.
    pub(crate) async fn secure(&self, mut wire: Wire) -> Result<Incoming, DoorError> {
        let Some(certificates) = &self.certificates else { return Ok(Incoming::plain(wire)) };
        match wire.peek().await.map_err(DoorError::Ended)? {
            HANDSHAKE => {}
            // The file's mode keeps others out of it, and the proxy on this machine need not encrypt.
            _ if wire.is_unix() => return Ok(Incoming::plain(wire)),
            _ => return Err(DoorError::PlainHttp(Box::new(wire))),
        }
        certificates.acceptor().accept(wire).await.map(Incoming::tls).map_err(DoorError::Handshake)
    }
}

/// What a client is told that speaks plain HTTP where TLS is spoken.
pub(crate) fn speak_tls() -> Vec<u8> {
    text_response(400, "this port speaks TLS; connect with wss:// or https://\n")
}
