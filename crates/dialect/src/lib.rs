//! Translates each client's wire format to the room's vocabulary and back. No I/O, no clock, no knowledge of other dialects.
//!
//! A `Dialect` is stateless and encodes each event once for all its members of a room. A `Session` is one connection's side:
//! it turns frames into inputs. A further dialect is one file in `dialects/`, one line in `ALL`, and transcripts in `testdata/`.

mod dialects;

use bytes::Bytes;
use document::MessageLimits;
use room::{Closing, Event, Input, MemberId};

/// One client wire protocol.
pub trait Dialect: Send + Sync + std::fmt::Debug {
    /// Its name in logs, metrics and the configuration.
    fn name(&self) -> &'static str;

    /// The payload of the frame that tells a member of `event`: what is appended to `out`, and then the bytes that are returned, which need no copy because
    /// the event has them already. None: this dialect does not speak of it, and nothing is appended. Called once per event and room.
    fn write<'a>(&self, event: &'a Event, out: &mut Vec<u8>) -> Option<&'a Bytes>;

    /// The same payload in one piece.
    fn encode(&self, event: &Event) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let body = self.write(event, &mut out)?;
        out.extend_from_slice(body);
        Some(out)
    }

    /// What is said and sent when a connection ends for that reason.
    fn farewell(&self, closing: &Closing) -> Farewell;

    /// The payload that keeps a client from thinking the connection dead.
    fn keep_alive(&self) -> Option<&'static [u8]>;

    /// One connection's side. `member` is who it is in its room.
    fn session(&self, member: MemberId, limits: MessageLimits) -> Box<dyn Session>;
}

/// One connection's side of a dialect. It never sends: what it wants said goes through the room.
pub trait Session: Send {
    /// What the room is told right after the member has joined.
    fn open(&mut self, inputs: &mut Vec<Input>);

    /// What a frame means.
    fn receive(&mut self, frame: Frame, inputs: &mut Vec<Input>);
}

/// A whole message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A binary message.
    Binary(Bytes),
    /// A text message, UTF-8.
    Text(Bytes),
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// A last message, when the dialect has one for it.
    pub message: Option<Vec<u8>>,
    /// How long the close frame waits after that message, milliseconds.
    pub delay_ms: u64,
    /// The close code.
    pub code: u16,
    /// The close reason, at most 123 bytes.
    pub reason: String,
}

/// For payloads of which nothing lies ready.
pub static NO_BODY: Bytes = Bytes::new();

/// Every dialect of this build.
pub static ALL: [&dyn Dialect; 1] = [Y_WEBSOCKET];

/// The stock Yjs WebSocket provider's protocol.
pub static Y_WEBSOCKET: &dyn Dialect = &dialects::y_websocket::YWebsocket { echo: true };

/// The same without the copy of its own updates to their author, for deployments that have switched it off.
pub static Y_WEBSOCKET_SILENT: &dyn Dialect = &dialects::y_websocket::YWebsocket { echo: false };
