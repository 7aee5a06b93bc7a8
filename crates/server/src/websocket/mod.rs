//! A server's side of RFC 6455 as plain bytes: frames out, messages in. Called by the socket, which owns the TCP stream, the
//! clock and the decision what to answer. Does no I/O, spawns nothing, and knows no dialect. Extensions are not spoken: with
//! none negotiated, a set reserved bit is an error, so compressed frames never reach an inflater.

mod decoder;
mod frame;
mod mask;
mod message;

pub use decoder::Decoder;
pub use frame::{Opcode, append_frame, begin_frame, close_frame, encode_frame, frame_header, ping_frame, pong_frame};
pub use message::{DecodeError, Message};
