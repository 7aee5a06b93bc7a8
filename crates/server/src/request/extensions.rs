//! What a client offers in `Sec-WebSocket-Extensions`, and what of it is accepted: permessage-deflate without context takeover (RFC 7692), or nothing.
//! Called by the acceptor before it answers. A header that cannot be read costs the client its compression and not its connection.

use super::RequestHead;

/// The answer to an offer that asks nothing of the server's window. Neither side keeps a context, so that one compressed frame serves a whole room and
/// an idle connection holds no tables.
const ACCEPTED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The same to an offer that names the full window, which then has to be named back.
const ACCEPTED_WITH_WINDOW: &str =
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=15";

/// The window of the deflater here, as the parameter has it: 32 KiB, the largest there is. A smaller one cannot be promised.
const WINDOW_BITS: u8 = 15;

/// Accepts the first offer of compression that can be met. Returns the value of the response's `sec-websocket-extensions`; `None`: the connection goes
/// without.
pub fn accept_deflate(head: &RequestHead) -> Option<&'static str> {
    let mut rest = head.header("sec-websocket-extensions")?;
    let mut accepted = None;
    loop {
        let offer = Offer::read(&mut rest)?;
        accepted = accepted.or_else(|| offer.accepted());
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return accepted.filter(|_| rest.is_empty()),
        }
    }
}

/// One extension with its parameters.
#[derive(Debug, Default)]
struct Offer {
    name: String,
    parameters: Vec<(String, Option<String>)>,
}

impl Offer {
    /// Reads up to the comma behind it. None: that is no list of extensions (RFC 6455, section 9.1).
    fn read(rest: &mut &str) -> Option<Offer> {
        let mut offer = Offer { name: token(rest)?.to_ascii_lowercase(), parameters: Vec::new() };
        while let Some(next) = rest.strip_prefix(';') {
            *rest = next;
            let name = token(rest)?.to_ascii_lowercase();
            let value = match rest.strip_prefix('=') {
                Some(next) => {
                    *rest = next;
                    Some(value(rest)?)
                }
                None => None,
            };
            offer.parameters.push((name, value));
        }
        Some(offer)
    }

    /// The answer to it, if it can be met.
    fn accepted(&self) -> Option<&'static str> {
        if self.name != "permessage-deflate" {
            return None;
        }
        let mut answer = ACCEPTED;
        for (place, (name, value)) in self.parameters.iter().enumerate() {
            let repeated = self.parameters[..place].iter().any(|(earlier, _)| earlier == name);
            let fits = match (name.as_str(), value.as_deref()) {
                ("server_no_context_takeover" | "client_no_context_takeover", None) => true,
                // What the client may do with its own window is its own affair: any window can be read here.
                ("client_max_window_bits", None) => true,
                ("client_max_window_bits", Some(bits)) => window_bits(bits).is_some(),
                ("server_max_window_bits", Some(bits)) => {
                    answer = ACCEPTED_WITH_WINDOW;
                    window_bits(bits) == Some(WINDOW_BITS)
                }
                _ => false,
            };
            if !fits || repeated {
                return None;
            }
        }
        Some(answer)
    }
}

/// 8 to 15, without a zero before it.
fn window_bits(text: &str) -> Option<u8> {
    text.parse().ok().filter(|bits| (8..=15).contains(bits) && !text.starts_with(['0', '+']))
}

/// A token and the spaces around it.
fn token<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start_matches(SPACES);
    let end = text.find(|letter| !is_of_token(letter)).unwrap_or(text.len());
    let (token, behind) = text.split_at(end);
    *rest = behind.trim_start_matches(SPACES);
    (!token.is_empty()).then_some(token)
}

/// A token, or a string in quotes that is a token once they are gone.
fn value(rest: &mut &str) -> Option<String> {
    let Some(quoted) = rest.trim_start_matches(SPACES).strip_prefix('"') else { return token(rest).map(str::to_owned) };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                *rest = quoted[at + 1..].trim_start_matches(SPACES);
                return (!value.is_empty() && value.chars().all(is_of_token)).then_some(value);
            }
            '\\' => value.push(letters.next()?.1),
            _ => value.push(letter),
        }
    }
    None
}

const SPACES: [char; 2] = [' ', '\t'];

fn is_of_token(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn offers_are_met_or_left() {
        let (plain, window) = (Some(ACCEPTED), Some(ACCEPTED_WITH_WINDOW));
        let cases: &[(&str, Option<&str>)] = &[
            ("permessage-deflate", plain),
            // Chrome and Safari; Firefox; ws.
            ("permessage-deflate; client_max_window_bits", plain),
            ("Permessage-Deflate ;\tSERVER_no_context_takeover;client_no_context_takeover", plain),
            ("permessage-deflate; client_max_window_bits=8", plain),
            ("permessage-deflate; client_max_window_bits = \"1\\0\"", plain),
            ("permessage-deflate; server_max_window_bits=15", window),
            ("permessage-deflate; server_max_window_bits=\"15\"; client_max_window_bits", window),
            // The second can be met where the first cannot.
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", plain),
            ("x-webkit-deflate-frame, permessage-deflate; client_max_window_bits", plain),
            ("bzip2; level=\"a,b;c\"", None),
            ("permessage-deflate; server_max_window_bits=10", None),
            ("permessage-deflate; server_max_window_bits", None),
            ("permessage-deflate; server_max_window_bits=16", None),
            ("permessage-deflate; client_max_window_bits=7", None),
            ("permessage-deflate; client_max_window_bits=08", None),
            ("permessage-deflate; client_max_window_bits=+9", None),
            ("permessage-deflate; client_max_window_bits=", None),
            ("permessage-deflate; client_max_window_bits=\"\"", None),
            ("permessage-deflate; client_no_context_takeover=1", None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits=9", None),
            ("permessage-deflate; something_new", None),
            ("permessage-bzip2", None),
            // No lists: what can be read of them does not count either.
            ("permessage-deflate,", None),
            ("permessage-deflate; ", None),
            ("permessage-deflate, \"", None),
            ("permessage-deflate; client_max_window_bits=\"9", None),
            ("permessage-deflate client_max_window_bits", None),
            ("", None),
        ];
        for (offer, expected) in cases {
            let request = format!("GET / HTTP/1.1\r\nSec-WebSocket-Extensions: {offer}\r\n\r\n");
            let head = parse(request.as_bytes()).expect("legal").expect("whole");
            assert_eq!(accept_deflate(&head), *expected, "{offer}");
        }
        let twice =
            b"GET / HTTP/1.1\r\nSec-WebSocket-Extensions: a\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        assert_eq!(accept_deflate(&parse(twice).expect("legal").expect("whole")), plain);
        assert_eq!(accept_deflate(&parse(b"GET / HTTP/1.1\r\n\r\n").expect("legal").expect("whole")), None);
    }
}
