//! Events as WebSocket frames: what a dialect writes, with the header that it needs on the wire; and frames as messages again, where they stay within
//! the process.

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

/// The first bytes of a server's frame: its opcode, the length of its header, and that of its payload. None: there are not enough yet.
pub(crate) fn header_of(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (header, payload) = match second {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        short => (2, usize::from(short)),
    };
    Some((first & 0xf, header, payload))
}

/// Whole messages out of what a channel brings.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// Where further bytes are to be appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The next message, when it is whole.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let (opcode, header, payload) = header_of(&self.bytes)?;
        if self.bytes.len() < header + payload {
            return None;
        }
        let rest = self.bytes.split_off(header + payload);
        let frame = Bytes::from(std::mem::replace(&mut self.bytes, rest)).slice(header..);
        Some(if opcode == Opcode::Text as u8 { Frame::Text(frame) } else { Frame::Binary(frame) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let messages: Vec<Frame> = [0, 1, 125, 126, 65_535, 65_536]
            .map(|length| Frame::Binary(vec![7; length].into()))
            .into_iter()
            .chain([Frame::text("a text")])
            .collect();
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| append_message(message, &mut bytes));
        for piece in [1, 2, 3, 1_000, usize::MAX] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for part in bytes.chunks(piece) {
                frames.buffer().extend_from_slice(part);
                found.extend(std::iter::from_fn(|| frames.next()));
            }
            assert_eq!(found, messages, "in pieces of {piece}");
        }
    }
}
