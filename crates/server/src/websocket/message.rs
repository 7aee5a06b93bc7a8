//! What a client's bytes mean once they are whole, and the ways in which they can be wrong. Made by the decoder, read by the
//! socket. Does not decide what is answered: a dialect may have a close code of its own.

use bytes::Bytes;

/// What a client said, with fragments joined and masks removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A binary message.
    Binary(Bytes),
    /// A text message: valid UTF-8.
    Text(Bytes),
    /// Wants a pong with the same payload of 0 to 125 bytes.
    Ping(Bytes),
    /// The answer to a ping.
    Pong(Bytes),
    /// The client closes. The decoder reads nothing after it.
    Close {
        /// 1000 to 1003, 1007 to 1014 or 3000 to 4999; `None` when the client gave no reason at all.
        code: Option<u16>,
        /// At most 123 bytes.
        reason: String,
    },
}

/// Why a connection cannot be read any further. The text fits into a close frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Message (with its earlier fragments) above the limit: refused from its header, before its bytes are awaited.
    #[error("message of {announced} bytes is over the limit of {limit} bytes")]
    TooBig {
        /// Bytes that the message would have had so far.
        announced: u64,
        /// Bytes that a message may have.
        limit: u64,
    },
    /// RFC 6455, section 5.1: proxies could be poisoned by frames that a page controls bit by bit.
    #[error("frame is not masked; clients must mask every frame")]
    Unmasked,
    /// A bit of an extension that was not negotiated, or the one of compression where it has no meaning.
    #[error("reserved bit set, but no negotiated extension has a use for it here")]
    ReservedBits,
    /// A compressed message that cannot be inflated.
    #[error("compressed message is no whole deflate stream")]
    BadDeflate,
    /// An opcode without a meaning.
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// Close, ping or pong without the final bit.
    #[error("control frames must not be fragmented")]
    FragmentedControl,
    /// Close, ping or pong with more than 125 bytes.
    #[error("control frame is over 125 bytes")]
    ControlTooLong,
    /// A 64-bit length with its highest bit set.
    #[error("frame length has its highest bit set")]
    LengthOutOfRange,
    /// A continuation while no message is open.
    #[error("continuation frame without a message to continue")]
    ContinuationWithoutStart,
    /// A text or binary frame while a fragmented message is open.
    #[error("a new message began before the last one was finished")]
    MessageNotFinished,
    /// A close frame with one byte: half a code.
    #[error("close frame with half a close code")]
    CloseCutShort,
    /// A code that must not be sent, or that nobody has defined.
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// The reason of a close is not UTF-8.
    #[error("close reason is not UTF-8")]
    CloseReasonNotUtf8,
    /// A text message is not UTF-8. Noticed at the first wrong byte, not at the end of the message.
    #[error("text message is not UTF-8")]
    TextNotUtf8,
}

impl DecodeError {
    /// The close code that tells the client: 1002, 1007 or 1009. A dialect may prefer its own for `TooBig`.
    pub fn close_code(&self) -> u16 {
        match self {
            DecodeError::TooBig { .. } => 1009,
            DecodeError::CloseReasonNotUtf8 | DecodeError::TextNotUtf8 | DecodeError::BadDeflate => 1007,
            _ => 1002,
        }
    }
}

/// The message in the payload of a close frame: nothing, or `u16 code, reason`.
pub(super) fn close_message(payload: &[u8]) -> Result<Message, DecodeError> {
    let (code, reason) = match payload {
        [] => return Ok(Message::Close { code: None, reason: String::new() }),
        [_] => return Err(DecodeError::CloseCutShort),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // 1004 to 1006 and 1015 mean what never travels; 1016 to 2999 are for revisions of the protocol to come.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(DecodeError::CloseCode(code));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| DecodeError::CloseReasonNotUtf8)?;
    Ok(Message::Close { code: Some(code), reason: reason.to_owned() })
}
