//! What clients put on the wire: masked frames of the y-websocket protocol. Called by the script before it measures.

use bytes::Bytes;
use document::lib0::{write_var_bytes, write_var_uint};

/// First byte of a whole binary message.
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;

/// `varuint kind.., varbytes body`.
pub(crate) fn message(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = kind.to_vec();
    write_var_bytes(&mut out, body);
    out
}

/// A client's frame, of up to 65,535 bytes.
pub(crate) fn masked(payload: &[u8], key: u32) -> Vec<u8> {
    let key = key.to_be_bytes();
    let mut out = vec![BINARY];
    match payload.len() {
        length @ 0..=125 => out.push(MASKED | length as u8),
        length => {
            out.push(MASKED | 126);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend(key);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    out
}

/// An awareness update; each state is about 120 bytes of JSON.
pub(crate) fn states(ids: &[u64], clock: u64) -> Bytes {
    let mut out = Vec::new();
    write_var_uint(&mut out, ids.len() as u64);
    for &id in ids {
        let cursor = 10_000_000 + clock;
        let json = format!(
            "{{\"user\":{{\"name\":\"Member {id:03}\",\"color\":\"#30bced\"}},\"cursor\":{{\"anchor\":{cursor},\"head\":{cursor}}},\"padding\":\"...........\"}}"
        );
        write_var_uint(&mut out, 3_000_000_000 + id);
        write_var_uint(&mut out, clock);
        write_var_bytes(&mut out, json.as_bytes());
    }
    out.into()
}
