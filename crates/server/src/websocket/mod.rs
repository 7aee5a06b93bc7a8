//! A server's side of RFC 6455 as plain bytes: frames out, messages in. Called by the socket, which owns the TCP stream, the
//! clock and the decision what to answer. Does no I/O, spawns nothing, and knows no dialect. Of extensions it speaks permessage-deflate
//! (RFC 7692) without context takeover; where that was not negotiated, a set reserved bit is an error and nothing reaches an inflater.

mod decoder;
mod deflate;
mod frame;
mod mask;
mod message;

pub use decoder::Decoder;
pub use deflate::{Deflater, Inflater};
pub use frame::{
    Opcode, append_compressed_frame, append_frame, begin_frame, close_frame, encode_compressed_frame, encode_frame,
    frame_header, ping_frame, pong_frame,
};
pub use message::{DecodeError, Message};
