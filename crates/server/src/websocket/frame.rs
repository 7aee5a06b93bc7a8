//! WebSocket frames from the server to a client: never masked, so the same bytes serve every socket of a room. Called by
//! whoever encodes an event, and by the socket for ping, pong and close. Does not fragment: a message is one frame.

use bytes::Bytes;

/// Most bytes that a control frame may carry (RFC 6455, section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

/// The bit of a message's first frame that says that the message is compressed (RFC 7692, section 6).
pub(super) const COMPRESSED: u8 = 0x40;

/// Bytes of a close reason: a control frame less the two bytes of the code.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// What a frame is (RFC 6455, section 5.2). The values are the four bits on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further part of a fragmented message.
    Continuation = 0x0,
    /// UTF-8 text.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The last frame that its sender sends.
    Close = 0x8,
    /// Asks for a pong with the same payload.
    Ping = 0x9,
    /// The answer to a ping, or a sign of life.
    Pong = 0xa,
}

impl Opcode {
    /// The opcode with these four bits; `None` for the ten that RFC 6455 reserves.
    pub(super) fn from_bits(bits: u8) -> Option<Opcode> {
        Some(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return None,
        })
    }

    /// Close, ping and pong: short, never fragmented, and allowed between the fragments of a message.
    pub(super) fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// The header of a final, unmasked frame: its bytes and how many of them count (2, 4 or 10). For callers that write header
/// and payload as separate slices.
pub fn frame_header(opcode: Opcode, payload_len: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x80 | opcode as u8;
    match payload_len {
        0..=125 => {
            header[1] = payload_len as u8;
            (header, 2)
        }
        126..=0xffff => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            (header, 4)
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
            (header, 10)
        }
    }
}

/// One whole frame in one allocation of exactly its size.
pub fn encode_frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let (_, header_len) = frame_header(opcode, payload.len());
    let mut frame = Vec::with_capacity(header_len + payload.len());
    append_frame(opcode, payload, &mut frame);
    Bytes::from(frame)
}

/// One whole frame whose payload was compressed.
pub fn encode_compressed_frame(opcode: Opcode, compressed: &[u8]) -> Bytes {
    let (_, header_len) = frame_header(opcode, compressed.len());
    let mut frame = Vec::with_capacity(header_len + compressed.len());
    append_compressed_frame(opcode, compressed, &mut frame);
    Bytes::from(frame)
}

/// Appends one whole frame to `out`.
pub fn append_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    let (header, header_len) = frame_header(opcode, payload.len());
    out.extend_from_slice(&header[..header_len]);
    out.extend_from_slice(payload);
}

/// Longest header of a server's frame.
const HEADER_BYTES_MAX: usize = 10;

/// Appends a frame whose payload is what `write` appends, and behind that the bytes that it returns. Those are not appended: who is
/// to send them may have them without a copy. `None`: there is no frame, and `out` is as it was.
pub fn begin_frame<'a>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Option<(Opcode, &'a Bytes)>,
) -> Option<&'a Bytes> {
    let start = out.len();
    // The header's length is known when the payload's is.
    out.extend_from_slice(&[0; HEADER_BYTES_MAX]);
    let Some((opcode, body)) = write(out) else {
        out.truncate(start);
        return None;
    };
    let head_len = out.len() - start - HEADER_BYTES_MAX;
    let (header, header_len) = frame_header(opcode, head_len + body.len());
    out[start..start + header_len].copy_from_slice(&header[..header_len]);
    out.copy_within(start + HEADER_BYTES_MAX.., start + header_len);
    out.truncate(start + header_len + head_len);
    Some(body)
}

/// Appends one whole frame whose payload was compressed.
pub fn append_compressed_frame(opcode: Opcode, compressed: &[u8], out: &mut Vec<u8>) {
    let first = out.len();
    append_frame(opcode, compressed, out);
    out[first] |= COMPRESSED;
}

/// A close frame: `u16 code, reason` in network byte order. The reason is cut at a character boundary to 123 bytes, because a
/// longer control frame would itself be a protocol error.
pub fn close_frame(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    encode_frame(Opcode::Close, &payload)
}

/// A ping. A payload over 125 bytes is cut, as for the reason of a close.
pub fn ping_frame(payload: &[u8]) -> Bytes {
    encode_frame(Opcode::Ping, &payload[..payload.len().min(CONTROL_BYTES_MAX)])
}

/// The answer to a ping: the payload is the ping's.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    encode_frame(Opcode::Pong, &payload[..payload.len().min(CONTROL_BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_the_shortest_form() {
        // RFC 6455, section 5.7, and the edges between the three forms.
        let cases: &[(usize, &[u8])] = &[
            (0, &[0x82, 0]),
            (5, &[0x82, 5]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (256, &[0x82, 126, 1, 0]),
            (65_535, &[0x82, 126, 0xff, 0xff]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (payload_len, expected) in cases {
            let (header, header_len) = frame_header(Opcode::Binary, *payload_len);
            assert_eq!(&header[..header_len], *expected, "length {payload_len}");
        }
    }

    #[test]
    fn frames_carry_their_payload_unmasked() {
        let cases: &[(Bytes, &[u8])] = &[
            (encode_frame(Opcode::Text, b"Hello"), b"\x81\x05Hello"),
            (ping_frame(b"Hello"), b"\x89\x05Hello"),
            (pong_frame(b""), b"\x8a\x00"),
            (close_frame(1001, ""), b"\x88\x02\x03\xe9"),
            (close_frame(4401, "unauthorized"), b"\x88\x0e\x11\x31unauthorized"),
        ];
        for (frame, expected) in cases {
            assert_eq!(&frame[..], *expected);
        }
        assert_eq!(ping_frame(&[7; 200]).len(), 2 + CONTROL_BYTES_MAX);
    }

    #[test]
    fn a_frame_in_two_parts_is_the_frame_in_one() {
        for (head_len, body_len) in [(0, 0), (3, 0), (0, 5), (3, 122), (3, 123), (200, 1), (4, 70_000), (70_000, 4)] {
            let (head, body) = (vec![7; head_len], Bytes::from(vec![9; body_len]));
            let mut out = b"before".to_vec();
            let rest = begin_frame(&mut out, |out| {
                out.extend_from_slice(&head);
                Some((Opcode::Binary, &body))
            });
            assert_eq!(rest, Some(&body));
            out.extend_from_slice(&body);
            let whole = encode_frame(Opcode::Binary, &[head, body.to_vec()].concat());
            assert_eq!(out, [b"before", &whole[..]].concat(), "{head_len} and {body_len}");
        }
        let mut out = b"before".to_vec();
        assert_eq!(begin_frame(&mut out, |_| None), None);
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_compressed_frame_says_so() {
        let mut out = vec![7];
        // RFC 7692, section 7.2.3.1.
        append_compressed_frame(Opcode::Text, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], &mut out);
        assert_eq!(out, [7, 0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        // 122 bytes and a two-byte letter: the letter would end at byte 124.
        let reason = format!("{}éz", "x".repeat(122));
        let frame = close_frame(1008, &reason);
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
        assert_eq!(close_frame(1008, &"x".repeat(500)).len(), 2 + CONTROL_BYTES_MAX);
    }
}
