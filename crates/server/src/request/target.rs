//! What the target of a request means: percent-decoding, query pairs, and the room name of a y-websocket URL. Called by the
//! head and by the routes. Decodes once and only once: the decoded string is the one that rights are checked against.

use std::borrow::Cow;

/// Bytes of a room name after decoding: names are keys of the store and parts of log lines.
pub const ROOM_NAME_BYTES_MAX: usize = 1_024;

/// Why a path names no room. On the wire all of them are the one text that clients know; these words are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomNameError {
    /// Nothing after the mount point.
    #[error("room name is empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("room name is over 1024 bytes")]
    TooLong,
    /// The decoded bytes are no text.
    #[error("room name is not UTF-8")]
    NotUtf8,
    /// U+0000 to U+001F, or U+007F.
    #[error("room name contains a control character")]
    Control,
    /// A slash, where the dialect's paths cannot have one in a name.
    #[error("room name contains a slash")]
    Slash,
    /// A segment `.` or `..`, which some proxies resolve and others do not.
    #[error("room name contains a segment \".\" or \"..\"")]
    DotSegment,
}

/// The room in the part of a path behind its mount point: percent-decoded once, 1 to 1,024 bytes, no control character, no
/// segment `.` or `..`. A slash at the end is a part of the name.
pub fn y_websocket_room(path_rest: &str) -> Result<String, RoomNameError> {
    let name = String::from_utf8(percent_decode(path_rest).into_owned()).map_err(|_| RoomNameError::NotUtf8)?;
    check_room_name(&name).map(|()| name)
}

/// Whether a name may be a room's, decoded as it is.
pub fn check_room_name(name: &str) -> Result<(), RoomNameError> {
    if name.is_empty() {
        return Err(RoomNameError::Empty);
    }
    if name.len() > ROOM_NAME_BYTES_MAX {
        return Err(RoomNameError::TooLong);
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(RoomNameError::Control);
    }
    if name.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(RoomNameError::DotSegment);
    }
    Ok(())
}

/// Replaces each `%` and two hex digits by the byte they stand for. A `%` without them stays, as browsers send a name such as
/// `100%` just like that. A `+` stays a `+`.
pub fn percent_decode(encoded: &str) -> Cow<'_, [u8]> {
    let bytes = encoded.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        decoded.push(escaped.map_or(*first, |(high, low)| high << 4 | low));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    Cow::Owned(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// `key=value` of a query. Bytes that are no UTF-8 become U+FFFD: a token with one is then refused for being wrong, instead of
/// counting as absent.
pub(crate) fn decode_pair(pair: &str) -> (String, String) {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let text = |encoded| String::from_utf8_lossy(&percent_decode(encoded)).into_owned();
    (text(key), text(value))
}

/// The value of a pair as forms write it, where a `+` is a space. None: the pair has another key.
pub(crate) fn form_value(pair: &str, name: &str) -> Option<String> {
    let (key, value) = decode_pair(&pair.replace('+', " "));
    (key == name).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names() {
        let exactly = "x".repeat(ROOM_NAME_BYTES_MAX);
        let too_long = "x".repeat(ROOM_NAME_BYTES_MAX + 1);
        let cases: &[(&str, Result<&str, RoomNameError>)] = &[
            ("demo", Ok("demo")),
            ("a%20b", Ok("a b")),
            ("team/notes/7", Ok("team/notes/7")),
            ("team%2fnotes%2F7", Ok("team/notes/7")),
            ("trailing/", Ok("trailing/")),
            ("/leading//double", Ok("/leading//double")),
            ("%C3%A4%F0%9F%98%80", Ok("ä😀")),
            ("ä", Ok("ä")),
            ("100%", Ok("100%")),
            ("%zz%4", Ok("%zz%4")),
            ("a+b", Ok("a+b")),
            ("once%2525", Ok("once%25")),
            ("...", Ok("...")),
            ("a.b/.c", Ok("a.b/.c")),
            (&exactly, Ok(&exactly)),
            ("", Err(RoomNameError::Empty)),
            (&too_long, Err(RoomNameError::TooLong)),
            ("a%00", Err(RoomNameError::Control)),
            ("a%0d%0ab", Err(RoomNameError::Control)),
            ("a%7f", Err(RoomNameError::Control)),
            ("%ff", Err(RoomNameError::NotUtf8)),
            ("%ed%a0%80", Err(RoomNameError::NotUtf8)),
            (".", Err(RoomNameError::DotSegment)),
            ("a/../b", Err(RoomNameError::DotSegment)),
            ("a%2f%2e%2E", Err(RoomNameError::DotSegment)),
        ];
        for (path_rest, expected) in cases {
            assert_eq!(y_websocket_room(path_rest), expected.map(str::to_owned), "{path_rest:?}");
        }
    }
}
