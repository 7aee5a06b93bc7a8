//! Events as WebSocket frames: what a dialect writes, with the header that it needs on the wire.

use crate::websocket::{Opcode, append_frame, begin_frame, encode_frame};
use bytes::Bytes;
use dialect::{Dialect, Frame, Kind};
use room::Event;

/// As what a message is sent.
pub(crate) fn opcode_of(kind: Kind) -> Opcode {
    match kind {
        Kind::Binary => Opcode::Binary,
        Kind::Text => Opcode::Text,
    }
}

/// Appends the frame of an event up to its body, which is returned. None: the dialect does not speak of it.
pub(crate) fn begin<'a>(dialect: &dyn Dialect, event: &'a Event, out: &mut Vec<u8>) -> Option<&'a Bytes> {
    begin_frame(out, |out| dialect.write(event, out).map(|body| (opcode_of(body.kind), body.rest)))
}

/// Appends the whole frame of an event, if there is one.
pub(crate) fn append(dialect: &dyn Dialect, event: &Event, out: &mut Vec<u8>) {
    if let Some(body) = begin(dialect, event, out) {
        out.extend_from_slice(body);
    }
}

/// Appends a message.
pub(crate) fn append_message(message: &Frame, out: &mut Vec<u8>) {
    append_frame(opcode_of(message.kind()), message.payload(), out);
}

/// A message in bytes of its own.
pub(crate) fn encode_message(message: &Frame) -> Bytes {
    encode_frame(opcode_of(message.kind()), message.payload())
}
