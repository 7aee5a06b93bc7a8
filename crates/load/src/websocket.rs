//! A client's side of RFC 6455 as plain bytes. Called by the fleet, which owns the sockets. Does no I/O, and speaks no extension.

/// Real clients mask, and the server under test should have the work of it; that the key is always the same matters to proxies only.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// The first frame of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN bit and opcode, as they came.
    pub(crate) first: u8,
    /// Where its payload begins.
    pub(crate) start: usize,
    /// Where it ends, and the next begins.
    pub(crate) end: usize,
}

/// Where the first frame begins and ends; None: it is not whole yet.
#[inline]
pub(crate) fn frame(bytes: &[u8]) -> Option<Frame> {
    let (start, end) = bounds(bytes)?;
    (bytes.len() >= end).then_some(Frame { first: bytes[0], start, end })
}

/// How long the first frame is in all, if so much of it has come that it tells.
pub(crate) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    Some(bounds(bytes)?.1)
}

#[inline]
fn bounds(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes.get(1)? & 0x7f {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        short => (2, u64::from(short)),
    };
    Some((start, start + usize::try_from(length).ok()?))
}

/// Appends a masked frame made of these parts.
pub(crate) fn append_frame(out: &mut Vec<u8>, opcode: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(0x80 | length as u8),
        126..65_536 => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    for chunk in out[start..].chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(MASK) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_when_they_are_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let mut bytes = Vec::new();
            append_frame(&mut bytes, BINARY, &[&payload[..length / 2], &payload[length / 2..]]);
            // Seen as a frame of a server: the mask counts as its first four bytes.
            let head = bytes.len() - length - 4;
            assert_eq!(bytes[1] & 0x80, 0x80);
            assert_eq!(bytes[head..head + 4], MASK);
            let unmasked: Vec<u8> = bytes[head + 4..].iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b).collect();
            assert_eq!(unmasked, payload);
            bytes.drain(head..head + 4);
            assert_eq!(frame(&bytes), Some(Frame { first: 0x82, start: head, end: head + length }));
            assert_eq!(frame_bytes(&bytes[..head]), Some(head + length));
            assert_eq!(frame(&bytes[..bytes.len() - 1]), None, "{length}");
        }
    }
}
