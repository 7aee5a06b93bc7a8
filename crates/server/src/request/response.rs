//! Small whole HTTP responses for connections that never reach the HTTP service. Called by the acceptor when it refuses. Every
//! one closes the connection, because the rest of its stream may be anything.

use dialect::HttpRefusal;
use std::fmt::Write as _;

/// A refusal with a JSON body `{"error":"…"}`. `retry_after_s` is for 503: when it is worth coming back. Adds the headers that
/// 405 and 426 require.
pub fn error_response(status: u16, error: &str, retry_after_s: Option<u32>) -> Vec<u8> {
    let mut headers = String::new();
    match status {
        405 => headers.push_str("allow: GET\r\n"),
        426 => headers.push_str("upgrade: websocket\r\nsec-websocket-version: 13\r\n"),
        _ => {}
    }
    if let Some(seconds) = retry_after_s {
        let _ = write!(headers, "retry-after: {seconds}\r\n");
    }
    let body = format!("{{\"error\":{}}}", json_string(error));
    response(status, "application/json", &headers, &body)
}

/// A response with a plain text body.
pub fn text_response(status: u16, body: &str) -> Vec<u8> {
    response(status, "text/plain; charset=utf-8", "", body)
}

/// A response with a JSON body.
pub fn json_response(status: u16, body: &str) -> Vec<u8> {
    response(status, "application/json", "", body)
}

/// What a page gets at a path where only WebSockets are.
pub(crate) fn upgrade_required() -> Vec<u8> {
    response(
        426,
        "text/plain; charset=utf-8",
        "upgrade: websocket\r\nsec-websocket-version: 13\r\n",
        "Upgrade Required",
    )
}

/// How a dialect refuses a request.
pub(crate) fn refusal_response(refusal: &HttpRefusal) -> Vec<u8> {
    let HttpRefusal { status, is_json, body } = refusal;
    if *is_json { json_response(*status, body) } else { text_response(*status, body) }
}

fn response(status: u16, content_type: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: {}close\r\n{headers}\r\n{body}",
        reason_phrase(status),
        body.len(),
        if status == 426 { "upgrade, " } else { "" },
    )
    .into_bytes()
}

/// The same response with more headers: whole lines, each with its line end.
pub(crate) fn with_headers(response: &[u8], headers: &str) -> Vec<u8> {
    let line_end = response.windows(2).position(|two| two == b"\r\n").map_or(response.len(), |at| at + 2);
    [&response[..line_end], headers.as_bytes(), &response[line_end..]].concat()
}

/// A name for one request, in its response and in the log: with it, what a user saw is found again.
pub(crate) fn request_id() -> String {
    format!("req_{:016x}", fastrand::u64(..))
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        // A phrase is optional, and nobody reads it.
        _ => "",
    }
}

/// `text` as a JSON string with its quotes, which is a TOML string as well. Error texts quote what clients sent.
pub(crate) fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => json.extend(['\\', char]),
            '\0'..='\u{1f}' | '\u{7f}' => {
                let _ = write!(json, "\\u{:04x}", char as u32);
            }
            _ => json.push(char),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_whole_responses() {
        let cases: &[(Vec<u8>, &str)] = &[
            (
                error_response(503, "server is full; try again later", Some(5)),
                "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 43\r\n\
                 connection: close\r\nretry-after: 5\r\n\r\n{\"error\":\"server is full; try again later\"}",
            ),
            (
                error_response(426, "\"\n\u{e4}\\", None),
                "HTTP/1.1 426 Upgrade Required\r\ncontent-type: application/json\r\ncontent-length: 24\r\n\
                 connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n\
                 {\"error\":\"\\\"\\u000a\u{e4}\\\\\"}",
            ),
            (
                text_response(501, "Not implemented yet"),
                "HTTP/1.1 501 Not Implemented\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 19\r\n\
                 connection: close\r\n\r\nNot implemented yet",
            ),
        ];
        for (response, expected) in cases {
            assert_eq!(std::str::from_utf8(response), Ok(*expected));
        }
    }
}
